//! Which control groups a process is in, in any mixture of cgroups v1 and v2.

use std::path::{Path, PathBuf};

/// A mounted hierarchy of control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount_point: PathBuf,
    /// The directory below which this process may make a group.
    pub(crate) parent: PathBuf,
}

/// Returns the mounted hierarchies, given `/proc/self/mountinfo` and `/proc/self/cgroup`.
///
/// A new v1 group belongs below the process's own, whose limits then still hold. In v2 only
/// the topmost group may have both processes and children with controllers
/// (cgroup-v2.rst, "No Internal Process Constraint"), so a new one belongs there.
pub(crate) fn hierarchies(mountinfo: &str, cgroup: &str) -> Vec<Hierarchy> {
    mountinfo
        .lines()
        .filter_map(|line| {
            // proc(5): id, parent id, device, root, mount point, options, fields that may be
            // missing, "-", type, source, options of the file system.
            let (mount, file_system) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(3);
            let (root, mount_point) = (mount.next()?, mount.next()?);
            let mut file_system = file_system.split(' ');
            let (kind, _, options) = (
                file_system.next()?,
                file_system.next()?,
                file_system.next()?,
            );
            let mount_point = PathBuf::from(mount_point);
            let parent = match kind {
                "cgroup2" => mount_point.clone(),
                "cgroup" => mount_point.join(below(root, own_group(options, cgroup)?)),
                _ => return None,
            };
            Some(Hierarchy {
                mount_point,
                parent,
            })
        })
        .collect()
}

/// Returns the path of the process's group in the v1 hierarchy with these mount options.
fn own_group<'cgroup>(options: &str, cgroup: &'cgroup str) -> Option<&'cgroup str> {
    cgroup.lines().find_map(|line| {
        // cgroups(7): hierarchy id, controllers, path.
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let mounted = |controller| options.split(',').any(|option| option == controller);
        (!controllers.is_empty() && controllers.split(',').all(mounted)).then_some(path)
    })
}

/// Returns a group's path relative to the root of a mount, `""` for the root itself. Groups
/// outside the mount, which a container may see, count as the root.
fn below<'path>(root: &str, group: &'path str) -> &'path Path {
    Path::new(group)
        .strip_prefix(root)
        .unwrap_or_else(|_| Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mountinfo: &str, cgroup: &str, expected: &[(&str, &str)]) {
        let found = hierarchies(mountinfo, cgroup);
        let found: Vec<_> = found
            .iter()
            .map(|hierarchy| {
                (
                    hierarchy.mount_point.to_str().unwrap(),
                    hierarchy.parent.to_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn version_1_beside_version_2() {
        check(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             38 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
            "9:name=systemd:/\n4:memory:/jobs/7\n2:cpu,cpuacct:/\n0::/jobs/7\n",
            &[
                ("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/"),
                ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/jobs/7"),
                ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/systemd/"),
                ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"),
            ],
        );
    }

    #[test]
    fn version_2_alone() {
        check(
            "26 22 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/user.slice/user-0.slice/session-1.scope\n",
            &[("/sys/fs/cgroup", "/sys/fs/cgroup")],
        );
    }

    #[test]
    fn in_a_container_with_the_machines_names() {
        check(
            "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            "4:memory:/docker/abc/inner\n",
            &[("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/inner")],
        );
    }
}
