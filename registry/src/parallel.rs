//! Several transfers at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use kiln_threads::Stop;

use crate::error::{Error, go_on};

/// Does `act` for every item on up to `workers` threads. The first failure stops the rest and is
/// returned.
pub(crate) fn for_each<T: Sync>(
    items: &[T],
    workers: usize,
    act: impl Fn(&T, &Stop) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let stop = Stop::default();
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = go_on(&stop).and_then(|()| act(item, &stop));
            if let Err(error) = outcome {
                // The others fail for being asked to stop, after the first.
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                stop.ask();
                return;
            }
        }
    };
    match workers.min(items.len()) {
        0 => {}
        1 => work(),
        count => thread::scope(|scope| {
            for _ in 1..count {
                kiln_threads::spawn_or_skip(scope, work);
            }
            work();
        }),
    }
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_the_first_failure_wins() {
        let items: Vec<usize> = (0..100).collect();
        let sum = AtomicUsize::new(0);
        for_each(&items, 4, |&item, _| {
            sum.fetch_add(item, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert_eq!(sum.into_inner(), 4950);

        let outcome = for_each(&items, 4, |&item, stop| match item {
            3 => Err(Error::Blocked("three".to_owned())),
            _ if item > 3 => loop {
                go_on(stop)?;
                thread::yield_now();
            },
            _ => Ok(()),
        });
        assert!(matches!(outcome, Err(Error::Blocked(_))), "{outcome:?}");
    }
}
