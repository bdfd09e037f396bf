//! Where this process's memory comes from.

/// Lets all threads share one heap, which glibc would otherwise give each of them.
///
/// What one thread has freed is then there for the next: a walk by several threads leaves nothing
/// behind that the copy after it cannot use, and a thread costs no heap to begin with. Threads keep
/// small pieces to themselves all the same. Does nothing for other C libraries.
pub fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number in the allocator, and takes the allocator's lock to do so.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
