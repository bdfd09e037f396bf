//! The filter of system calls that kiln itself may stand under, in a container of another engine.
//!
//! The usual profiles of Docker, Podman and Kubernetes refuse `clone3`, `unshare`, `mount` and
//! `pivot_root` as if the kernel did not know them or did not permit them (seccomp(2)). The answer
//! alone sends users to look for a missing capability, so it is given its likely cause.

use std::fs;
use std::io;

use rustix::io::Errno;

/// Likely cause and next move.
const ADVICE: &str = "a seccomp filter is on kiln itself, so most likely the profile of the container \
                      around it refuses this: start that container with --security-opt \
                      seccomp=unconfined (Kubernetes: seccompProfile.type: Unconfined)";

/// Adds to a refusal of the kernel that a seccomp filter is its likely cause, if this process has one.
pub(crate) fn explained(error: io::Error) -> io::Error {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    with_cause(error, &status)
}

/// As [`explained`], of a process whose `/proc/<pid>/status` is given.
fn with_cause(error: io::Error, status: &str) -> io::Error {
    let is_refusal = matches!(
        Errno::from_io_error(&error),
        Some(Errno::NOSYS | Errno::PERM)
    );
    // proc_pid_status(5): 2 is SECCOMP_MODE_FILTER.
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))
        .map(str::trim);
    if is_refusal && mode == Some("2") {
        io::Error::new(error.kind(), format!("{error}; {ADVICE}"))
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_under_a_filter_name_the_profile() {
        let told = |errno: Errno, status: &str| with_cause(errno.into(), status).to_string();
        let filtered = "Name:\tkiln\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        for errno in [Errno::NOSYS, Errno::PERM] {
            let text = told(errno, filtered);
            assert!(
                text.starts_with(&io::Error::from(errno).to_string()),
                "{text}"
            );
            assert!(text.contains("--security-opt seccomp=unconfined"), "{text}");
            assert_eq!(
                told(errno, "Seccomp:\t0\n"),
                io::Error::from(errno).to_string()
            );
        }
        assert_eq!(
            told(Errno::NOENT, filtered),
            io::Error::from(Errno::NOENT).to_string()
        );
    }
}
