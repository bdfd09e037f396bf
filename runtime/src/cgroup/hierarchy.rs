//! Which hierarchies of control groups the host has, and where this process is in them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

// linux/magic.h.
const CGROUP_SUPER_MAGIC: i64 = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// Which of the two interfaces a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    pub(super) mount: PathBuf,
    /// The group this process is in.
    pub(super) own: PathBuf,
    controllers: Vec<String>,
}

/// Says whether the version 2 hierarchy is mounted where programs look for it.
pub(crate) fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Says whether something of a hierarchy is at a path or below it. `file_system` is the number of the
/// file system at the path.
pub(crate) fn shows_groups(path: &Path, file_system: i64) -> bool {
    if [CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC].contains(&file_system) {
        return true;
    }
    // Without the file no hierarchy is known.
    fs::read("/proc/self/mountinfo").map_or(true, |mounts| has_group_below(&mounts, path))
}

fn has_group_below(mounts: &[u8], path: &Path) -> bool {
    mounts.split(|&byte| byte == b'\n').any(|line| {
        let mut words = line.split(|&byte| byte == b' ');
        let place = words.nth(4).map(unescape).unwrap_or_default();
        let kind = words.skip_while(|word| *word != b"-").nth(1);
        matches!(kind, Some(b"cgroup" | b"cgroup2"))
            && Path::new(OsStr::from_bytes(&place)).starts_with(path)
    })
}

/// Undoes what proc_pid_mountinfo(5) does to blanks, line ends and backslashes.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let octal = after.first_chunk::<3>().filter(|_| byte == b'\\');
        let value = octal.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match value {
            Some(value) => {
                plain.push(value);
                rest = &after[3..];
            }
            None => plain.push(byte),
        }
    }
    plain
}

/// Finds the hierarchies this process can see.
pub(super) fn hierarchies() -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = parse(&mounts, &groups);
    for hierarchy in &mut found {
        if hierarchy.version == Version::Two {
            let file = hierarchy.mount.join("cgroup.controllers");
            let text = fs::read_to_string(file).unwrap_or_default();
            hierarchy.controllers = text.split_whitespace().map(str::to_owned).collect();
        }
    }
    found
}

/// Reads proc_pid_mountinfo(5) and cgroups(7).
fn parse(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(mount)) = (left.next(), left.next()) else {
            continue;
        };
        let mut right = right.split(' ');
        let version = match right.next() {
            Some("cgroup") => Version::One,
            Some("cgroup2") => Version::Two,
            _ => continue,
        };
        let options: Vec<&str> = right.nth(1).unwrap_or_default().split(',').collect();
        let group = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let controllers = fields.nth(1)?;
            let path = fields.next()?;
            let matches = match version {
                Version::Two => controllers.is_empty(),
                Version::One => {
                    !controllers.is_empty() && controllers.split(',').all(|c| options.contains(&c))
                }
            };
            matches.then_some((controllers, path))
        });
        let Some((controllers, path)) = group else {
            continue;
        };
        let mount = PathBuf::from(mount);
        let inside = path.strip_prefix(root.trim_end_matches('/')).unwrap_or("");
        let own = mount.join(inside.trim_start_matches('/'));
        if !found.iter().any(|other| other.mount == mount) {
            found.push(Hierarchy {
                version,
                mount,
                own,
                controllers: controllers.split(',').map(str::to_owned).collect(),
            });
        }
    }
    found
}

impl Hierarchy {
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// Makes a controller work in a group below this hierarchy's top.
    pub(super) fn enable(&self, group: &Path, controller: &str) -> io::Result<()> {
        match self.version {
            Version::One if controller == "cpuset" => inherit_cpuset(&self.mount, group),
            Version::One => Ok(()),
            Version::Two => {
                let below = group.strip_prefix(&self.mount).unwrap_or(Path::new(""));
                let mut at = self.mount.clone();
                self.delegate(&at, controller)?;
                for name in below.parent().into_iter().flat_map(Path::components) {
                    at.push(name);
                    self.delegate(&at, controller)?;
                }
                Ok(())
            }
        }
    }

    /// Lets the groups below one use a controller.
    fn delegate(&self, group: &Path, controller: &str) -> io::Result<()> {
        let file = group.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file)?;
        if enabled.split_whitespace().any(|c| c == controller) {
            return Ok(());
        }
        let enable = || fs::write(&file, format!("+{controller}"));
        match enable() {
            // A group with processes in it cannot pass controllers on; if kiln is the only one, it
            // moves.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && group == self.own => {
                let leaf = group.join("kiln-self");
                match fs::create_dir(&leaf) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => {}
                }
                fs::write(leaf.join("cgroup.procs"), "0")?;
                enable()
            }
            other => other,
        }
    }
}

/// Gives a version 1 group the processors of its parent: it starts without any.
fn inherit_cpuset(mount: &Path, group: &Path) -> io::Result<()> {
    let mut at = mount.to_owned();
    for name in group.strip_prefix(mount).unwrap_or(Path::new("")) {
        let above = at.clone();
        at.push(name);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(at.join(file))?.trim().is_empty() {
                fs::write(at.join(file), fs::read(above.join(file))?)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_hybrid_hierarchies() {
        let mounts = "\
            24 1 0:22 / /sys rw - sysfs sysfs rw\n\
            30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n\
            31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let groups = "3:cpu,cpuacct:/\n2:memory:/user/a\n0::/user.slice/x\n";
        let found = parse(mounts, groups);
        let summary: Vec<_> = found
            .iter()
            .map(|h| (h.version, h.own.to_str().unwrap().to_owned()))
            .collect();
        assert_eq!(
            summary,
            [
                (Version::One, "/sys/fs/cgroup/cpu,cpuacct/".to_owned()),
                (Version::One, "/sys/fs/cgroup/memory/user/a".to_owned()),
                (
                    Version::Two,
                    "/sys/fs/cgroup/unified/user.slice/x".to_owned()
                ),
            ]
        );
        assert!(found[0].has("cpu") && found[0].has("cpuacct") && !found[0].has("memory"));
    }

    #[test]
    fn a_mounted_part_hides_what_is_above() {
        let mounts = "31 24 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let found = parse(mounts, "2:memory:/docker/abc/job\n");
        assert_eq!(found[0].own, Path::new("/sys/fs/cgroup/memory/job"));
    }

    #[test]
    fn sees_groups_below_a_path() {
        let mounts = b"\
            24 1 0:22 / /sys rw - sysfs sysfs rw\n\
            31 24 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n\
            32 24 0:28 / /mnt/a\\040b\\134/c rw - cgroup2 cgroup2 rw\n";
        let shows = |path: &str| has_group_below(mounts, Path::new(path));
        assert!(shows("/") && shows("/sys") && shows("/sys/fs/cgroup/memory"));
        assert!(shows("/mnt") && shows("/mnt/a b\\"));
        assert!(!shows("/mnt/a") && !shows("/sys/fs/cgroup/memory/x") && !shows("/sys/f"));
    }
}
