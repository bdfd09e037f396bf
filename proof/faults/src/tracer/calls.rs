use nix::errno::Errno::{self, *};
use nix::libc;

/// The first call of a Rust program, which is Rust's: it looks at its standard streams
/// (library/std/src/sys/pal/unix/mod.rs, `sanitize_standard_fds`).
#[cfg(target_arch = "x86_64")]
pub(super) const STARTED: i64 = libc::SYS_poll;
#[cfg(not(target_arch = "x86_64"))]
pub(super) const STARTED: i64 = libc::SYS_ppoll;

/// A kind of call, and the errors that it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(super) number: i64,
    pub(super) subject: Subject,
    pub(crate) errors: &'static [Errno],
}

/// What a call is about: which argument says it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    None,
    Path(usize),
    /// Something that is open.
    Opened(usize),
    /// A file that is open. Pipes and the like do not fail.
    File(usize),
    /// A connection to another host. What processes of one host say to each other arrives.
    Connection(usize),
    /// A file that is mapped, or a thread's stack. A program that asks for memory and gets none cannot
    /// go on, and kiln is no exception.
    Mapping,
}

use Subject::{Connection, File, Mapping, None, Opened, Path};

/// Returns a kind of call.
const fn call(name: &'static str, number: i64, subject: Subject, errors: &'static [Errno]) -> Call {
    Call {
        name,
        number,
        subject,
        errors,
    }
}

/// Calls that store something or make room for it, that read what was stored, that make processes and
/// what surrounds them, and that reach others.
pub(crate) const CALLS: &[Call] = &[
    call(
        "openat",
        libc::SYS_openat,
        Path(1),
        &[EMFILE, ENOSPC, EACCES, EIO],
    ),
    call(
        "openat2",
        libc::SYS_openat2,
        Path(1),
        &[EMFILE, EACCES, EIO],
    ),
    call("read", libc::SYS_read, File(0), &[EIO]),
    call("pread64", libc::SYS_pread64, File(0), &[EIO]),
    call("getdents64", libc::SYS_getdents64, Opened(0), &[EIO]),
    call("statx", libc::SYS_statx, Path(1), &[EIO, EACCES]),
    call("newfstatat", libc::SYS_newfstatat, Path(1), &[EIO, EACCES]),
    call("readlinkat", libc::SYS_readlinkat, Path(1), &[EIO]),
    call("write", libc::SYS_write, File(0), &[ENOSPC, EIO]),
    call("pwrite64", libc::SYS_pwrite64, File(0), &[ENOSPC, EIO]),
    call("writev", libc::SYS_writev, File(0), &[ENOSPC, EIO]),
    call(
        "copy_file_range",
        libc::SYS_copy_file_range,
        Opened(0),
        &[ENOSPC, EIO, EXDEV],
    ),
    call(
        "fallocate",
        libc::SYS_fallocate,
        Opened(0),
        &[ENOSPC, EOPNOTSUPP],
    ),
    call("ftruncate", libc::SYS_ftruncate, Opened(0), &[EIO, ENOSPC]),
    call(
        "mkdirat",
        libc::SYS_mkdirat,
        Path(1),
        &[ENOSPC, EMLINK, EIO],
    ),
    call("symlinkat", libc::SYS_symlinkat, Path(2), &[ENOSPC, EIO]),
    call("linkat", libc::SYS_linkat, Path(1), &[EMLINK, EPERM, EIO]),
    call("mknodat", libc::SYS_mknodat, Path(1), &[EPERM, ENOSPC]),
    call("renameat", libc::SYS_renameat, Path(1), &[ENOSPC, EIO]),
    call("renameat2", libc::SYS_renameat2, Path(1), &[ENOSPC, EIO]),
    call("unlinkat", libc::SYS_unlinkat, Path(1), &[EIO, EBUSY]),
    call("fchmod", libc::SYS_fchmod, Opened(0), &[EIO, EPERM]),
    call("fchmodat", libc::SYS_fchmodat, Path(1), &[EIO, EPERM]),
    call("fchown", libc::SYS_fchown, Opened(0), &[EIO, EPERM]),
    call("fchownat", libc::SYS_fchownat, Path(1), &[EIO, EPERM]),
    call("utimensat", libc::SYS_utimensat, Path(1), &[EIO]),
    call(
        "fsetxattr",
        libc::SYS_fsetxattr,
        Opened(0),
        &[ENOSPC, EOPNOTSUPP],
    ),
    call(
        "lsetxattr",
        libc::SYS_lsetxattr,
        Path(0),
        &[ENOSPC, EOPNOTSUPP],
    ),
    call("fsync", libc::SYS_fsync, Opened(0), &[EIO]),
    call("fdatasync", libc::SYS_fdatasync, Opened(0), &[EIO]),
    call("syncfs", libc::SYS_syncfs, Opened(0), &[EIO]),
    call("flock", libc::SYS_flock, Opened(0), &[ENOLCK]),
    call("mmap", libc::SYS_mmap, Mapping, &[ENOMEM]),
    call("clone", libc::SYS_clone, None, &[EAGAIN]),
    call("clone3", libc::SYS_clone3, None, &[EAGAIN]),
    call("execve", libc::SYS_execve, Path(0), &[EACCES, ENOMEM]),
    call("unshare", libc::SYS_unshare, None, &[ENOSPC, EPERM]),
    call("pidfd_open", libc::SYS_pidfd_open, None, &[EMFILE]),
    call("pipe2", libc::SYS_pipe2, None, &[EMFILE]),
    call("socketpair", libc::SYS_socketpair, None, &[EMFILE]),
    call("mount", libc::SYS_mount, Path(1), &[EPERM, ENOMEM]),
    call("umount2", libc::SYS_umount2, Path(0), &[EBUSY]),
    call("fsopen", libc::SYS_fsopen, Path(0), &[EMFILE, EPERM]),
    call("fsconfig", libc::SYS_fsconfig, None, &[EINVAL, EPERM]),
    call("fsmount", libc::SYS_fsmount, None, &[EPERM]),
    call("move_mount", libc::SYS_move_mount, None, &[EPERM, ENOENT]),
    call("open_tree", libc::SYS_open_tree, None, &[EMFILE, EPERM]),
    call("mount_setattr", libc::SYS_mount_setattr, None, &[EPERM]),
    call("socket", libc::SYS_socket, None, &[EMFILE]),
    call(
        "connect",
        libc::SYS_connect,
        Opened(0),
        &[ECONNREFUSED, ENETUNREACH],
    ),
    call(
        "sendto",
        libc::SYS_sendto,
        Connection(0),
        &[ECONNRESET, EPIPE],
    ),
    call("recvfrom", libc::SYS_recvfrom, Connection(0), &[ECONNRESET]),
    call("sendmsg", libc::SYS_sendmsg, Connection(0), &[ECONNRESET]),
    call("recvmsg", libc::SYS_recvmsg, Connection(0), &[ECONNRESET]),
    // Newer machines have none of these.
    #[cfg(target_arch = "x86_64")]
    call("open", libc::SYS_open, Path(0), &[EMFILE, EIO]),
    #[cfg(target_arch = "x86_64")]
    call("stat", libc::SYS_stat, Path(0), &[EIO]),
    #[cfg(target_arch = "x86_64")]
    call("lstat", libc::SYS_lstat, Path(0), &[EIO]),
    #[cfg(target_arch = "x86_64")]
    call("readlink", libc::SYS_readlink, Path(0), &[EIO]),
    #[cfg(target_arch = "x86_64")]
    call("mkdir", libc::SYS_mkdir, Path(0), &[ENOSPC, EMLINK, EIO]),
    #[cfg(target_arch = "x86_64")]
    call("rename", libc::SYS_rename, Path(0), &[ENOSPC, EIO]),
    #[cfg(target_arch = "x86_64")]
    call("unlink", libc::SYS_unlink, Path(0), &[EIO]),
    #[cfg(target_arch = "x86_64")]
    call("rmdir", libc::SYS_rmdir, Path(0), &[EIO, EBUSY]),
    #[cfg(target_arch = "x86_64")]
    call("link", libc::SYS_link, Path(0), &[EMLINK, EPERM]),
    #[cfg(target_arch = "x86_64")]
    call("symlink", libc::SYS_symlink, Path(1), &[ENOSPC]),
    #[cfg(target_arch = "x86_64")]
    call("chmod", libc::SYS_chmod, Path(0), &[EIO, EPERM]),
    #[cfg(target_arch = "x86_64")]
    call("lchown", libc::SYS_lchown, Path(0), &[EIO, EPERM]),
    #[cfg(target_arch = "x86_64")]
    call("fork", libc::SYS_fork, None, &[EAGAIN]),
    #[cfg(target_arch = "x86_64")]
    call("vfork", libc::SYS_vfork, None, &[EAGAIN]),
];
