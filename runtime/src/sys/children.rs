//! The ends of this process's children.

/// Lets this process learn how its children end. A parent that ignores SIGCHLD passes that on to its
/// children, and whoever ignores it is told nothing.
pub fn await_children() {
    // SAFETY: sets the default action of a signal, whose handler is none.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}
