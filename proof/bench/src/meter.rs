//! Wall and CPU time of an action and of everything it causes, wherever that happens.
//!
//! Everything of a run (this process, clients, daemons, containers) lies below one control
//! group, whose counter grows by what all of them use. Only one action is under way at a
//! time, so the growth is its doing. A daemon that goes on after its client has left is
//! waited for and counted: the CPU time, but not the wall time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::action::{Action, ActionError};
use crate::error::Error;

/// Below this use in one interval, nothing of the last action is still at work. An idle
/// dockerd with its containerd uses well under a hundredth of a CPU.
const QUIET: Duration = Duration::from_micros(500);
const INTERVAL: Duration = Duration::from_millis(20);
/// A daemon that keeps busy for this long does something else.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one turn of one contender took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// From before the first program starts until the last one has ended.
    pub(crate) wall: Duration,
    /// User and system time of everything below the control group, until it is quiet.
    pub(crate) cpu: Duration,
}

/// Reads the CPU time of a run's control group.
#[derive(Debug)]
pub(crate) struct Meter {
    all: Counter,
    uncounted: Counter,
    group: PathBuf,
}

#[derive(Debug, Clone)]
enum Counter {
    /// `cpuacct.usage` of cgroups v1, in nanoseconds.
    Version1(PathBuf),
    /// `cpu.stat` of cgroups v2, in microseconds; every group has it, whatever its controllers.
    Version2(PathBuf),
}

impl Meter {
    /// Makes a meter for the group that is the top of the given mounts.
    pub(crate) fn new(group_mounts: &[PathBuf]) -> Result<Self, Error> {
        let (mount, all) = group_mounts
            .iter()
            .find_map(|mount| Some((mount, Counter::of(mount)?)))
            .ok_or_else(|| Error::Lacking("no control group counts CPU time".to_owned()))?;
        let group = mount.join("uncounted");
        fs::create_dir(&group).map_err(Error::at(&group))?;
        let uncounted = Counter::of(&group)
            .ok_or_else(|| Error::Lacking("a new control group does not count".to_owned()))?;
        Ok(Self {
            all,
            uncounted,
            group,
        })
    }

    /// Leaves a process and what it will start out of the count.
    pub(crate) fn leave_out(&self, process_id: u32) -> Result<(), Error> {
        let file = self.group.join("cgroup.procs");
        fs::write(&file, process_id.to_string()).map_err(Error::at(&file))
    }

    /// Returns the CPU time counted so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Error> {
        let uncounted = self.uncounted.read()?;
        // The counters are read one after the other, so they may disagree by a moment.
        Ok(self.all.read()?.saturating_sub(uncounted))
    }

    /// Does an action and measures it.
    pub(crate) fn measure(
        &self,
        action: Action,
        log: &File,
    ) -> Result<Result<Sample, ActionError>, Error> {
        self.wait_until_quiet()?;
        let cpu_before = self.cpu()?;
        let started = Instant::now();
        let result = action.perform(log);
        let wall = started.elapsed();
        let cpu = self.wait_until_quiet()?.saturating_sub(cpu_before);
        Ok(result.map(|()| Sample { wall, cpu }))
    }

    /// Waits until nothing is at work, and returns the CPU time up to then.
    fn wait_until_quiet(&self) -> Result<Duration, Error> {
        let deadline = Instant::now() + PATIENCE;
        // The kernel books what a thread used when it leaves the CPU; without a pause, what
        // this one did just now would be missing.
        sleep(Duration::from_millis(1));
        let mut last = self.cpu()?;
        loop {
            sleep(INTERVAL);
            let now = self.cpu()?;
            if now.saturating_sub(last) < QUIET || Instant::now() > deadline {
                return Ok(last);
            }
            last = now;
        }
    }
}

impl Counter {
    fn of(group: &Path) -> Option<Self> {
        let version1 = group.join("cpuacct.usage");
        let version2 = group.join("cpu.stat");
        if version1.exists() {
            return Some(Self::Version1(version1));
        }
        // A v1 group of the cpu controller has a cpu.stat too, but without this line.
        let text = fs::read_to_string(&version2).ok()?;
        usage_of_cpu_stat(&text).map(|_| Self::Version2(version2))
    }

    fn read(&self) -> Result<Duration, Error> {
        let (Self::Version1(path) | Self::Version2(path)) = self;
        let text = fs::read_to_string(path).map_err(Error::at(path))?;
        let usage = match self {
            Self::Version1(_) => text.trim_end().parse().ok().map(Duration::from_nanos),
            Self::Version2(_) => usage_of_cpu_stat(&text),
        };
        usage.ok_or_else(|| Error::Lacking(format!("{} holds no number", path.display())))
    }
}

fn usage_of_cpu_stat(text: &str) -> Option<Duration> {
    text.lines()
        .find_map(|line| line.strip_prefix("usage_usec "))
        .and_then(|number| number.parse().ok())
        .map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use kiln_testbed::Scratch;

    use super::*;

    #[test]
    fn version_2_counts_microseconds() {
        assert_eq!(
            usage_of_cpu_stat("usage_usec 26322\nuser_usec 8774\nsystem_usec 17548\n"),
            Some(Duration::from_micros(26_322))
        );
        assert_eq!(
            usage_of_cpu_stat("nr_periods 0\nnr_throttled 0\nthrottled_time 0\n"),
            None
        );
    }

    #[test]
    fn the_kind_of_group_is_seen_by_its_files() {
        let scratch = Scratch::new();
        assert!(Counter::of(scratch.path()).is_none());
        fs::write(scratch.join("cpu.stat"), "usage_usec 7\n").unwrap();
        let version2 = Counter::of(scratch.path()).unwrap();
        assert_eq!(version2.read().unwrap(), Duration::from_micros(7));
        fs::write(scratch.join("cpuacct.usage"), "7\n").unwrap();
        let version1 = Counter::of(scratch.path()).unwrap();
        assert_eq!(version1.read().unwrap(), Duration::from_nanos(7));
    }
}
