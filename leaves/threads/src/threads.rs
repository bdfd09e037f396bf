//! Threads that help, where any are to be had.
//!
//! A limit on processes (`ulimit -u`, a pids control group, a container's) may refuse every thread
//! but the first. What several would do, one can: it takes longer, and that is all.

use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle, available_parallelism};

use rayon::{ThreadBuilder, ThreadPoolBuilder};

/// Runs `task` on another thread too; where there is none, it is left to the caller, who does the
/// same.
pub fn help<'scope, 'env>(scope: &'scope Scope<'scope, 'env>, task: impl FnOnce() + Send + 'scope) {
    // Refused, the task goes unrun.
    let _ = Builder::new().spawn_scoped(scope, task);
}

/// Something that was given to a thread, or done.
#[derive(Debug)]
pub enum Task<'scope, T> {
    /// A thread is at it.
    Begun(ScopedJoinHandle<'scope, T>),
    /// There was no thread to be had.
    Done(T),
}

impl<T> Task<'_, T> {
    /// Waits for what comes of it. A panic goes on here.
    pub fn join(self) -> T {
        match self {
            Self::Begun(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Self::Done(result) => result,
        }
    }
}

/// Runs `task` on a thread of its own, or here and now where there is none.
pub fn begin<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    task: impl FnOnce() -> T + Send + 'scope,
) -> Task<'scope, T> {
    // A thread that cannot be had takes with it what it was given.
    let task = Arc::new(Mutex::new(Some(task)));
    let given = Arc::clone(&task);
    let take = |task: &Mutex<Option<_>>| task.lock().unwrap_or_else(PoisonError::into_inner).take();
    let run = move || {
        let task = take(&given).expect("nobody else takes it once there is a thread");
        task()
    };
    match Builder::new().spawn_scoped(scope, run) {
        Ok(thread) => Task::Begun(thread),
        Err(_) => {
            let task = take(&task).expect("there was no thread that could have taken it");
            Task::Done(task())
        }
    }
}

/// Runs `task` on another thread, for what takes two: one who writes and one who reads.
///
/// # Errors
/// Where no thread is to be had. It says what to do.
pub fn beside<'scope, T: Send + 'scope>(
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
            "no thread or process is to be had; raise the limit on them (`ulimit -u`, or \
             `pids.max` of the control group)",
        ),
        _ => error,
    }
}

/// Sees to it that this thread may use rayon, which panics where it cannot have its threads. To be
/// called before.
///
/// Its pool gets as many as there are, up to one for each processor. Where there is not even one,
/// the calling thread gets a pool that consists of itself.
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

/// Starts the threads of rayon's pool; false if there are none to be had.
///
/// They are started before the pool is, which can be attempted once in a process.
fn start_pool(wanted: usize, thread: impl Fn() -> Builder) -> bool {
    let (roles, waiting) = channel::<ThreadBuilder>();
    let waiting = Arc::new(Mutex::new(waiting));
    let start = |_: &usize| {
        let waiting = Arc::clone(&waiting);
        thread().spawn(move || play(&waiting)).is_ok()
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
    // Refused only if there is one, which is as good.
    let _ = pool.build_global();
    true
}

/// What a thread of the pool does.
fn play(waiting: &Mutex<Receiver<ThreadBuilder>>) {
    let role = waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv();
    // None if the pool did not come to be.
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
    fn what_is_begun_is_done_once() {
        let sums: Vec<u64> = scope(|scope| {
            let tasks: Vec<_> = (0..20)
                .map(|number| begin(scope, move || number * 2))
                .collect();
            tasks.into_iter().map(Task::join).collect()
        });
        assert_eq!(sums, (0..20).map(|number| number * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_thread_alone_is_a_pool() {
        use rayon::prelude::*;
        scope(|scope| {
            let alone = begin(scope, || {
                join_own_pool();
                join_own_pool();
                let sum: u64 = (0..1000_u64).into_par_iter().sum();
                (sum, rayon::current_num_threads())
            });
            assert_eq!(alone.join(), (499_500, 1));
        });
    }

    #[test]
    fn no_threads_are_no_pool() {
        // More memory than there is addresses for.
        let refused = || Builder::new().stack_size(usize::MAX / 4);
        assert!(!start_pool(2, refused));
    }
}
