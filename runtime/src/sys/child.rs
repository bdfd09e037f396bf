//! What a new process does before it becomes the user's program.
//!
//! Everything here runs in a copy of a process that had threads: system calls on prepared data
//! and nothing else. No allocation, no lock, no panic; descriptors are never closed one by one,
//! since `execve` closes them all.

use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Timespec};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::program::{Fresh, Leaf, MountStep, Program, Target};
use super::raw;
use super::report::{HEAD_BYTES, Record, Stage};
use crate::Access;

/// Attributes of every file system made here that holds no programs and no devices.
const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

const ONTO_EMPTY: MoveMountFlags =
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);

type Step<T> = Result<T, Record>;

/// Names the step an error belongs to.
trait During<T> {
    fn during(self, stage: Stage, index: usize) -> Step<T>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, stage: Stage, index: usize) -> Step<T> {
        self.map_err(|errno| Record::failure(stage, index, errno))
    }
}

/// Runs the program in the process that was just cloned.
pub(super) fn run(program: &Program<'_>) {
    let record = match prepare(program) {
        Ok(()) => execute(program),
        Err(record) => record,
    };
    report(program, record);
    if record.stage == Stage::Execute {
        send_head(program, record.index);
    }
}

/// Sends the beginning of a file that could not be executed, for its reader to find out why.
fn send_head(program: &Program<'_>, candidate: u32) {
    let mut head = [0_u8; HEAD_BYTES as usize];
    let Some(path) = program.candidates.get(candidate as usize) else {
        return;
    };
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let length = file.and_then(|file| rustix::io::read(&*ManuallyDrop::new(file), &mut head));
    if let Ok(length) = length {
        // Without it, the kernel's answer has to do.
        let _ = rustix::io::write(program.report, head.get(..length).unwrap_or(&[]));
    }
}

fn report(program: &Program<'_>, record: Record) {
    // Nobody is left to tell if this fails.
    let _ = rustix::io::write(program.report, &record.to_bytes());
}

fn prepare(program: &Program<'_>) -> Step<()> {
    for (index, procs) in program.cgroups.iter().enumerate() {
        rustix::io::write(procs, b"0").during(Stage::JoinCgroup, index)?;
    }
    raw::reset_signals();
    die_with_parent()?;
    rustix::process::setsid().during(Stage::Session, 0)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for (index, stream) in program.streams.iter().enumerate() {
        raw::duplicate_onto(*stream, index as i32).during(Stage::StandardStream, index)?;
    }
    if program.controlling_terminal {
        raw::take_terminal().during(Stage::Terminal, 0)?;
    }
    if program.unshare_cgroup {
        raw::unshare(UnshareFlags::NEWCGROUP).during(Stage::CgroupNamespace, 0)?;
    }
    if program.loopback {
        raw::start_loopback().during(Stage::Loopback, 0)?;
    }
    enter_root(program)?;
    rustix::system::sethostname(program.hostname).during(Stage::Hostname, 0)?;
    for (index, (resource, limit)) in program.limits.iter().enumerate() {
        rustix::process::setrlimit(*resource, *limit).during(Stage::Limit, index)?;
    }
    enter_working_directory(program.cwd)?;
    give_up_privileges(program)?;
    // A change of user id clears the signal asked for above.
    die_with_parent()?;
    if !parent_is(program.proc, program.parent) {
        return Err(Record::failure(Stage::Orphaned, 0, Errno::SRCH));
    }
    match raw::close_on_exec_from(3) {
        // Linux before 5.11: descriptors inherited from kiln's own caller stay open.
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno).during(Stage::CloseDescriptors, 0),
    }
}

fn die_with_parent() -> Step<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .during(Stage::DeathSignal, 0)
}

/// Says whether this process still is a child of `parent`.
///
/// A parent that died before the death signal was asked for sends none. `getppid` cannot tell: it
/// returns 0 in a new process namespace. The parent's `/proc` can, and it shows the process that
/// adopted us as soon as the parent has sent, or failed to send, the signal.
fn parent_is(proc: BorrowedFd<'_>, parent: u32) -> bool {
    let mut text = [0_u8; 512];
    let stat = rustix::fs::openat(proc, c"self/stat", OFlags::CLOEXEC, Mode::empty());
    let length = stat.and_then(|stat| rustix::io::read(&stat, &mut text));
    match length {
        Ok(length) => parent_in_stat(text.get(..length).unwrap_or(&[])) == Some(parent),
        // Without /proc there is no better answer.
        Err(_) => true,
    }
}

/// Finds the parent's id in the text of `/proc/<pid>/stat`: `1 (name) S 0 …`.
fn parent_in_stat(text: &[u8]) -> Option<u32> {
    let after_name = text.iter().rposition(|&byte| byte == b')')?;
    let mut number: Option<u32> = None;
    for &byte in text.get(after_name + 4..)? {
        match byte {
            b'0'..=b'9' => {
                let digit = u32::from(byte - b'0');
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            }
            _ => break,
        }
    }
    number
}

/// Makes the prepared mounts the whole tree this process sees.
fn enter_root(program: &Program<'_>) -> Step<()> {
    // Attached on top of the old root, where nothing looks for it.
    rustix::mount::move_mount(
        program.root,
        c"",
        CWD,
        c"/",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .during(Stage::AttachRoot, 0)?;
    for (index, step) in program.mounts.iter().enumerate() {
        make_mount(program, index, step)?;
    }
    rustix::process::fchdir(program.root).during(Stage::PivotRoot, 0)?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one.
    rustix::process::pivot_root(c".", c".").during(Stage::PivotRoot, 0)?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).during(Stage::DetachOldRoot, 0)?;
    rustix::process::chdir(c"/").during(Stage::PivotRoot, 0)
}

fn make_mount(program: &Program<'_>, index: usize, step: &MountStep) -> Step<()> {
    match step {
        MountStep::Attach { mount, target } => {
            let place = open_target(program, index, target)?;
            attach(mount.as_fd(), place.as_fd()).during(Stage::Attach, index)
        }
        MountStep::Beneath { mount, base, name } => {
            let base = base_mount(program, *base).during(Stage::Attach, index)?;
            attach_at(mount.as_fd(), base, name).during(Stage::Attach, index)
        }
        MountStep::Queue { base, name } => {
            let base = base_mount(program, *base).during(Stage::Attach, index)?;
            let queue = new_mount(c"mqueue", PLAIN).during(Stage::MakeMount, index)?;
            attach_at(queue.as_fd(), base, name).during(Stage::Attach, index)
        }
        MountStep::Part {
            whole,
            staging,
            part,
            read_only,
            target,
        } => {
            let mount = part_of(whole.as_fd(), staging, part, *read_only)
                .during(Stage::MakeMount, index)?;
            let place = open_target(program, index, target)?;
            attach(mount.as_fd(), place.as_fd()).during(Stage::Attach, index)
        }
        MountStep::Fresh {
            kind,
            target,
            masks,
            read_only,
        } => {
            let mount = match fresh(*kind) {
                Ok(mount) => mount,
                Err(_) if matches!(kind, Fresh::Cgroup2(_)) => return Ok(()),
                Err(errno) => return Err(errno).during(Stage::MakeMount, index),
            };
            let place = open_target(program, index, target)?;
            attach(mount.as_fd(), place.as_fd()).during(Stage::Attach, index)?;
            for (mask, name) in masks {
                unless_missing(attach_at(mask.as_fd(), mount.as_fd(), name))
                    .during(Stage::Mask, index)?;
            }
            for name in read_only {
                unless_missing(protect(mount.as_fd(), name)).during(Stage::Mask, index)?;
            }
            Ok(())
        }
    }
}

fn base_mount<'a>(program: &Program<'a>, base: usize) -> Result<BorrowedFd<'a>, Errno> {
    match program.mounts.get(base) {
        Some(MountStep::Attach { mount, .. }) => Ok(mount.as_fd()),
        _ => Err(Errno::BADF),
    }
}

fn unless_missing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::mount::move_mount(mount, c"", place, c"", ONTO_EMPTY)
}

fn attach_at(mount: BorrowedFd<'_>, base: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    rustix::mount::move_mount(
        mount,
        c"",
        base,
        name,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

fn new_mount(kind: &CStr, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Otherwise mountinfo says "none".
    rustix::mount::fsconfig_set_string(context.as_fd(), c"source", kind)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn fresh(kind: Fresh) -> Result<OwnedFd, Errno> {
    match kind {
        Fresh::Proc => new_mount(c"proc", PLAIN).or_else(|_| clone_tree(c"/proc")),
        Fresh::Sysfs(Access::ReadWrite) => {
            new_mount(c"sysfs", PLAIN).or_else(|_| clone_tree(c"/sys"))
        }
        Fresh::Sysfs(Access::ReadOnly) => {
            let sysfs = new_mount(c"sysfs", PLAIN).or_else(|_| clone_tree(c"/sys"))?;
            raw::mount_setattr(&sysfs, true, MountAttrFlags::MOUNT_ATTR_RDONLY, 0)?;
            Ok(sysfs)
        }
        Fresh::Cgroup2(Access::ReadWrite) => new_mount(c"cgroup2", PLAIN),
        Fresh::Cgroup2(Access::ReadOnly) => {
            new_mount(c"cgroup2", PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY)
        }
    }
}

fn clone_tree(path: &CStr) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )
}

/// Makes a name below a mount read-only by mounting it on itself.
fn protect(base: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let clone = rustix::mount::open_tree(
        base,
        name,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )?;
    raw::mount_setattr(&clone, true, MountAttrFlags::MOUNT_ATTR_RDONLY, 0)?;
    attach_at(clone.as_fd(), base, name)
}

/// Cuts a part out of a detached mount.
///
/// Kernels before 6.15 clone only what is attached, so the whole is attached to the old root
/// first and goes away with it.
fn part_of(
    whole: BorrowedFd<'_>,
    staging: &CStr,
    part: &CStr,
    read_only: bool,
) -> Result<OwnedFd, Errno> {
    rustix::mount::move_mount(
        whole,
        c"",
        CWD,
        staging,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    let inside = resolve(whole, part, OFlags::PATH)?;
    let clone = rustix::mount::open_tree(
        inside.as_fd(),
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE,
    )?;
    if read_only {
        raw::mount_setattr(&clone, true, MountAttrFlags::MOUNT_ATTR_RDONLY, 0)?;
    }
    Ok(clone)
}

/// Opens a path as if `root` were `/`: no link and no `..` leads out of it.
fn resolve(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    // The kernel asks to try again if something was renamed meanwhile.
    for _ in 0..100 {
        match rustix::fs::openat2(
            root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        ) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Finds the place of a mount, creating what is missing.
fn open_target(
    program: &Program<'_>,
    index: usize,
    target: &Target,
) -> Step<ManuallyDrop<OwnedFd>> {
    let Some(path) = target.prefixes.last() else {
        return Err(Record::failure(Stage::Target, index, Errno::INVAL));
    };
    match resolve(program.root, path, OFlags::PATH) {
        Err(Errno::NOENT) => create_target(program, index, target),
        other => other.map(ManuallyDrop::new).during(Stage::Target, index),
    }
}

fn create_target(
    program: &Program<'_>,
    index: usize,
    target: &Target,
) -> Step<ManuallyDrop<OwnedFd>> {
    let mut parent =
        ManuallyDrop::new(resolve(program.root, c".", OFlags::PATH).during(Stage::Target, index)?);
    let last = target.prefixes.len().saturating_sub(1);
    for (depth, (prefix, name)) in target.prefixes.iter().zip(&target.names).enumerate() {
        let opened = match resolve(program.root, prefix, OFlags::PATH) {
            Err(Errno::NOENT) => {
                let leaf = if depth == last {
                    target.leaf
                } else {
                    Leaf::Directory
                };
                create(parent.as_fd(), name, leaf).during(Stage::Target, index)?;
                resolve(program.root, prefix, OFlags::PATH)
            }
            other => other,
        };
        parent = ManuallyDrop::new(opened.during(Stage::Target, index)?);
    }
    Ok(parent)
}

fn create(parent: BorrowedFd<'_>, name: &CStr, leaf: Leaf) -> Result<(), Errno> {
    match leaf {
        Leaf::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Leaf::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

/// Enters the working directory, making what is missing of it.
fn enter_working_directory(prefixes: &[std::ffi::CString]) -> Step<()> {
    let Some(path) = prefixes.last() else {
        return Ok(());
    };
    let entered = match rustix::process::chdir(path.as_c_str()) {
        Err(Errno::NOENT) => {
            for prefix in prefixes {
                match rustix::fs::mkdir(prefix.as_c_str(), Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno).during(Stage::WorkingDirectory, 0),
                }
            }
            rustix::process::chdir(path.as_c_str())
        }
        other => other,
    };
    entered.during(Stage::WorkingDirectory, 0)
}

fn give_up_privileges(program: &Program<'_>) -> Step<()> {
    for (index, &capability) in program.forbidden.iter().enumerate() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A capability this kernel does not know yet.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno).during(Stage::BoundingSet, index),
        }
    }
    // Loading takes CAP_SYS_ADMIN, since no_new_privs stays unset; what follows is permitted by
    // the filter.
    if let Some(filter) = program.filter {
        raw::load_filter(filter).during(Stage::Filter, 0)?;
    }
    let identity = program.identity;
    if let Some(groups) = &identity.groups {
        rustix::thread::set_thread_groups(groups).during(Stage::Groups, 0)?;
    }
    rustix::thread::set_thread_res_gid(identity.gid, identity.gid, identity.gid)
        .during(Stage::GroupId, 0)?;
    // Leaving user id 0 clears the effective and permitted sets.
    rustix::thread::set_thread_res_uid(identity.uid, identity.uid, identity.uid)
        .during(Stage::UserId, 0)?;
    let kept = match identity.uid.is_root() {
        true => program.capabilities,
        false => CapabilitySet::empty(),
    };
    // Nothing is inheritable: moby did away with that for CVE-2022-24769.
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).during(Stage::Capabilities, 0)
}

/// Tries the candidates; returns only if none became the program.
fn execute(program: &Program<'_>) -> Record {
    let mut denied = false;
    for (index, path) in program.candidates.iter().enumerate() {
        match execute_when_written(program, path) {
            Errno::NOENT | Errno::NOTDIR => {
                // There, but its interpreter is not.
                if rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok() {
                    return Record::failure(Stage::Execute, index, Errno::NOENT);
                }
            }
            Errno::ACCESS => denied = true,
            errno => return Record::failure(Stage::Execute, index, errno),
        }
    }
    let errno = if denied { Errno::ACCESS } else { Errno::NOENT };
    Record::failure(Stage::Search, 0, errno)
}

/// Executes a file, waiting for those who write to it.
///
/// Another thread of the parent may have been writing this very program when it cloned a sandbox:
/// that sandbox holds a copy of the descriptor until it executes its own program, within
/// milliseconds. Whoever writes for longer does so on purpose.
fn execute_when_written(program: &Program<'_>, path: &CStr) -> Errno {
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    for _ in 0..40 {
        match raw::execute(path, program.argv, program.env) {
            Errno::TXTBSY => {
                let _ = rustix::thread::nanosleep(&pause);
            }
            other => return other,
        }
    }
    Errno::TXTBSY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_parent_behind_any_name() {
        assert_eq!(parent_in_stat(b"12 (sh) S 345 12 12 0"), Some(345));
        assert_eq!(parent_in_stat(b"12 (a) S 7 (b) R 89 1"), Some(89));
        assert_eq!(parent_in_stat(b"12 (sh"), None);
        assert_eq!(parent_in_stat(b""), None);
        assert_eq!(parent_in_stat(b"1 (x) S 99999999999 "), None);
    }
}
