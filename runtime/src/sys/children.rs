//! The ends of this process's children.

/// Lets this process learn how its children end. A parent that ignores SIGCHLD passes that on to its
/// children, and a process that ignores it is not told how its children end.
pub fn await_children() {
    // SAFETY: sets the default action of a signal, whose handler is none.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}
