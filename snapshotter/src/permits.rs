//! A counting semaphore: a limited number of permits, which are taken and given back.

use std::sync::{Condvar, Mutex, PoisonError};

/// Permits that are taken and given back.
#[derive(Debug)]
pub(crate) struct Permits {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// One permit; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Permits);

impl Permits {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            free: Mutex::new(count),
            given_back: Condvar::new(),
        }
    }

    /// Waits for a permit.
    pub(crate) fn take(&self) -> Permit<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.given_back.wait_while(free, |free| *free == 0);
        *waiting.unwrap_or_else(PoisonError::into_inner) -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let permits = self.0;
        *permits.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        permits.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn permits_never_exceed_their_number() {
        let permits = Permits::new(2);
        let at_once = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _permit = permits.take();
                    assert!(at_once.fetch_add(1, Ordering::SeqCst) < 2);
                    std::thread::yield_now();
                    at_once.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(*permits.free.lock().unwrap(), 2);
    }
}
