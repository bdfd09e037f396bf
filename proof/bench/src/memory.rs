//! How much memory a builder has at the moment it has most.
//!
//! All processes that begin during an action are its doing, since a run has a PID namespace
//! of its own; a daemon that was there before is named by its builder. Their resident sizes
//! are added up every other millisecond, so what is shorter may be missed, and pages that
//! several processes share count for each. Looking costs CPU time, hence a round of its own.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(2);

/// Does some work, and returns the most bytes that it had in memory at once; nothing if it was
/// over before anybody looked.
///
/// `daemons` are processes that began earlier and count nevertheless.
pub(crate) fn peak_during<Result>(
    daemons: &[u32],
    work: impl FnOnce() -> Result,
) -> (Result, Option<u64>) {
    let mut bystanders: HashSet<u32> = process_ids().collect();
    for daemon in daemons {
        bystanders.remove(daemon);
    }
    let done = AtomicBool::new(false);
    scope(|threads| {
        let watcher = threads.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(resident_bytes(&bystanders));
                sleep(INTERVAL);
            }
            peak
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        let peak = watcher.join().expect("the watcher does not panic");
        (result, (peak > 0).then_some(peak))
    })
}

fn process_ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn resident_bytes(bystanders: &HashSet<u32>) -> u64 {
    process_ids()
        .filter(|id| !bystanders.contains(id))
        // A process that is just ending has no memory any more.
        .filter_map(|id| fs::read_to_string(format!("/proc/{id}/status")).ok())
        .filter_map(|status| size_in(&status, "VmRSS:"))
        .sum()
}

/// Reads a size in bytes from `/proc/<id>/status`, e.g. `VmRSS:`; kernel threads have none.
pub(crate) fn size_in(status: &str, field: &str) -> Option<u64> {
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(field))?
        .trim()
        .strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn resident_sizes_are_in_kibibytes() {
        let status = "Name:\tsh\nVmHWM:\t    1300 kB\nVmRSS:\t    1272 kB\n";
        assert_eq!(size_in(status, "VmRSS:"), Some(1272 * 1024));
        assert_eq!(size_in("Name:\tkthreadd\n", "VmRSS:"), None);
    }

    #[test]
    fn memory_of_a_child_is_seen() {
        let size = 64 << 20;
        let (status, peak) = peak_during(&[], || {
            Command::new("dd")
                .args(["if=/dev/zero", "of=/dev/null", "count=60"])
                .arg(format!("bs={size}"))
                .stderr(Stdio::null())
                .status()
        });
        assert!(status.unwrap().success());
        assert!(peak >= Some(size), "{peak:?}");
    }
}
