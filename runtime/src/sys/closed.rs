//! Standard streams that were closed when this process started.
//!
//! Rust's runtime opens `/dev/null` in their place before `main`, so that no other file gets their
//! numbers; whatever is written there is lost without an error. So a function that the loader calls
//! looks before that.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::Stream;

/// A bit for each closed stream, by its number.
static CLOSED: AtomicU8 = AtomicU8::new(0);

#[used]
// SAFETY: the section holds pointers to functions of this kind, which run before all others.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for number in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: it asks about a number, whatever that stands for.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            CLOSED.fetch_or(1 << number, Ordering::Relaxed);
        }
    }
}

/// Says whether a standard stream was closed when this process started.
#[must_use]
pub fn was_closed(stream: Stream) -> bool {
    let number = match stream {
        Stream::Stdout => libc::STDOUT_FILENO,
        Stream::Stderr => libc::STDERR_FILENO,
    };
    CLOSED.load(Ordering::Relaxed) & (1 << number) != 0
}
