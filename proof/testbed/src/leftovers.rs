use std::fmt;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Something that outlived the test that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// A file system mounted below the path.
    Mount(PathBuf),
    /// A process that works in, is rooted in, runs from, names, or sees mounts of the path.
    Process {
        /// Its process id.
        id: u32,
        /// How it refers to the path.
        how: &'static str,
        /// Its command line, blanks between the arguments.
        command: String,
    },
}

impl fmt::Display for Leftover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(mount_point) => write!(formatter, "mount on {}", mount_point.display()),
            Self::Process { id, how, command } => {
                write!(formatter, "process {id} ({how}): {command}")
            }
        }
    }
}

/// Returns the mounts and processes that refer to a path or to something below it.
///
/// The calling process is not counted. A container's process hides its root behind
/// `pivot_root`, but the overlay in its own mount table still names its directories; such
/// tables are looked at once no mount of ours is left.
pub fn leftovers(path: &Path) -> Vec<Leftover> {
    let mut found: Vec<Leftover> = mount_points_below(path)
        .into_iter()
        .map(Leftover::Mount)
        .collect();
    let Ok(processes) = fs::read_dir("/proc") else {
        return found;
    };
    // A mount of ours shows in other namespaces too, through propagation, without their doing.
    let only_others_mount = found.is_empty();
    for process in processes.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|id| id.parse().ok()) else {
            continue;
        };
        if id == std::process::id() {
            continue;
        }
        let directory = process.path();
        // Whatever cannot be read any more belongs to a process that is just ending.
        let arguments = fs::read(directory.join("cmdline")).unwrap_or_default();
        let refers = |link: &str| {
            fs::read_link(directory.join(link)).is_ok_and(|target| target.starts_with(path))
        };
        let sees_mounts = || {
            only_others_mount
                && fs::read(directory.join("mountinfo"))
                    .is_ok_and(|table| mentions(&table, path.as_os_str().as_bytes()))
        };
        let how = if refers("cwd") {
            "works in it"
        } else if refers("root") {
            "is rooted in it"
        } else if refers("exe") {
            "runs a program from it"
        } else if mentions(&arguments, path.as_os_str().as_bytes()) {
            "names it as an argument"
        } else if sees_mounts() {
            "has mounts of it"
        } else {
            continue;
        };
        let command = String::from_utf8_lossy(&arguments).replace('\0', " ");
        found.push(Leftover::Process { id, how, command });
    }
    found
}

/// Fails unless every mount and process that refers to a path is gone within five seconds.
///
/// # Panics
///
/// With the list of what is left.
pub fn assert_no_leftovers(path: &Path) {
    // The kernel takes a moment to dismantle what was ended properly.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let found = leftovers(path);
        if found.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            let list: Vec<String> = found.iter().map(ToString::to_string).collect();
            panic!(
                "left behind in {}:\n  {}",
                path.display(),
                list.join("\n  ")
            );
        }
        sleep(Duration::from_millis(20));
    }
}

/// Returns the mount points at a path and below it, in the order of the mount table.
pub(crate) fn mount_points_below(path: &Path) -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table
        .split(|byte| *byte == b'\n')
        // proc(5), "/proc/pid/mountinfo": the fifth field is the mount point.
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .filter(|mount_point| mount_point.starts_with(path))
        .collect()
}

/// Undoes the octal escapes that the kernel writes for blanks, newlines and backslashes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = octal {
            bytes.push(byte);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Returns whether bytes contain a path, not merely a longer name that starts like it.
fn mentions(bytes: &[u8], path: &[u8]) -> bool {
    bytes
        .windows(path.len())
        .enumerate()
        .filter(|(_, window)| *window == path)
        .any(|(start, _)| {
            bytes
                .get(start + path.len())
                .is_none_or(|next| !next.is_ascii_alphanumeric() && !b"-_.".contains(next))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_escapes_are_undone() {
        assert_eq!(unescape(br"/a\040b\134c"), Path::new("/a b\\c"));
        assert_eq!(unescape(br"/ends\04"), Path::new("/ends\\04"));
    }

    #[test]
    fn a_longer_name_is_another_path() {
        assert!(mentions(b"rw,lowerdir=/tmp/x/lower", b"/tmp/x"));
        assert!(mentions(b"--root\0/tmp/x\0", b"/tmp/x"));
        assert!(!mentions(b"/tmp/x2", b"/tmp/x"));
        assert!(mentions(b"/tmp/x2 /tmp/x", b"/tmp/x"));
    }
}
