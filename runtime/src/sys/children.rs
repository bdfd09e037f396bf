//! What this process makes of signals that are about itself.

/// Lets this process learn how its children end. A parent that ignores SIGCHLD passes that on to its
/// children, and a process that ignores it is not told how its children end.
pub fn await_children() {
    // SAFETY: sets the default action of a signal, whose handler is none.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// Lets a file that grows beyond the limit of this process (RLIMIT_FSIZE) be an error of writing, which
/// can be told, in place of a signal that ends the process. Programs in a sandbox begin with the
/// default action.
pub fn survive_file_limits() {
    // SAFETY: ignores a signal, whose handler is none.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
