//! Resource limits of every process, whatever those of kiln's caller are.
//!
//! A program that met a limit of the shell that kiln was started from would have another result, and
//! other builds would take that from the cache. So limits are what BuildKit's daemon has, as systemd
//! starts it: soft ones exactly; hard ones no higher than the caller may go.

use rustix::process::{Resource, Rlimit};

use crate::{ExecError, Ulimit};

/// What is said of a limit that the caller has set too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TooLow {
    /// It is as near to the constant as the caller may go: kernels and machines differ here too.
    Taken,
    /// No job is run.
    Refused(&'static str),
}

/// Soft and hard limits; none is unlimited.
type Limit = (Resource, Option<u64>, Option<u64>, TooLow);

/// What a service with Docker's settings has on a machine with systemd 252.
const LIMITS: [Limit; 15] = [
    (Resource::As, None, None, TooLow::Refused("as")),
    // Not Docker's: the core file of a program that crashed would become part of the image.
    (Resource::Core, Some(0), None, TooLow::Taken),
    (Resource::Cpu, None, None, TooLow::Refused("cpu")),
    (Resource::Data, None, None, TooLow::Refused("data")),
    (Resource::Fsize, None, None, TooLow::Refused("fsize")),
    (Resource::Locks, None, None, TooLow::Taken),
    (
        Resource::Memlock,
        Some(8 << 20),
        Some(8 << 20),
        TooLow::Taken,
    ),
    (
        Resource::Msgqueue,
        Some(819_200),
        Some(819_200),
        TooLow::Taken,
    ),
    (Resource::Nice, Some(0), Some(0), TooLow::Taken),
    (
        Resource::Nofile,
        Some(1024),
        Some(524_288),
        TooLow::Refused("nofile"),
    ),
    (Resource::Nproc, None, None, TooLow::Taken),
    (Resource::Rss, None, None, TooLow::Taken),
    (Resource::Rtprio, Some(0), Some(0), TooLow::Taken),
    (Resource::Rttime, None, None, TooLow::Taken),
    (
        Resource::Stack,
        Some(8 << 20),
        None,
        TooLow::Refused("stack"),
    ),
];

/// The limits that processes of this kiln have unless a job says otherwise.
#[derive(Debug)]
pub(super) struct ProcessLimits(Vec<(Resource, Rlimit)>);

impl ProcessLimits {
    /// Finds out how high this process may go.
    pub(super) fn of_this_process() -> Result<Self, ExecError> {
        let limits = LIMITS.iter().map(|&(resource, soft, hard, too_low)| {
            let maximum = highest(resource, hard);
            if let TooLow::Refused(name) = too_low
                && lower(maximum, soft) != soft
            {
                return Err(ExecError::InheritedLimit {
                    name,
                    value: maximum.unwrap_or(u64::MAX),
                });
            }
            let current = lower(soft, maximum);
            Ok((resource, Rlimit { current, maximum }))
        });
        limits.collect::<Result<_, _>>().map(Self)
    }

    /// Returns those of a job, which come first, and the others.
    pub(super) fn with(&self, own: &[Ulimit]) -> Vec<(Resource, Rlimit)> {
        let mut all: Vec<_> = own
            .iter()
            .map(|limit| {
                let rlimit = Rlimit {
                    current: limit.soft,
                    maximum: limit.hard,
                };
                (limit.resource.resource(), rlimit)
            })
            .collect();
        let is_own = |resource: Resource| own.iter().any(|own| own.resource.resource() == resource);
        all.extend(self.0.iter().filter(|(resource, _)| !is_own(*resource)));
        all
    }
}

/// Returns the lower of two limits.
fn lower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Returns the highest hard limit up to the wanted one that this process may give. What it may give
/// it may have, and has then: only trying tells.
fn highest(resource: Resource, wanted: Option<u64>) -> Option<u64> {
    let own = rustix::process::getrlimit(resource);
    if lower(own.maximum, wanted) == wanted {
        return wanted;
    }
    let raised = Rlimit {
        maximum: wanted,
        ..own
    };
    match rustix::process::setrlimit(resource, raised) {
        Ok(()) => wanted,
        Err(_) => own.maximum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UlimitName;

    #[test]
    fn none_is_the_highest() {
        assert_eq!(lower(None, Some(3)), Some(3));
        assert_eq!(lower(Some(3), None), Some(3));
        assert_eq!(lower(Some(3), Some(2)), Some(2));
        assert_eq!(lower(None, None), None);
    }

    #[test]
    fn those_of_a_job_replace_the_constant_ones() {
        let limits = ProcessLimits::of_this_process().unwrap();
        let own = Ulimit {
            resource: UlimitName::OpenFiles,
            soft: Some(7),
            hard: Some(8),
        };
        let all = limits.with(&[own]);
        assert_eq!(all.len(), LIMITS.len());
        let files = |(resource, _): &&(Resource, Rlimit)| *resource == Resource::Nofile;
        assert_eq!(all.iter().filter(files).count(), 1);
        assert_eq!(all[0].1.current, Some(7));
    }
}
