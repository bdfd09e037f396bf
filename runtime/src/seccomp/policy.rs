//! The default profile.
//!
//! Source: the default seccomp profile of moby (profiles/seccomp/default.json, 2026) for a
//! process that holds the default capabilities, which drops all rules that ask for others.

use super::compile::{Architecture, CallSegment, CallVerdict};

/// The last number the profile speaks about; what is newer does not exist.
const LAST: u32 = 466;

/// `clone` may not make namespaces: CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}.
const CLONE: CallVerdict = CallVerdict::RefuseBits(0x7e02_0000);

/// Its flags lie in memory, where no filter can look; the C library falls back to `clone`.
const CLONE3: CallVerdict = CallVerdict::Refuse(libc::ENOSYS);

/// PER_LINUX, PER_LINUX32, UNAME26 with either, and the question which one is set.
const PERSONALITY: CallVerdict = CallVerdict::AllowRanges(&[
    (0, 0),
    (8, 8),
    (0x2_0000, 0x2_0000),
    (0x2_0008, 0x2_0008),
    (u32::MAX, u32::MAX),
]);

/// Address families, without AF_VSOCK (40), which reaches the hypervisor, AF_ALG (38) and relics.
pub(super) const FAMILIES: &[(u32, u32)] = &[
    (0, 11),
    (13, 18),
    (21, 22),
    (24, 24),
    (26, 33),
    (35, 36),
    (39, 39),
    (41, 45),
];

const SOCKET: CallVerdict = CallVerdict::AllowRanges(FAMILIES);

/// As in linux/audit.h.
pub(super) const I386_AUDIT: u32 = 0x4000_0003;

/// `socketcall`, which does what `socket` and its like do, with arguments in memory, where no filter
/// can look: if it made sockets, it would make those of any family.
///
/// C libraries for i386 that support Linux before 4.3, Debian's for one, make their sockets so. moby
/// refused all of it in April 2026 (moby#52494), and for their sake went back to leaving the families
/// it minds to AppArmor (moby#52547). There need not be an AppArmor here, so kiln looks at the
/// arguments and makes the socket itself.
pub(super) const SOCKETCALL_NUMBER: u32 = 102;
/// Its first argument when it is to make a socket (linux/net.h, SYS_SOCKET).
pub(super) const SOCKETCALL_SOCKET: u32 = 1;

#[cfg(target_arch = "x86_64")]
const SOCKETCALL: CallVerdict = CallVerdict::AskFor(SOCKETCALL_SOCKET);

/// Allowed everywhere, with numbers that are the same everywhere: cachestat and fchmodat2,
/// futex_wake to listmount, mseal to removexattrat.
const RECENT: &[(u32, u32)] = &[(451, 452), (454, 458), (462, 466)];

/// A number of the native architecture.
fn native(number: libc::c_long) -> u32 {
    u32::try_from(number).expect("system call numbers are small and positive")
}

/// Sorts rules into segments; what has no rule is refused up to `LAST` and unknown after it.
fn segments(mut rules: Vec<(u32, u32, CallVerdict)>) -> Vec<CallSegment> {
    rules.sort_by_key(|&(first, ..)| first);
    let refused = CallVerdict::Refuse(libc::EPERM);
    let mut segments: Vec<CallSegment> = Vec::new();
    let mut push = |first: u32, verdict: CallVerdict| {
        if segments.last().is_none_or(|last| last.verdict != verdict) {
            segments.push(CallSegment { first, verdict });
        }
    };
    let mut next = 0;
    for (first, last, verdict) in rules {
        if next < first {
            push(next, refused);
        }
        push(first, verdict);
        next = last + 1;
    }
    if next <= LAST {
        push(next, refused);
    }
    push(LAST + 1, CallVerdict::Refuse(libc::ENOSYS));
    segments
}

fn native_segments() -> Vec<CallSegment> {
    let allowed = COMMON.iter().chain(LEGACY).map(|&number| {
        let number = native(number);
        (number, number, CallVerdict::Allow)
    });
    let recent = RECENT
        .iter()
        .chain(NUMBERED)
        .map(|&(first, last)| (first, last, CallVerdict::Allow));
    let mut rules: Vec<_> = allowed.chain(recent).collect();
    for (number, verdict) in [
        (libc::SYS_clone, CLONE),
        (libc::SYS_clone3, CLONE3),
        (libc::SYS_personality, PERSONALITY),
        (libc::SYS_socket, SOCKET),
    ] {
        rules.push((native(number), native(number), verdict));
    }
    segments(rules)
}

/// The ways of calling the kernel on this machine.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        audit: 0xc000_003e,
        segments: native_segments,
    },
    Architecture {
        audit: I386_AUDIT,
        segments: i386_segments,
    },
];

/// The ways of calling the kernel on this machine. Programs for 32-bit ARM find no system calls.
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURES: &[Architecture] = &[Architecture {
    audit: 0xc000_00b7,
    segments: native_segments,
}];

/// io_pgetevents, uretprobe, map_shadow_stack.
#[cfg(target_arch = "x86_64")]
const NUMBERED: &[(u32, u32)] = &[(333, 333), (335, 335), (453, 453)];

/// renameat, sync_file_range, getrlimit and setrlimit, io_pgetevents, map_shadow_stack.
#[cfg(target_arch = "aarch64")]
const NUMBERED: &[(u32, u32)] = &[(38, 38), (84, 84), (163, 164), (292, 292), (453, 453)];

/// What 32-bit programs may call, by the numbers of asm/unistd_32.h. It is the same profile, so
/// the gaps tell: 17 `break`, 21 `mount`, 22 `umount`, 25 `stime`, 51 `acct`, 52 `umount2`,
/// 74 `sethostname`, 79 `settimeofday`, 87 `swapon`, 88 `reboot`, 101 `ioperm`, 102 `socketcall`,
/// 103 `syslog`, 110 `iopl`, 120 `clone`, 128 to 131 modules and `quotactl`, 136 `personality`, 217
/// `pivot_root`, 274 to 276 memory policy, 283 `kexec_load`, 286 to 288 keys, 310 `unshare`, 336
/// `perf_event_open`, 346 `setns`, 357 `bpf`, 359 `socket`, 374 `userfaultfd`, 425 to 427
/// `io_uring`, 428 to 433 the mount calls, 435 `clone3`, 442 `mount_setattr`, and relics.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const I386: &[(u32, u32)] = &[
    (0, 16), (19, 20), (23, 24), (26, 27), (29, 30), (33, 33), (36, 43), (45, 47), (49, 50),
    (54, 55), (57, 57), (60, 61), (63, 66), (70, 71), (75, 78), (80, 83), (85, 85), (90, 97),
    (99, 100), (104, 108), (114, 114), (116, 119), (122, 126), (132, 133), (138, 148),
    (150, 165), (168, 168), (170, 187), (190, 216), (218, 221), (224, 250), (252, 252), (254, 263),
    (265, 272), (277, 282), (284, 284), (289, 293), (295, 309), (311, 316), (318, 335), (337, 337),
    (339, 341), (343, 345), (347, 348), (351, 356), (358, 358), (360, 373), (375, 383), (385, 386),
    (393, 403), (405, 414), (416, 424), (434, 434), (436, 437), (439, 439), (441, 441), (444, 449),
];

#[cfg(target_arch = "x86_64")]
fn i386_segments() -> Vec<CallSegment> {
    let allowed = I386.iter().chain(RECENT);
    let mut rules: Vec<_> = allowed
        .map(|&(first, last)| (first, last, CallVerdict::Allow))
        .collect();
    for (number, verdict) in [
        (120, CLONE),
        (435, CLONE3),
        (136, PERSONALITY),
        (SOCKETCALL_NUMBER, SOCKETCALL),
        (359, SOCKET),
    ] {
        rules.push((number, number, verdict));
    }
    segments(rules)
}

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Allowed on every architecture.
#[rustfmt::skip]
const COMMON: &[libc::c_long] = calls![
    SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir
    SYS_chroot SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close
    SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1
    SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit
    SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fanotify_mark
    SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync
    SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs
    SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv SYS_get_robust_list SYS_getcpu SYS_getcwd
    SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername
    SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid
    SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid
    SYS_getxattr SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel
    SYS_io_destroy SYS_io_getevents SYS_io_setup SYS_io_submit SYS_ioctl SYS_ioprio_get
    SYS_ioprio_set SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
    SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr
    SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise SYS_membarrier SYS_memfd_create
    SYS_memfd_secret SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall
    SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive
    SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd
    SYS_msync SYS_munlock SYS_munlockall SYS_munmap SYS_name_to_handle_at SYS_nanosleep
    SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2
    SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv
    SYS_preadv2 SYS_prlimit64 SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev
    SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead
    SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages
    SYS_removexattr SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending
    SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait
    SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max SYS_sched_get_priority_min
    SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam SYS_sched_getscheduler
    SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam
    SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop
    SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_robust_list
    SYS_set_tid_address SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer
    SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setsid
    SYS_setsockopt SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown
    SYS_sigaltstack SYS_signalfd4 SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_symlinkat
    SYS_sync SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete
    SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create
    SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname
    SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
];

/// Allowed where they exist: calls that younger architectures never had.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const LEGACY: &[libc::c_long] = calls![
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
    SYS_epoll_ctl_old SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat
    SYS_get_thread_area SYS_getdents SYS_getpgrp SYS_getrlimit SYS_inotify_init SYS_lchown
    SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll
    SYS_readlink SYS_rename SYS_renameat SYS_rmdir SYS_select SYS_set_thread_area SYS_setrlimit
    SYS_signalfd SYS_stat SYS_symlink SYS_sync_file_range SYS_time SYS_unlink SYS_utime SYS_utimes
    SYS_vfork
];

/// Allowed where they exist: calls that younger architectures never had.
#[cfg(target_arch = "aarch64")]
const LEGACY: &[libc::c_long] = &[];

#[cfg(test)]
mod tests {
    use super::super::compile::program;
    use super::super::compile::tests::evaluate;
    use super::*;

    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();

    fn native_verdict(number: libc::c_long, argument: u32) -> u32 {
        let program = program(ARCHITECTURES);
        evaluate(&program, ARCHITECTURES[0].audit, native(number), argument)
    }

    #[test]
    fn every_listed_call_is_allowed_and_no_other() {
        let program = program(ARCHITECTURES);
        let special = [
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_personality,
            libc::SYS_socket,
        ];
        for number in 0..=LAST {
            let listed = COMMON.iter().chain(LEGACY).any(|&n| native(n) == number)
                || RECENT
                    .iter()
                    .chain(NUMBERED)
                    .any(|&(first, last)| (first..=last).contains(&number));
            if special.iter().any(|&n| native(n) == number) {
                assert!(!listed, "{number} has a rule of its own");
                continue;
            }
            let expected = if listed {
                libc::SECCOMP_RET_ALLOW
            } else {
                EPERM
            };
            let actual = evaluate(&program, ARCHITECTURES[0].audit, number, 0);
            assert_eq!(actual, expected, "system call {number}");
        }
    }

    #[test]
    fn refuses_what_the_profile_names() {
        for number in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_open_by_handle_at,
            libc::SYS_perf_event_open,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_reboot,
            libc::SYS_pivot_root,
            libc::SYS_move_mount,
        ] {
            assert_eq!(native_verdict(number, 0), EPERM, "system call {number}");
        }
    }

    #[test]
    fn looks_into_arguments() {
        let allow = libc::SECCOMP_RET_ALLOW;
        assert_eq!(native_verdict(libc::SYS_clone, 0x0001_0f00), allow);
        assert_eq!(native_verdict(libc::SYS_clone, 0x1000_0000), EPERM);
        assert_eq!(native_verdict(libc::SYS_clone3, 0), ENOSYS);
        assert_eq!(native_verdict(libc::SYS_personality, 8), allow);
        assert_eq!(native_verdict(libc::SYS_personality, 0x4_0000), EPERM);
        assert_eq!(native_verdict(libc::SYS_socket, 2), allow);
        assert_eq!(native_verdict(libc::SYS_socket, 40), EPERM);
    }

    #[test]
    fn newer_calls_do_not_exist() {
        assert_eq!(native_verdict(467, 0), ENOSYS);
        // x32 shares the architecture and sets a high bit.
        assert_eq!(native_verdict(0x4000_0001, 0), ENOSYS);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn i386_has_its_own_numbers() {
        let program = program(ARCHITECTURES);
        let verdict = |number, argument| evaluate(&program, I386_AUDIT, number, argument);
        assert_eq!(verdict(4, 0), libc::SECCOMP_RET_ALLOW); // write
        assert_eq!(verdict(102, 1), libc::SECCOMP_RET_USER_NOTIF); // socketcall: socket
        for other in [0, 2, 3, 8, 20] {
            assert_eq!(verdict(102, other), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(verdict(21, 0), EPERM); // mount
        assert_eq!(verdict(359, 40), EPERM); // socket
        assert_eq!(verdict(435, 0), ENOSYS); // clone3
    }

    #[test]
    fn default_filter_is_short() {
        // What loading costs; the limit of the kernel is 4,096.
        assert!(program(ARCHITECTURES).len() < 500);
    }
}
