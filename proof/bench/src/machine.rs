//! What the figures were measured on, and who else was at work meanwhile.

use std::fmt;
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::meter::Meter;

/// What a reader must know of a machine to make use of figures measured on it.
#[derive(Debug)]
pub(crate) struct Machine {
    cpus: usize,
    model: String,
    memory_gib: u64,
    kernel: String,
    file_system: String,
    load: String,
}

impl Machine {
    /// Looks at this machine, and at the file system that a directory lies on.
    pub(crate) fn here(directory: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpus: available_parallelism().map_or(0, usize::from),
            model: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or("of an unknown model")
                .to_owned(),
            memory_gib: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|size| size.split(' ').next()?.parse::<u64>().ok())
                .map_or(0, |kib| (kib + (1 << 19)) >> 20),
            kernel: read("/proc/sys/kernel/osrelease").trim_end().to_owned(),
            file_system: file_system_of(&read("/proc/self/mountinfo"), directory)
                .unwrap_or("unknown")
                .to_owned(),
            load: read("/proc/loadavg")
                .split(' ')
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpus,
            model,
            memory_gib,
            kernel,
            file_system,
            load,
        } = self;
        write!(
            formatter,
            "{cpus} CPUs ({model}), {memory_gib} GiB, Linux {kernel}, {file_system}, \
             load at the start {load}"
        )
    }
}

/// Watches how many CPUs the rest of the machine uses.
#[derive(Debug)]
pub(crate) struct Watch {
    started: Instant,
    everybody: Duration,
    ours: Duration,
}

impl Watch {
    /// Begins to watch.
    pub(crate) fn begin(meter: &Meter) -> Result<Self, Error> {
        Ok(Self {
            started: Instant::now(),
            everybody: busy_time(),
            ours: meter.cpu()?,
        })
    }

    /// Returns how many CPUs others used on average since the beginning.
    pub(crate) fn others(&self, meter: &Meter) -> Result<f64, Error> {
        let everybody = busy_time().saturating_sub(self.everybody);
        let ours = meter.cpu()?.saturating_sub(self.ours);
        let others = everybody.saturating_sub(ours);
        Ok(others.as_secs_f64() / self.started.elapsed().as_secs_f64())
    }
}

fn busy_time() -> Duration {
    busy_time_of(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

/// Adds up the first line of `/proc/stat`, whose unit is 10 ms on every Linux that kiln runs on.
fn busy_time_of(stat: &str) -> Duration {
    // proc(5): "cpu", user, nice, system, idle, iowait, irq, softirq, steal, and guest times,
    // which user and nice hold already.
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|number| number.parse().ok())
        .collect();
    let busy = ticks.iter().take(3).chain(ticks.iter().skip(5).take(3));
    Duration::from_millis(10 * busy.sum::<u64>())
}

/// Returns the value of the first `name: value` line.
fn field<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim_end() == name).then(|| value.trim())
    })
}

/// Returns the type of the file system of a path: that of the longest mount point above it,
/// and of the last one where several are stacked.
fn file_system_of<'text>(mountinfo: &'text str, path: &Path) -> Option<&'text str> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mount_point = Path::new(mount.split(' ').nth(4)?);
            let kind = file_system.split(' ').next()?;
            path.starts_with(mount_point)
                .then(|| (mount_point.components().count(), kind))
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_disk_is_not_work() {
        let stat = "cpu  100 20 3 4000 500 1 2 4 70 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_time_of(stat), Duration::from_millis(1300));
        assert_eq!(busy_time_of(""), Duration::ZERO);
    }

    #[test]
    fn the_nearest_mount_says_the_file_system() {
        let mountinfo = "1 0 254:0 / / rw - ext4 /dev/vda rw\n\
                         2 1 0:5 / /var rw - xfs /dev/vdb rw\n\
                         3 1 0:6 / /variant rw - btrfs /dev/vdc rw\n\
                         4 2 0:7 / /var rw - tmpfs tmpfs rw\n";
        let check = |path, kind| {
            assert_eq!(file_system_of(mountinfo, Path::new(path)), Some(kind));
        };
        check("/var/tmp/x", "tmpfs");
        check("/home", "ext4");
        check("/variant/x", "btrfs");
    }

    #[test]
    fn fields_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: A: fast one\nMemTotal:  24 kB\n";
        assert_eq!(field(text, "model name"), Some("A: fast one"));
        assert_eq!(field(text, "MemTotal"), Some("24 kB"));
        assert_eq!(field(text, "model"), None);
    }
}
