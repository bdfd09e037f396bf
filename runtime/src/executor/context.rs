//! What all jobs of a process share, prepared once.
//!
//! A file system in memory, mounted where only this process sees it, on a directory
//! `<process id>-<number>` that it holds a lock of, where the caller wants it:
//!
//! ```text
//! stubs/        the lowest layer of every root: mount points that images lack
//! stubs-<n>/    the same with the targets of one job's own mounts
//! files/<n>     texts shown as /etc/hosts or /etc/resolv.conf
//! files-<n>/    files of a file system of one job, while they are being mounted
//! staging/      where a child attaches what it cuts a part out of
//! empty/        hides directories; read-only
//! null          hides files: the host's `/dev/null`, read-only
//! sys/          /sys as sandboxes see it
//! ```
//!
//! Stubs lie below the image's layers, so a mount point that the image lacks exists without a
//! change to the upper directory: no copy-up before the run and nothing to clean up after it.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kiln_files::{GuestPath, ProcessDirectory};
use libc::sock_filter;
use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps};
use rustix::mount::{MountAttrFlags, UnmountFlags};
use rustix::thread::CapabilitySet;

use super::detached::{PLAIN, attach, clone_tree, new_mount};
use super::limits::ProcessLimits;
use crate::cgroup::DeviceControl;
use crate::sys::{self, Keeper, PlaceKind};
use crate::userns::IdMaps;
use crate::{ExecError, capability, seccomp};

/// Names below `/proc` that are hidden, as in Docker's default (moby: daemon/pkg/oci/defaults.go).
const MASKED_PROC: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];

/// Names below `/proc` that are read-only; same source.
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Names below `/sys` that are hidden; same source.
const MASKED_SYS: [&str; 2] = ["devices/virtual/powercap", "firmware"];

/// Something to hide, and whether it is a directory.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    pub(super) name: String,
    pub(super) leaf: PlaceKind,
}

/// What all jobs of a process share; what lies in its directory is described above.
#[derive(Debug)]
pub(super) struct ExecutorContext {
    directory: PathBuf,
    /// Keeps other kilns from removing the directory, and with it what is mounted there.
    _own: ProcessDirectory,
    counter: AtomicU64,
    texts: Mutex<HashMap<String, PathBuf>>,
    pub(super) ids: IdMaps,
    pub(super) masked_proc: Vec<Mask>,
    pub(super) masked_sys: Vec<Mask>,
    pub(super) filter: Vec<sock_filter>,
    pub(super) own_capabilities: CapabilitySet,
    pub(super) limits: ProcessLimits,
    pub(super) device_control: DeviceControl,
    pub(super) keeper: Keeper,
    pub(super) launcher: OwnedFd,
    /// The parent's `/proc`.
    pub(super) proc: OwnedFd,
}

impl ExecutorContext {
    pub(super) fn new(scratch: &Path) -> Result<Self, ExecError> {
        // The mounts of a kiln that is gone went with it; only its directory is left.
        let make = || ProcessDirectory::make(scratch, |left| fs::remove_dir(left));
        let own = fs::create_dir_all(scratch).and_then(|()| make());
        let own = own.map_err(|source| ExecError::Prepare {
            what: format!("creating a directory in {}", scratch.display()),
            source,
        })?;
        let directory = own.path().to_owned();
        let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(ExecError::prepare("opening /proc"))?;
        let keeper = Keeper::start(proc.as_fd()).map_err(ExecError::start(
            "starting the process that sandboxes end with",
        ))?;
        let memory = new_mount("tmpfs", &[("mode", "0700"), ("size", "64m")], PLAIN)
            .map_err(ExecError::prepare("making a tmpfs"))?;
        attach(&memory, &directory).map_err(ExecError::prepare(format!(
            "mounting a tmpfs on {}",
            directory.display()
        )))?;
        let context = Self {
            directory,
            _own: own,
            counter: AtomicU64::new(0),
            texts: Mutex::default(),
            ids: IdMaps::of_this_process(),
            masked_proc: existing("/proc", &MASKED_PROC.map(str::to_owned)),
            masked_sys: existing("/sys", &masked_sys(Path::new("/sys"))),
            filter: seccomp::default_filter(),
            own_capabilities: capability::own(),
            limits: ProcessLimits::of_this_process()?,
            device_control: DeviceControl::default(),
            keeper,
            launcher: launcher().map_err(ExecError::prepare("making the launcher of programs"))?,
            proc,
        };
        context.fill()?;
        Ok(context)
    }

    fn fill(&self) -> Result<(), ExecError> {
        for name in ["files", "staging", "empty", "sys"] {
            make(&self.directory, &GuestPath::new(name), PlaceKind::Directory)
                .map_err(ExecError::prepare(format!("creating {name}")))?;
        }
        self.fill_stubs(&self.stubs(), &[])
            .map_err(ExecError::prepare("creating mount points"))?;
        self.mount_masks()
            .map_err(ExecError::prepare("making what hides files"))?;
        self.mount_sys()
            .map_err(ExecError::prepare("mounting /sys"))
    }

    /// Mounts `/sys` as sandboxes see it: read-only, partly hidden.
    fn mount_sys(&self) -> Result<(), rustix::io::Errno> {
        let place = self.directory.join("sys");
        let sysfs = match new_mount("sysfs", &[], PLAIN) {
            Ok(sysfs) => sysfs,
            // Only the owner of the network namespace may mount one.
            Err(_) => clone_tree(Path::new("/sys"))?,
        };
        attach(&sysfs, &place)?;
        for mask in &self.masked_sys {
            attach(&self.mask(mask)?, &place.join(&mask.name))?;
        }
        sys::mount_setattr(
            &sysfs,
            true,
            MountAttrFlags::MOUNT_ATTR_RDONLY,
            libc::MS_PRIVATE,
        )
    }

    /// Returns a fresh clone of `/sys` as sandboxes see it.
    pub(super) fn sys(&self) -> Result<OwnedFd, rustix::io::Errno> {
        clone_tree(&self.directory.join("sys"))
    }

    /// Mounts what hides things. It is the host's, or that of all jobs: its mode and owner are not a
    /// job's to change.
    fn mount_masks(&self) -> Result<(), rustix::io::Errno> {
        let hiding = [
            (PathBuf::from("/dev/null"), self.null()),
            (self.empty(), self.empty()),
        ];
        make_one(&self.null(), PlaceKind::File)?;
        for (nothing, place) in hiding {
            let mount = clone_tree(&nothing)?;
            let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
            sys::mount_setattr(&mount, true, read_only, libc::MS_PRIVATE)?;
            attach(&mount, &place)?;
        }
        Ok(())
    }

    /// Returns a mount that hides something.
    pub(super) fn mask(&self, mask: &Mask) -> Result<OwnedFd, rustix::io::Errno> {
        match mask.leaf {
            PlaceKind::File => clone_tree(&self.null()),
            PlaceKind::Directory => clone_tree(&self.empty()),
        }
    }

    fn null(&self) -> PathBuf {
        self.directory.join("null")
    }

    /// Returns a directory that a child may mount over until it changes its root.
    pub(super) fn staging(&self) -> PathBuf {
        self.directory.join("staging")
    }

    /// Returns a directory with nothing in it.
    pub(super) fn empty(&self) -> PathBuf {
        self.directory.join("empty")
    }

    /// Returns a path below the directory that no other caller gets.
    pub(super) fn own_path(&self, kind: &str) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{kind}-{number}"))
    }

    /// Returns the lowest layer of roots without mounts of their own.
    pub(super) fn stubs(&self) -> PathBuf {
        self.directory.join("stubs")
    }

    /// Makes the lowest layer of a root with further mount points.
    pub(super) fn own_stubs(
        &self,
        targets: &[(GuestPath, PlaceKind)],
    ) -> Result<OwnStubs, ExecError> {
        let stubs = OwnStubs(self.own_path("stubs"));
        self.fill_stubs(&stubs.0, targets)
            .map_err(ExecError::prepare("creating mount points"))?;
        Ok(stubs)
    }

    fn fill_stubs(
        &self,
        directory: &Path,
        targets: &[(GuestPath, PlaceKind)],
    ) -> Result<(), rustix::io::Errno> {
        make_one(directory, PlaceKind::Directory)?;
        for name in ["etc/hosts", "etc/resolv.conf"] {
            make(directory, &GuestPath::new(name), PlaceKind::File)?;
        }
        for (target, leaf) in targets {
            match make(directory, target, *leaf) {
                // Two targets that exclude each other, a file above a directory: mounting the
                // second one fails later and names it.
                Ok(()) | Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::ISDIR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Returns a file with this text. Equal texts share a file, which no job can write to.
    pub(super) fn text(&self, text: &str) -> Result<PathBuf, ExecError> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = texts.get(text) {
            return Ok(path.clone());
        }
        let path = self.directory.join("files").join(texts.len().to_string());
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
            .map_err(|source| ExecError::Prepare {
                what: "writing a file below /etc".to_owned(),
                source,
            })?;
        texts.insert(text.to_owned(), path.clone());
        Ok(path)
    }
}

impl Drop for ExecutorContext {
    fn drop(&mut self) {
        // If this fails, the mount goes with its namespace when the process ends.
        let _ = rustix::mount::unmount(&self.directory, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Opens the launcher: a file in memory, on a mount of its own that is read-only and in no tree.
fn launcher() -> Result<OwnedFd, rustix::io::Errno> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let memory = new_mount("tmpfs", &[("mode", "0755"), ("size", "64k")], attributes)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&memory, "launcher", flags, Mode::RWXU)?;
    let written = rustix::io::write(&file, &sys::launcher())?;
    if written < sys::launcher().len() {
        return Err(rustix::io::Errno::NOSPC);
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o555))?;
    // The kernel executes no file that is open for writing.
    drop(file);
    close_to_writers(&memory)?;
    rustix::fs::openat(
        &memory,
        "launcher",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Makes a mount read-only. Another thread may have cloned a process while a file was open for
/// writing here: that process has it open too, until it becomes its own program.
fn close_to_writers(mount: &OwnedFd) -> Result<(), rustix::io::Errno> {
    for _ in 0..200 {
        match sys::mount_setattr(mount, false, MountAttrFlags::MOUNT_ATTR_RDONLY, 0) {
            Err(rustix::io::Errno::BUSY) => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    Err(rustix::io::Errno::BUSY)
}

/// The lowest layer of one job's root; removed when the job is over.
#[derive(Debug)]
pub(super) struct OwnStubs(pub(super) PathBuf);

impl Drop for OwnStubs {
    fn drop(&mut self) {
        // If that fails, it costs some memory until this process ends.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Finds which names exist, and what they are.
fn existing(base: &str, names: &[String]) -> Vec<Mask> {
    names
        .iter()
        .filter_map(|name| {
            let metadata = fs::metadata(Path::new(base).join(name)).ok()?;
            Some(Mask {
                name: name.clone(),
                leaf: if metadata.is_dir() {
                    PlaceKind::Directory
                } else {
                    PlaceKind::File
                },
            })
        })
        .collect()
}

/// Returns the names below `/sys` that are to be hidden if they exist: those that every machine has,
/// and what each processor tells of its heat (moby: daemon/pkg/oci/defaults_linux.go).
fn masked_sys(sys: &Path) -> Vec<String> {
    let processors = "devices/system/cpu";
    let heat = |name: &str| format!("{processors}/{name}/thermal_throttle");
    let mut names: Vec<String> = MASKED_SYS.map(str::to_owned).into();
    // Either every processor has the file or none has.
    if sys.join(heat("cpu0")).exists() {
        let entries = fs::read_dir(sys.join(processors));
        let all = entries.into_iter().flatten().flatten();
        let own = all.filter_map(|entry| entry.file_name().into_string().ok());
        let mut own: Vec<String> = own
            .filter(|name| {
                name.strip_prefix("cpu")
                    .is_some_and(|rest| rest.parse::<u32>().is_ok())
            })
            .collect();
        own.sort();
        names.extend(own.iter().map(|name| heat(name)));
    }
    names
}

/// Returns the names below `/proc` that are read-only.
pub(super) fn read_only_proc() -> Vec<CString> {
    let names = READ_ONLY_PROC.into_iter();
    names
        .map(|name| CString::new(name).expect("our own names"))
        .collect()
}

/// Makes a file or directory and what is missing above it, with times and modes that are always
/// the same. `directory` is kiln's own, so nothing in it leads elsewhere.
fn make(directory: &Path, path: &GuestPath, leaf: PlaceKind) -> Result<(), rustix::io::Errno> {
    for above in path.parent().into_iter().flat_map(|parent| {
        let mut all = parent.ancestors();
        all.push(parent);
        all
    }) {
        make_one(&directory.join(above.as_relative()), PlaceKind::Directory)?;
    }
    make_one(&directory.join(path.as_relative()), leaf)
}

fn make_one(path: &Path, leaf: PlaceKind) -> Result<(), rustix::io::Errno> {
    let result = match leaf {
        PlaceKind::Directory => rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)),
        PlaceKind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match result {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    // The caller's umask took part in the mode.
    let mode = if leaf == PlaceKind::Directory {
        0o755
    } else {
        0o644
    };
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    let epoch = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: epoch,
        last_modification: epoch,
    };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_of_every_processor_is_hidden() {
        let sys = kiln_testbed::Scratch::new();
        assert_eq!(masked_sys(sys.path()), MASKED_SYS);
        for name in ["cpu0", "cpu1", "cpu12"] {
            let directory = sys.path().join("devices/system/cpu").join(name);
            fs::create_dir_all(directory.join("thermal_throttle")).unwrap();
        }
        fs::create_dir_all(sys.path().join("devices/system/cpu/cpufreq")).unwrap();
        let names = masked_sys(sys.path());
        let heat = |name: &str| format!("devices/system/cpu/{name}/thermal_throttle");
        assert_eq!(
            names[MASKED_SYS.len()..],
            ["cpu0", "cpu1", "cpu12"].map(heat)
        );
    }
}
