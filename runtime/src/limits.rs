//! Limits of a process, and of all processes of a job together.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A resource limit of one process, as `setrlimit` knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Which.
    pub resource: UlimitName,
    /// The limit in force; none is unlimited.
    pub soft: Option<u64>,
    /// How far the process may raise it; none is unlimited.
    pub hard: Option<u64>,
}

/// As a command line says it: `nofile=1024:4096`.
impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |limit: Option<u64>| match limit {
            Some(limit) => limit.to_string(),
            None => "unlimited".to_owned(),
        };
        let name = self.resource.as_str();
        write!(f, "{name}={}:{}", text(self.soft), text(self.hard))
    }
}

macro_rules! ulimit_names {
    ($($variant:ident $text:literal $resource:ident,)*) => {
        /// The resources that have limits, under their command line names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum UlimitName {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl UlimitName {
            /// Finds the resource a command line names.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }

            /// Returns the command line name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            pub(crate) fn resource(self) -> rustix::process::Resource {
                match self { $(Self::$variant => rustix::process::Resource::$resource,)* }
            }
        }
    };
}

ulimit_names! {
    Core "core" Core,
    Cpu "cpu" Cpu,
    Data "data" Data,
    FileSize "fsize" Fsize,
    Locks "locks" Locks,
    LockedMemory "memlock" Memlock,
    MessageQueue "msgqueue" Msgqueue,
    Nice "nice" Nice,
    OpenFiles "nofile" Nofile,
    Processes "nproc" Nproc,
    ResidentSet "rss" Rss,
    RealTimePriority "rtprio" Rtprio,
    RealTimeTime "rttime" Rttime,
    PendingSignals "sigpending" Sigpending,
    Stack "stack" Stack,
}

/// Limits kept by a control group; nothing set means no group is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Bytes of memory and swap together.
    pub memory_and_swap_bytes: Option<u64>,
    /// Relative weight, 1024 being ordinary.
    pub cpu_shares: Option<u64>,
    /// Microseconds of a scheduling period.
    pub cpu_period_microseconds: Option<u64>,
    /// Microseconds of processor time in a period.
    pub cpu_quota_microseconds: Option<u64>,
    /// Processors it may run on, such as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use.
    pub cpuset_mems: Option<String>,
    /// Number of processes.
    pub pids: Option<u64>,
    /// The group under which to make one; kiln's own by default.
    pub parent: Option<String>,
}

impl Resources {
    /// Says whether a control group is wanted at all.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimit_names_round_trip() {
        for name in ["core", "nofile", "nproc", "rttime"] {
            assert_eq!(UlimitName::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(UlimitName::parse("files"), None);
    }
}
