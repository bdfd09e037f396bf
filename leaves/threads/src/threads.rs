//! Threads that are started where the system allows it.
//!
//! A limit on processes (`ulimit -u`, a pids control group, a container's) may refuse every thread
//! but the first. Then the first does the work of all: it takes longer, and that is all.

use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle, available_parallelism};

use rayon::{ThreadBuilder, ThreadPoolBuilder};

/// Runs `task` on another thread, or not at all if the system refuses one: for a caller that does the
/// same work itself.
pub fn spawn_or_skip<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    task: impl FnOnce() + Send + 'scope,
) {
    // Refused, the task goes unrun.
    let _ = Builder::new().spawn_scoped(scope, task);
}

/// A task that runs on a thread of its own, or has run.
#[derive(Debug)]
pub enum Task<'scope, T> {
    /// A thread runs it.
    Spawned(ScopedJoinHandle<'scope, T>),
    /// The system refused a thread, so the caller ran it.
    Done(T),
}

impl<T> Task<'_, T> {
    /// Waits for what comes of it. A panic goes on here.
    pub fn join(self) -> T {
        match self {
            Self::Spawned(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Self::Done(result) => result,
        }
    }
}

/// Runs `task` on a thread of its own, or on the calling one, at once, if the system refuses another.
pub fn spawn_or_run<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    task: impl FnOnce() -> T + Send + 'scope,
) -> Task<'scope, T> {
    // A thread that is refused drops the closure that it was given.
    let task = Arc::new(Mutex::new(Some(task)));
    let given = Arc::clone(&task);
    let take = |task: &Mutex<Option<_>>| task.lock().unwrap_or_else(PoisonError::into_inner).take();
    let run = move || {
        let task = take(&given).expect("the thread alone takes the task once it runs");
        task()
    };
    match Builder::new().spawn_scoped(scope, run) {
        Ok(thread) => Task::Spawned(thread),
        Err(_) => {
            let task = take(&task).expect("there was no thread that could have taken it");
            Task::Done(task())
        }
    }
}

/// Runs `task` on another thread, for work that takes two: one that writes and one that reads.
///
/// # Errors
/// When the system refuses a thread; the error says what to do about it.
pub fn spawn_or_fail<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    task: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new()
        .spawn_scoped(scope, task)
        .map_err(cannot_start)
}

/// Adds to the refusal of a thread or of a process what to do about it.
#[must_use]
pub fn cannot_start(error: io::Error) -> io::Error {
    match error.kind() {
        // EAGAIN, which speaks of resources and means this one. (clone(2))
        io::ErrorKind::WouldBlock => io::Error::new(
            io::ErrorKind::WouldBlock,
            "the system refuses another thread or process; raise the limit on them (`ulimit -u`, or \
             `pids.max` of the control group)",
        ),
        _ => error,
    }
}

/// Makes rayon's pool before its first use: rayon itself panics if it cannot start its threads.
///
/// The pool gets as many threads as the system allows, up to one for each processor. If it allows
/// none, the calling thread gets a pool that consists of itself.
pub fn prepare_pool() {
    static IS_SHARED: OnceLock<bool> = OnceLock::new();
    let is_shared = *IS_SHARED.get_or_init(|| {
        let wanted = available_parallelism().map_or(1, usize::from);
        start_pool(wanted, || Builder::new().name("kiln-pool".to_owned()))
    });
    if !is_shared {
        join_own_pool();
    }
}

/// Starts the threads of rayon's pool; false if the system refuses all of them.
///
/// They are started before the pool is, because a process can try to make the pool only once.
fn start_pool(wanted: usize, thread: impl Fn() -> Builder) -> bool {
    let (roles, waiting) = channel::<ThreadBuilder>();
    let waiting = Arc::new(Mutex::new(waiting));
    let start = |_: &usize| {
        let waiting = Arc::clone(&waiting);
        thread().spawn(move || run_pool_thread(&waiting)).is_ok()
    };
    let started = (0..wanted).take_while(start).count();
    if started == 0 {
        return false;
    }
    let pool = ThreadPoolBuilder::new().num_threads(started);
    let hand_out = |role| {
        let taken = roles.send(role);
        taken.map_err(|_| io::Error::other("the thread is gone"))
    };
    let pool = pool.spawn_handler(hand_out);
    // Fails only if there is a pool already, which serves as well.
    let _ = pool.build_global();
    true
}

/// Runs a thread of the pool, once rayon has made it.
fn run_pool_thread(waiting: &Mutex<Receiver<ThreadBuilder>>) {
    let role = waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv();
    // There is none if the pool was not made.
    if let Ok(role) = role {
        role.run();
    }
}

/// Makes this thread a pool of its own, unless it belongs to one.
fn join_own_pool() {
    if rayon::current_thread_index().is_some() {
        return;
    }
    let alone = ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    // Cannot fail: it starts nothing. The pool is the thread's for as long as there is one.
    std::mem::forget(alone.build());
}

#[cfg(test)]
mod tests {
    use std::thread::scope;

    use super::*;

    #[test]
    fn each_spawned_task_runs_once() {
        let sums: Vec<u64> = scope(|scope| {
            let tasks: Vec<_> = (0..20)
                .map(|number| spawn_or_run(scope, move || number * 2))
                .collect();
            tasks.into_iter().map(Task::join).collect()
        });
        assert_eq!(sums, (0..20).map(|number| number * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_single_thread_becomes_a_pool() {
        use rayon::prelude::*;
        scope(|scope| {
            let alone = spawn_or_run(scope, || {
                join_own_pool();
                join_own_pool();
                let sum: u64 = (0..1000_u64).into_par_iter().sum();
                (sum, rayon::current_num_threads())
            });
            assert_eq!(alone.join(), (499_500, 1));
        });
    }

    #[test]
    fn a_pool_without_threads_is_not_started() {
        // More memory than there is addresses for.
        let refused = || Builder::new().stack_size(usize::MAX / 4);
        assert!(!start_pool(2, refused));
    }
}
