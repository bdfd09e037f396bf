//! Rules about devices for groups of processes.
//!
//! Only root of the machine can make them, and only root needs them: where a user namespace is
//! around, the kernel lets no process use a node that was made there. A version 2 group takes them
//! as a program, also where its hierarchy has no controllers; a version 1 group of the `devices`
//! controller, which is slow to enter, as lines.
//!
//! Making a group and its program takes half a millisecond. So jobs that have neither limits nor
//! devices of their own share a group, which is made for the first of them. It is below the one that
//! kiln is in, so that limits which a user has put on that hold for kiln's jobs too.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use kiln_files::ProcessDirectory;

use super::device_rules;
use super::group::{Cgroup, GroupPlace, make_group};
use super::hierarchy::{self, Hierarchy, Version};
use crate::{DeviceNumber, sys};

/// Puts rules about devices on the jobs of this process.
#[derive(Debug, Default)]
pub(crate) struct DeviceControl {
    /// None if there can be no rules.
    means: OnceLock<Option<RuleMeans>>,
}

/// How rules are put on groups here.
#[derive(Debug)]
struct RuleMeans {
    hierarchy: Hierarchy,
    /// The program of the usual rules, where the hierarchy takes programs.
    program: Option<OwnedFd>,
    shared: Arc<DeviceGroup>,
}

/// A group with rules about devices and nothing else.
#[derive(Debug)]
struct DeviceGroup {
    directory: ProcessDirectory,
    entrance: GroupEntrance,
}

/// How a process gets into a group.
#[derive(Debug)]
enum GroupEntrance {
    /// It is born there.
    Birth(File),
    /// It writes its number, before anything else.
    Procs(OwnedFd),
}

/// That there are rules on a job, and the group that has to be entered for them, unless they are on
/// one that it has for its limits.
#[derive(Debug)]
pub(crate) struct Controlled(Option<Arc<DeviceGroup>>);

impl DeviceControl {
    /// Puts rules on a job that is given some devices; none if that cannot be done. `cgroup` holds
    /// the groups of its limits.
    pub(crate) fn put_on(
        &self,
        cgroup: Option<&Cgroup>,
        given: &[DeviceNumber],
    ) -> Option<Controlled> {
        let means = self.means.get_or_init(RuleMeans::find).as_ref()?;
        let restricted = match &means.program {
            Some(usual) => cgroup
                .and_then(Cgroup::directory)
                .map(|group| attach(group, usual, given)),
            None => cgroup
                .and_then(|cgroup| cgroup.directory_in(&means.hierarchy))
                .map(|directory| write_lines(directory, given)),
        };
        Some(Controlled(match restricted {
            Some(restricted) => {
                restricted.ok()?;
                None
            }
            None if given.is_empty() => Some(means.shared.clone()),
            None => {
                let usual = means.program.as_ref();
                let own = DeviceGroup::new(&means.hierarchy, usual, given).ok()?;
                Some(Arc::new(own))
            }
        }))
    }
}

impl RuleMeans {
    fn find() -> Option<Self> {
        // A user who may not load a program may not set rules at all.
        let usual = sys::load_device_program(&device_rules::program(&[]));
        let hierarchies = hierarchy::hierarchies();
        let found = |version, program: Option<OwnedFd>| {
            let suits = |hierarchy: &&Hierarchy| {
                hierarchy.version == version
                    && (version == Version::Two || hierarchy.has("devices"))
            };
            let hierarchy = hierarchies.iter().find(suits)?.clone();
            let shared = DeviceGroup::new(&hierarchy, program.as_ref(), &[]).ok()?;
            Some(Self {
                hierarchy,
                program,
                shared: Arc::new(shared),
            })
        };
        usual
            .ok()
            .and_then(|program| found(Version::Two, Some(program)))
            .or_else(|| found(Version::One, None))
    }
}

/// Puts rules on a version 2 group: the usual ones, or a program of its own.
fn attach(group: BorrowedFd<'_>, usual: &OwnedFd, given: &[DeviceNumber]) -> io::Result<()> {
    let own = if given.is_empty() {
        None
    } else {
        Some(sys::load_device_program(&device_rules::program(given))?)
    };
    let program = own.as_ref().unwrap_or(usual);
    Ok(sys::attach_device_program(program.as_fd(), group)?)
}

/// Puts rules on a version 1 group.
fn write_lines(directory: &Path, given: &[DeviceNumber]) -> io::Result<()> {
    let write = |name: &str, line: &str| {
        let mut file = File::options().write(true).open(directory.join(name))?;
        file.write_all(line.as_bytes())
    };
    write("devices.deny", "a")?;
    for line in device_rules::lines(given) {
        match write("devices.allow", &line) {
            // A group cannot be allowed what the group above may not use.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

impl DeviceGroup {
    /// Makes a group with its rules: by a program where there is one of the usual rules.
    fn new(
        hierarchy: &Hierarchy,
        usual: Option<&OwnedFd>,
        given: &[DeviceNumber],
    ) -> io::Result<Self> {
        let directory = make_group(hierarchy, GroupPlace::Own)?;
        let entrance = match usual {
            Some(usual) => File::open(directory.path()).and_then(|group| {
                attach(group.as_fd(), usual, given)?;
                Ok(GroupEntrance::Birth(group))
            }),
            None => write_lines(directory.path(), given).and_then(|()| {
                let procs = directory.path().join("cgroup.procs");
                let procs = File::options().write(true).open(procs)?;
                Ok(GroupEntrance::Procs(procs.into()))
            }),
        };
        match entrance {
            Ok(entrance) => Ok(Self {
                directory,
                entrance,
            }),
            Err(error) => {
                remove(&directory);
                Err(error)
            }
        }
    }
}

impl Drop for DeviceGroup {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

/// Removes a group, and the one for all kilns here if this was the last in it: a user may have made
/// the group above for kiln alone, and can remove it only then. What cannot be removed now is removed
/// by the next kiln.
fn remove(group: &ProcessDirectory) {
    let _ = fs::remove_dir(group.path());
    let _ = group.path().parent().map(fs::remove_dir);
}

impl Controlled {
    fn entrance(&self) -> Option<&GroupEntrance> {
        self.0.as_ref().map(|group| &group.entrance)
    }

    /// Returns the file through which a new process enters a version 1 group.
    pub(crate) fn procs_file(&self) -> Option<BorrowedFd<'_>> {
        match self.entrance()? {
            GroupEntrance::Procs(procs) => Some(procs.as_fd()),
            GroupEntrance::Birth(_) => None,
        }
    }

    /// Returns the version 2 group into which a process is born.
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        match self.entrance()? {
            GroupEntrance::Birth(group) => Some(group.as_fd()),
            GroupEntrance::Procs(_) => None,
        }
    }
}
