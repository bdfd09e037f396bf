//! Limits as files of control groups.

use super::hierarchy::Version;
use crate::{ExecError, Resources};

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    /// Its name for people.
    pub(super) limit: &'static str,
    /// File and value in either version.
    one: (&'static str, String),
    two: (&'static str, String),
    /// Whether kernels may lack it without that being an error.
    pub(super) optional: bool,
}

impl Setting {
    pub(super) fn in_version(&self, version: Version) -> (&'static str, &str) {
        let (file, value) = match version {
            Version::One => &self.one,
            Version::Two => &self.two,
        };
        (file, value)
    }

    pub(super) fn failed(&self, reason: String) -> ExecError {
        ExecError::Limit {
            limit: self.limit,
            reason,
        }
    }
}

/// Returns the settings for all limits asked for, in the order they have to be written.
pub(super) fn settings(resources: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |controller, limit, one: (&'static str, String), two: (&'static str, String)| {
        settings.push(Setting {
            controller,
            limit,
            one,
            two,
            optional: limit == "memory-swap",
        });
    };
    if let Some(bytes) = resources.memory_bytes {
        let bytes = bytes.to_string();
        add(
            "memory",
            "memory",
            ("memory.limit_in_bytes", bytes.clone()),
            ("memory.max", bytes),
        );
    }
    if let Some(both) = resources.memory_and_swap_bytes {
        let swap = both.saturating_sub(resources.memory_bytes.unwrap_or(0));
        add(
            "memory",
            "memory-swap",
            ("memory.memsw.limit_in_bytes", both.to_string()),
            ("memory.swap.max", swap.to_string()),
        );
    }
    if let Some(shares) = resources.cpu_shares {
        add(
            "cpu",
            "cpu-shares",
            ("cpu.shares", shares.to_string()),
            ("cpu.weight", weight(shares).to_string()),
        );
    }
    // Version 2 has one file for both; writing the period first leaves the quota to the second.
    let period = resources.cpu_period_microseconds.unwrap_or(100_000);
    if resources.cpu_period_microseconds.is_some() {
        add(
            "cpu",
            "cpu-period",
            ("cpu.cfs_period_us", period.to_string()),
            ("cpu.max", format!("max {period}")),
        );
    }
    if let Some(quota) = resources.cpu_quota_microseconds {
        add(
            "cpu",
            "cpu-quota",
            ("cpu.cfs_quota_us", quota.to_string()),
            ("cpu.max", format!("{quota} {period}")),
        );
    }
    for (limit, file, value) in [
        ("cpuset-cpus", "cpuset.cpus", &resources.cpuset_cpus),
        ("cpuset-mems", "cpuset.mems", &resources.cpuset_mems),
    ] {
        if let Some(value) = value {
            add(
                "cpuset",
                limit,
                (file, value.clone()),
                (file, value.clone()),
            );
        }
    }
    if let Some(pids) = resources.pids {
        add(
            "pids",
            "pids-limit",
            ("pids.max", pids.to_string()),
            ("pids.max", pids.to_string()),
        );
    }
    settings
}

/// Converts shares (2 to 262144) to a weight (1 to 10000), as runc does
/// (opencontainers/cgroups: `ConvertCPUSharesToCgroupV2Value`).
fn weight(shares: u64) -> u64 {
    match shares {
        0 => 100,
        _ => 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_two_counts_swap_apart() {
        let settings = settings(&Resources {
            memory_bytes: Some(1000),
            memory_and_swap_bytes: Some(1500),
            ..Resources::default()
        });
        assert_eq!(
            settings
                .iter()
                .map(|s| s.in_version(Version::Two))
                .collect::<Vec<_>>(),
            [("memory.max", "1000"), ("memory.swap.max", "500")]
        );
        assert_eq!(
            settings[1].in_version(Version::One),
            ("memory.memsw.limit_in_bytes", "1500")
        );
        assert!(settings[1].optional && !settings[0].optional);
    }

    #[test]
    fn period_and_quota_share_a_file() {
        let settings = settings(&Resources {
            cpu_period_microseconds: Some(50_000),
            cpu_quota_microseconds: Some(25_000),
            ..Resources::default()
        });
        assert_eq!(
            settings.last().unwrap().in_version(Version::Two),
            ("cpu.max", "25000 50000")
        );
    }

    #[test]
    fn shares_become_weights() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }
}
