//! Groups of a job, with its limits as files.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use kiln_files::ProcessDirectory;

use super::hierarchy::{self, Hierarchy, Version};
use super::settings::{self, Setting};
use crate::{ExecError, Resources, Warning};

/// The groups of one job.
#[derive(Debug)]
pub(crate) struct Cgroup {
    groups: Vec<ProcessDirectory>,
    /// Where a process enters the version 1 groups.
    procs: Vec<OwnedFd>,
    /// The version 2 group, into which a process is born.
    unified: Option<File>,
}

impl Cgroup {
    /// Makes groups that keep the limits; none if there are none to keep.
    pub(crate) fn create(resources: &Resources) -> Result<Option<(Self, Vec<Warning>)>, ExecError> {
        if resources.is_unlimited() {
            return Ok(None);
        }
        let mut group = Self {
            groups: Vec::new(),
            procs: Vec::new(),
            unified: None,
        };
        let warnings = group.fill(resources, &hierarchy::hierarchies())?;
        Ok(Some((group, warnings)))
    }

    fn fill(
        &mut self,
        resources: &Resources,
        hierarchies: &[Hierarchy],
    ) -> Result<Vec<Warning>, ExecError> {
        let mut warnings = Vec::new();
        let mut made: Vec<(&'static str, Version, PathBuf)> = Vec::new();
        for setting in settings::settings(resources) {
            let found = made
                .iter()
                .find(|(controller, ..)| *controller == setting.controller);
            let (version, directory) = match found {
                Some((_, version, directory)) => (*version, directory.clone()),
                None => {
                    let (version, directory) = self.enter(resources, &setting, hierarchies)?;
                    made.push((setting.controller, version, directory.clone()));
                    (version, directory)
                }
            };
            let (file, value) = setting.in_version(version);
            match fs::write(directory.join(file), value) {
                Ok(()) => {}
                // Kernels without swap accounting.
                Err(error) if setting.optional && error.kind() == io::ErrorKind::NotFound => {
                    warnings.push(Warning::LimitIgnored {
                        controller: setting.controller,
                        limit: setting.limit,
                        reason: format!("{file} does not exist"),
                    });
                }
                Err(error) => {
                    return Err(setting.failed(format!("writing {value} to {file}: {error}")));
                }
            }
        }
        Ok(warnings)
    }

    /// Makes the group in the hierarchy that has a setting's controller.
    fn enter(
        &mut self,
        resources: &Resources,
        setting: &Setting,
        hierarchies: &[Hierarchy],
    ) -> Result<(Version, PathBuf), ExecError> {
        let hierarchy = hierarchies
            .iter()
            .find(|hierarchy| hierarchy.has(setting.controller))
            .ok_or_else(|| {
                setting.failed(format!(
                    "there is no {} control group here; the kernel, or the container that this \
                     is, must have one",
                    setting.controller
                ))
            })?;
        if let Some(directory) = self.directory_in(hierarchy).map(Path::to_owned) {
            hierarchy
                .enable(&directory, setting.controller)
                .map_err(|error| setting.failed(refusal(hierarchy, &error)))?;
            return Ok((hierarchy.version, directory));
        }
        let place = resources
            .parent
            .as_deref()
            .map_or(GroupPlace::Top, GroupPlace::Below);
        let directory = make_group(hierarchy, place)
            .and_then(|group| {
                let directory = group.path().to_owned();
                // Stored before anything else can fail, so that it is removed.
                self.groups.push(group);
                hierarchy.enable(&directory, setting.controller)?;
                match hierarchy.version {
                    Version::One => {
                        let procs = File::options()
                            .write(true)
                            .open(directory.join("cgroup.procs"))?;
                        self.procs.push(procs.into());
                    }
                    Version::Two => self.unified = Some(File::open(&directory)?),
                }
                Ok(directory)
            })
            .map_err(|error| setting.failed(refusal(hierarchy, &error)))?;
        Ok((hierarchy.version, directory))
    }

    /// Returns the files through which a new process enters the version 1 groups.
    pub(crate) fn procs_files(&self) -> &[OwnedFd] {
        &self.procs
    }

    /// Returns the group in a hierarchy, if there is one.
    pub(super) fn directory_in(&self, hierarchy: &Hierarchy) -> Option<&Path> {
        let mut paths = self.groups.iter().map(ProcessDirectory::path);
        paths.find(|path| path.starts_with(&hierarchy.mount))
    }

    /// Returns the version 2 group.
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|directory| directory.as_fd())
    }

    /// Removes the groups, which are empty now; says whether something in them was killed for want
    /// of memory.
    pub(crate) fn remove(self) -> bool {
        self.groups.iter().any(|group| {
            ["memory.events", "memory.oom_control"].iter().any(|file| {
                fs::read_to_string(group.path().join(file)).is_ok_and(|text| counts_oom_kill(&text))
            })
        })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            // What cannot be removed now is removed by the next kiln.
            let _ = fs::remove_dir(group.path());
        }
    }
}

/// Returns why limits such as `--memory` cannot be kept here, if they cannot.
#[must_use]
pub fn limits_refused() -> Option<String> {
    // More than any machine has, so that only making the group can fail.
    let some = Resources {
        memory_bytes: Some(1 << 50),
        ..Resources::default()
    };
    match Cgroup::create(&some) {
        Ok(made) => {
            let _ = made.map(|(group, _)| group.remove());
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

/// Says why there is no group, and who can have one.
fn refusal(hierarchy: &Hierarchy, error: &io::Error) -> String {
    let place = hierarchy.own.display();
    match (error.kind(), hierarchy.version) {
        (io::ErrorKind::PermissionDenied, Version::One) => format!(
            "control groups of version 1, as in {place}, are root's; start kiln as root, or have \
             the kernel use version 2"
        ),
        (io::ErrorKind::PermissionDenied, Version::Two) => format!(
            "this user may make no control group in {place}; start kiln where it may, as with \
             'systemd-run --user --scope -p Delegate=yes kiln ...', or as root"
        ),
        (io::ErrorKind::ReadOnlyFilesystem, _) => format!(
            "{} is read-only, as in containers; have it mounted writable, or start kiln outside",
            hierarchy.mount.display()
        ),
        _ => format!("making a control group in {place}: {error}"),
    }
}

fn counts_oom_kill(text: &str) -> bool {
    text.lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .any(|count| count.trim() != "0")
}

/// Where a group is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupPlace<'a> {
    /// Below a group that was asked for.
    Below(&'a str),
    /// At the top, or else below the group that this process is in.
    Top,
    /// Below the group that this process is in, so that its limits hold there too; or else at the
    /// top.
    Own,
}

/// Makes a group of our own.
pub(super) fn make_group(
    hierarchy: &Hierarchy,
    place: GroupPlace<'_>,
) -> io::Result<ProcessDirectory> {
    let top = hierarchy.mount.join("kiln");
    let own = hierarchy.own.join("kiln");
    let (first, second) = match place {
        GroupPlace::Below(parent) => {
            let above = hierarchy.mount.join(parent.trim_start_matches('/'));
            fs::create_dir_all(&above)?;
            return make_below(&above);
        }
        GroupPlace::Top => (top, own),
        GroupPlace::Own => (own, top),
    };
    make_in(&first).or_else(|error| make_in(&second).map_err(|_| error))
}

/// Makes a group in a directory that another kiln may remove in this moment, as the last to use it.
fn make_in(above: &Path) -> io::Result<ProcessDirectory> {
    let mut attempts = 0..100;
    loop {
        make_directory(above)?;
        match make_below(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts.next().is_some() => {}
            other => return other,
        }
    }
}

fn make_below(above: &Path) -> io::Result<ProcessDirectory> {
    ProcessDirectory::make(above, |left| fs::remove_dir(left))
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // It may be another user's.
            rustix::fs::access(path, rustix::fs::Access::WRITE_OK).map_err(Into::into)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_kills_of_both_versions() {
        assert!(counts_oom_kill("low 0\nmax 12\noom 1\noom_kill 1\n"));
        assert!(!counts_oom_kill(
            "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"
        ));
        assert!(!counts_oom_kill(""));
    }
}
