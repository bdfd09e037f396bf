//! Namespaces in which this very process is user 0 and may mount.
//!
//! [`enter`] is called once, at the start of `main`, before there is a second thread. It takes the
//! highest level it can reach:
//!
//! | level | who | ids inside |
//! |---|---|---|
//! | [`PrivilegeLevel::Root`] | root, or root of a container that may mount | all that there are |
//! | [`PrivilegeLevel::Subordinate`] | a user with a range in `/etc/subuid` and `/etc/subgid` | 0 is the user, 1 and up are the range |
//! | [`PrivilegeLevel::SingleId`] | any other user whom the kernel lets make a user namespace | 0 only |
//! | [`PrivilegeLevel::None`] | the rest | unchanged; nothing can be run or mounted |
//!
//! On every level but the last the process has a mount namespace of its own: mounts made here are
//! seen by no other process and vanish with the process, whatever kills it. Mounts the host makes
//! later still arrive.

mod idmap; // which ids exist
mod subid; // /etc/subuid and /etc/subgid

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::thread::{CapabilitySet, UnshareFlags};

pub use idmap::{IdMap, IdMaps, IdRange};

use crate::outer_filter;
use crate::sys::{self, MapHelper, MapTask, Strings};

/// How [`enter`] goes about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which ids to ask for.
    pub mapping: Mapping,
    /// Where the system keeps its tables and programs.
    pub system: System,
}

/// Which ids a user namespace gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The user's ranges if there are any, or a single id.
    Ranges,
    /// A single id, which is faster and enough where nothing is owned by others.
    SingleId,
}

/// Where the system keeps what [`enter`] reads and runs.
#[derive(Clone, Debug)]
pub struct System {
    /// Names of users.
    pub passwd: PathBuf,
    /// Ranges of user ids.
    pub subuid: PathBuf,
    /// Ranges of group ids.
    pub subgid: PathBuf,
    /// Directories in which `newuidmap` and `newgidmap` are looked for.
    pub programs: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mapping: Mapping::Ranges,
            system: System {
                passwd: PathBuf::from("/etc/passwd"),
                subuid: PathBuf::from("/etc/subuid"),
                subgid: PathBuf::from("/etc/subgid"),
                programs: ["/usr/bin", "/usr/local/bin", "/bin"]
                    .map(PathBuf::from)
                    .into(),
            },
        }
    }
}

/// What [`enter`] reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivilegeLevel {
    /// This process could mount already; it only got a mount namespace of its own.
    Root,
    /// A user namespace with ranges of ids.
    Subordinate {
        /// How many user ids exist in it.
        users: u64,
        /// How many group ids exist in it.
        groups: u64,
    },
    /// A user namespace in which only user and group 0 exist.
    SingleId {
        /// Why there are no more.
        reason: NoRange,
    },
    /// Neither mounts nor namespaces.
    None {
        /// Why.
        reason: NoNamespace,
    },
}

/// Why a user namespace has a single id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRange {
    /// The caller asked for no more.
    #[error("a single id was asked for")]
    NotAsked,
    /// The tables have no range for the user.
    #[error("no range of ids for user {user} in {}; add one with: usermod --add-subuids \
             100000-165535 --add-subgids 100000-165535 {user}", table.display())]
    NoEntry {
        /// Its name, or its number where it has none.
        user: String,
        /// The table without an entry.
        table: PathBuf,
    },
    /// The programs that write ranges are missing.
    #[error("{program} is not installed; it comes with the package uidmap or shadow-utils")]
    NoProgram {
        /// Which.
        program: &'static str,
    },
    /// A program that writes ranges refused to.
    #[error("{program} failed: {message}")]
    Refused {
        /// Which.
        program: String,
        /// What it said.
        message: String,
    },
}

/// Why there is no user namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNamespace {
    /// A setting of the kernel forbids it.
    #[error("{setting} is {value}, so ordinary users cannot make user namespaces")]
    Setting {
        /// A file below `/proc/sys`.
        setting: &'static str,
        /// What it says.
        value: String,
    },
    /// The kernel, or a filter around this process, refuses.
    #[error(
        "user namespaces are not permitted here ({message}); in a container, run it with \
             --privileged or --security-opt seccomp=unconfined"
    )]
    Refused {
        /// The kernel's answer.
        message: String,
    },
}

/// Why [`enter`] failed in a way that leaves the process in no good state.
#[derive(Debug, thiserror::Error)]
pub enum UsernsError {
    /// It was called too late.
    #[error("a user namespace can be entered only while the process has a single thread")]
    Threads,
    /// The namespace exists but cannot be used.
    #[error("{what}")]
    Unusable {
        /// What failed.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// Puts this process into namespaces in which it is root; see the module.
///
/// # Errors
/// A step failed after which there is no way back. That there can be no namespaces is no error:
/// much of kiln works without.
pub fn enter(options: &Options) -> Result<PrivilegeLevel, UsernsError> {
    let reached = enter_as_far_as_possible(options);
    tracing::debug!(?reached, "namespaces of kiln itself");
    reached
}

fn enter_as_far_as_possible(options: &Options) -> Result<PrivilegeLevel, UsernsError> {
    if may_mount() {
        match sys::unshare(UnshareFlags::NEWNS) {
            Ok(()) => {
                return hide_mounts().map(|()| PrivilegeLevel::Root);
            }
            Err(Errno::PERM) => {}
            Err(errno) => return Err(unusable("making a mount namespace")(errno)),
        }
    }
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    match plan(options, uid, gid) {
        Ok(plan) => enter_with_ranges(&plan, uid, gid),
        Err(reason) => enter_with_single_id(uid, gid, reason),
    }
}

/// Says whether this process may mount: uid 0 alone does not tell, nor do capabilities, which a
/// container's filter may make useless.
fn may_mount() -> bool {
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    capable && rustix::process::geteuid().is_root()
}

/// Keeps our mounts from the host but lets the host's arrive.
fn hide_mounts() -> Result<(), UsernsError> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .map_err(unusable("separating the mounts"))
}

fn unusable(what: &str) -> impl FnOnce(Errno) -> UsernsError {
    let what = what.to_owned();
    move |errno| UsernsError::Unusable {
        what,
        source: outer_filter::explained(errno.into()),
    }
}

/// The maps to write and what writes them.
struct MapPlan {
    users: Vec<IdRange>,
    groups: Vec<IdRange>,
    tasks: Vec<(String, MapTask)>,
}

fn plan(options: &Options, uid: u32, gid: u32) -> Result<MapPlan, NoRange> {
    if options.mapping == Mapping::SingleId {
        return Err(NoRange::NotAsked);
    }
    if uid == 0 {
        return Ok(identity_plan());
    }
    let system = &options.system;
    let passwd = fs::read(&system.passwd).unwrap_or_default();
    let user = subid::user_name(&passwd, uid);
    let ranges = |table: &Path| {
        let text = fs::read(table).unwrap_or_default();
        match subid::ranges(&text, user.as_deref(), uid) {
            ranges if ranges.is_empty() => Err(NoRange::NoEntry {
                user: user.clone().unwrap_or_else(|| uid.to_string()),
                table: table.to_owned(),
            }),
            ranges => Ok(ranges),
        }
    };
    let users = subid::map(uid, &ranges(&system.subuid)?);
    let groups = subid::map(gid, &ranges(&system.subgid)?);
    let tasks = vec![
        program_task(system, "newuidmap", &users)?,
        program_task(system, "newgidmap", &groups)?,
    ];
    Ok(MapPlan {
        users,
        groups,
        tasks,
    })
}

/// Makes the task of running `newuidmap <pid> <inside> <outside> <count> …`.
fn program_task(
    system: &System,
    program: &'static str,
    map: &[IdRange],
) -> Result<(String, MapTask), NoRange> {
    let path = system
        .programs
        .iter()
        .map(|directory| directory.join(program))
        .find(|path| path.exists())
        .ok_or(NoRange::NoProgram { program })?;
    let mut argv = vec![program.to_owned(), std::process::id().to_string()];
    for range in map {
        argv.extend([range.inside, range.outside, range.count].map(|number| number.to_string()));
    }
    let no_zero = "ids and a found path hold no zero byte";
    let task = MapTask::Execute {
        program: CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
            .expect(no_zero),
        argv: Strings::new(argv).expect(no_zero),
        env: Strings::new(Vec::<Vec<u8>>::new()).expect(no_zero),
    };
    Ok((program.to_owned(), task))
}

/// Root that may not mount, as in a container, maps every id it has to itself: its own helper may
/// write that.
fn identity_plan() -> MapPlan {
    let maps = IdMaps::of_this_process();
    let identity = |map: &IdMap| -> Vec<IdRange> {
        map.ranges()
            .iter()
            .map(|range| IdRange {
                outside: range.inside,
                ..*range
            })
            .collect()
    };
    let (users, groups) = (identity(maps.users()), identity(maps.groups()));
    let task = |kind: &str, map: &[IdRange]| {
        let no_zero = "numbers hold no zero byte";
        let task = MapTask::Write {
            file: CString::new(format!("/proc/{}/{kind}", std::process::id())).expect(no_zero),
            text: CString::new(idmap::to_text(map)).expect(no_zero),
        };
        (format!("writing {kind}"), task)
    };
    let tasks = vec![task("uid_map", &users), task("gid_map", &groups)];
    MapPlan {
        users,
        groups,
        tasks,
    }
}

fn enter_with_ranges(plan: &MapPlan, uid: u32, gid: u32) -> Result<PrivilegeLevel, UsernsError> {
    let mut helpers = Vec::with_capacity(plan.tasks.len());
    for (name, task) in &plan.tasks {
        let helper = MapHelper::start(task).map_err(|errno| UsernsError::Unusable {
            what: "starting a helper process".to_owned(),
            source: outer_filter::explained(kiln_threads::cannot_start(errno.into())),
        })?;
        helpers.push((name, helper));
    }
    if let Some(reason) = unshare()? {
        return Ok(PrivilegeLevel::None { reason });
    }
    // Both helpers run at the same time.
    for (_, helper) in &helpers {
        helper
            .release()
            .map_err(unusable("talking to a helper process"))?;
    }
    let mut refused = None;
    for (name, helper) in helpers {
        let end = helper
            .finish()
            .map_err(unusable("waiting for a helper process"))?;
        if end.code != 0 && refused.is_none() {
            refused = Some(NoRange::Refused {
                program: name.clone(),
                message: match end.message {
                    message if message.is_empty() => format!("exit code {}", end.code),
                    message => message,
                },
            });
        }
    }
    match refused {
        None => Ok(PrivilegeLevel::Subordinate {
            users: plan.users.iter().map(|range| u64::from(range.count)).sum(),
            groups: plan.groups.iter().map(|range| u64::from(range.count)).sum(),
        }),
        Some(reason) => write_missing_maps(uid, gid, reason),
    }
}

fn enter_with_single_id(
    uid: u32,
    gid: u32,
    reason: NoRange,
) -> Result<PrivilegeLevel, UsernsError> {
    if let Some(no_namespace) = unshare()? {
        return Ok(PrivilegeLevel::None {
            reason: no_namespace,
        });
    }
    write_missing_maps(uid, gid, reason)
}

/// Maps what is not mapped yet to the one id a process may map by itself.
fn write_missing_maps(uid: u32, gid: u32, reason: NoRange) -> Result<PrivilegeLevel, UsernsError> {
    let maps = IdMaps::of_this_process();
    let single = |id| {
        let range = IdRange {
            inside: 0,
            outside: id,
            count: 1,
        };
        idmap::to_text(&[range])
    };
    if maps.users().ranges().is_empty() {
        write("/proc/self/uid_map", &single(uid))?;
    }
    if maps.groups().ranges().is_empty() {
        // user_namespaces(7): only who cannot drop groups any more may map one by itself.
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/gid_map", &single(gid))?;
    }
    Ok(PrivilegeLevel::SingleId { reason })
}

fn write(file: &str, text: &str) -> Result<(), UsernsError> {
    fs::write(file, text).map_err(|source| UsernsError::Unusable {
        what: format!("writing {file}"),
        source,
    })
}

/// Enters a user and a mount namespace; returns why not if it is not allowed.
///
/// The kernel keeps mounts of a user namespace from its parent by itself.
fn unshare() -> Result<Option<NoNamespace>, UsernsError> {
    match sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) {
        Ok(()) => Ok(None),
        Err(Errno::INVAL) if has_threads() => Err(UsernsError::Threads),
        Err(errno) => Ok(Some(refusal(errno))),
    }
}

fn has_threads() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1)
}

/// Looks for the setting behind a refusal.
fn refusal(errno: Errno) -> NoNamespace {
    let settings = [
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
        ),
    ];
    for (setting, forbidding) in settings {
        let value = fs::read_to_string(setting).unwrap_or_default();
        if value.trim() == forbidding {
            return NoNamespace::Setting {
                setting,
                value: value.trim().to_owned(),
            };
        }
    }
    NoNamespace::Refused {
        message: io::Error::from(errno).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_second_thread_is_told_from_one_without() {
        // A test runs in a thread beside the one that waits for it.
        assert!(has_threads());
    }
}
