//! Which hierarchies of control groups the host has, and where this process is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
            // A group with processes in it cannot pass controllers on; if they are us, we move.
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
}
