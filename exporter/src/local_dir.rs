//! A root file system as files of a directory, `--output type=local`.
//!
//! The files belong to the user who exports them; modes, times, links and attributes are the
//! image's. Files in the way are replaced, other files stay. Names come from the image and the
//! directory may hold symbolic links, so nothing is ever reached by a path: the walk goes down one
//! open directory at a time, a single name at each step, and follows no link.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use kiln_files::{GuestPath, remove_tree};
use kiln_oci::Timestamp;
use kiln_snapshotter::Located;
use kiln_threads::Stop;
use kiln_tree::{Device, Entry, NodeKind, Xattrs};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, fchmod, fsetxattr, futimens,
    linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::ExportError;
use crate::roots::{ExportRoot, check_overlaps};

/// The treatment of files in the directory that the image does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stale {
    /// They stay.
    #[default]
    Keep,
    /// They are deleted (`mode=delete`).
    Delete,
}

/// Files that could not be written without further rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalReport {
    /// Devices that were left out.
    pub left_out: Vec<GuestPath>,
}

/// Writes the files of roots into `directory`, making it if there is none. All of them get the
/// modification time `times` if it is given.
///
/// # Errors
/// When roots overlap, a file cannot be read or written, or `stop` is asked for. Files are whole or
/// not there then.
pub fn write_local(
    roots: &[ExportRoot<'_>],
    directory: &Path,
    stale: Stale,
    times: Option<Timestamp>,
    stop: &Stop,
) -> Result<LocalReport, ExportError> {
    check_overlaps(roots)?;
    if !directory.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(ExportError::at(directory))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top =
        rustix::fs::open(directory, flags, Mode::empty()).map_err(ExportError::at(directory))?;
    // What one root writes, another one that shares the directory does not delete.
    let kept = match (stale, roots.len()) {
        (Stale::Delete, 2..) => all_paths(roots),
        _ => HashSet::new(),
    };
    let mut report = LocalReport::default();
    for root in roots {
        let at = ExportError::at(directory.join(root.directory.as_relative()));
        let own = if root.directory.is_root() {
            top.try_clone().map_err(at)?
        } else {
            own_directory(&top, root.directory.name()).map_err(at)?
        };
        let mut writer = Writer {
            root,
            directory,
            stale,
            times,
            stop,
            kept: &kept,
            open: vec![Open::new(GuestPath::ROOT, own, None)],
            report,
        };
        for located in root.view.walk(&GuestPath::ROOT) {
            writer.write(&located)?;
        }
        while !writer.open.is_empty() {
            writer.close_last()?;
        }
        report = writer.report;
    }
    if stale == Stale::Delete && roots.iter().all(|root| !root.directory.is_root()) {
        let mut top = Open::new(GuestPath::ROOT, top, None);
        let names = roots.iter().map(|root| root.directory.name());
        top.written = names
            .map(|name| OsStr::from_bytes(name).to_owned())
            .collect();
        remove_others(&top, |_| false).map_err(ExportError::at(directory))?;
    }
    Ok(report)
}

/// Returns where everything that the roots hold goes.
fn all_paths(roots: &[ExportRoot<'_>]) -> HashSet<GuestPath> {
    let paths = roots.iter().flat_map(|root| {
        let located = root.view.walk(&GuestPath::ROOT);
        located.map(|located| root.directory.join(located.entry.path))
    });
    paths.collect()
}

/// Opens a platform's own directory, making it, and room for it, where needed.
fn own_directory(top: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(top, name, flags, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {}
        Err(Errno::NOTDIR | Errno::LOOP) => unlinkat(top, name, AtFlags::empty())?,
        other => return Ok(other?),
    }
    // As BuildKit makes it.
    mkdirat(top, name, Mode::from_raw_mode(0o755))?;
    Ok(open()?)
}

/// A walk through the directory in step with the one through the image.
struct Writer<'a> {
    root: &'a ExportRoot<'a>,
    directory: &'a Path,
    stale: Stale,
    times: Option<Timestamp>,
    stop: &'a Stop,
    /// Paths below the top that another root writes.
    kept: &'a HashSet<GuestPath>,
    /// The directories around the present entry, outermost first; the last one is the parent.
    open: Vec<Open<'a>>,
    report: LocalReport,
}

/// A directory being filled.
struct Open<'a> {
    path: GuestPath,
    file: OwnedFd,
    /// What it becomes when it is full; the top stays what it is.
    finish: Option<Entry<'a>>,
    written: HashSet<OsString>,
}

impl<'a> Open<'a> {
    fn new(path: GuestPath, file: OwnedFd, finish: Option<Entry<'a>>) -> Self {
        Self {
            path,
            file,
            finish,
            written: HashSet::new(),
        }
    }
}

impl<'a> Writer<'a> {
    fn write(&mut self, located: &Located<'a>) -> Result<(), ExportError> {
        self.stop.check().map_err(ExportError::Output)?;
        let mut entry = located.entry;
        entry.mtime = self.times.unwrap_or(entry.mtime);
        let path = entry.guest_path();
        let parent = path.parent().unwrap_or_default();
        while self.parent().path != parent {
            self.close_last()?;
        }
        let name = OsStr::from_bytes(path.name()).to_owned();
        self.parent().written.insert(name.clone());
        let at = ExportError::at(self.host_path(&path));
        match entry.kind {
            NodeKind::Directory { .. } => {
                let directory = self.enter(&name).map_err(at)?;
                self.open.push(Open::new(path, directory, Some(entry)));
            }
            NodeKind::File { .. } => {
                let source = self.root.view.open(located)?;
                self.write_file(&name, &source, &entry).map_err(at)?;
            }
            NodeKind::HardLink { target } => self.link(&name, target).map_err(at)?,
            NodeKind::Symlink { target } => self
                .make(&name, |parent| symlinkat(target, parent, &name))
                .and_then(|()| self.set_time_by_name(&name, entry.mtime))
                .map_err(at)?,
            NodeKind::Fifo => self.node(&name, FileType::Fifo, None, &entry).map_err(at)?,
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                let kind = match entry.kind {
                    NodeKind::CharDevice(_) => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                match self.node(&name, kind, Some(device), &entry) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        self.report.left_out.push(path);
                    }
                    other => other.map_err(at)?,
                }
            }
            // A merged root has none.
            NodeKind::Whiteout => {}
        }
        Ok(())
    }

    fn parent(&mut self) -> &mut Open<'a> {
        self.open.last_mut().expect("the top is closed last")
    }

    fn host_path(&self, path: &GuestPath) -> PathBuf {
        let own = self.directory.join(self.root.directory.as_relative());
        own.join(path.as_relative())
    }

    /// Opens the directory `name`, making it, and room for it, where needed.
    fn enter(&mut self, name: &OsStr) -> io::Result<OwnedFd> {
        let parent = &self.parent().file;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(parent, name, flags, Mode::empty());
        match open() {
            Ok(directory) => {
                // It may be closed to its owner.
                let mode = Mode::from_raw_mode(rustix::fs::fstat(&directory)?.st_mode & 0o7777);
                fchmod(&directory, mode | Mode::RWXU)?;
                return Ok(directory);
            }
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => unlinkat(parent, name, AtFlags::empty())?,
            Err(Errno::ACCESS) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = openat(parent, name, flags, Mode::empty())?;
                // chmod(2) does not take such descriptors; their link in /proc it does.
                rustix::fs::chmod(through_proc(&directory, None), Mode::RWXU)?;
                return Ok(open()?);
            }
            Err(error) => return Err(error.into()),
        }
        mkdirat(parent, name, Mode::RWXU)?;
        Ok(open()?)
    }

    /// Makes something called `name`, and room for it.
    fn make(
        &mut self,
        name: &OsStr,
        act: impl Fn(&OwnedFd) -> Result<(), Errno>,
    ) -> io::Result<()> {
        let parent = &self.parent().file;
        match act(parent) {
            Err(Errno::EXIST) => {
                remove(parent, name)?;
                Ok(act(parent)?)
            }
            other => Ok(other?),
        }
    }

    fn write_file(&mut self, name: &OsStr, source: &File, entry: &Entry<'_>) -> io::Result<()> {
        let stop = self.stop;
        let parent = &self.parent().file;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let create = || openat(parent, name, flags, Mode::RUSR | Mode::WUSR);
        let file = match create() {
            Err(Errno::EXIST) => {
                remove(parent, name)?;
                create()?
            }
            other => other?,
        };
        let file = File::from(file);
        let fill = || match rustix::fs::ioctl_ficlone(&file, source) {
            Ok(()) => Ok(()),
            Err(_) => copy(source, &file, stop),
        };
        let filled = fill().and_then(|()| set_metadata(&file, entry));
        if filled.is_err() {
            // Half a file is worse than none.
            let _ = unlinkat(parent, name, AtFlags::empty());
        }
        filled
    }

    /// Makes `name` a further name of a file that was written before.
    fn link(&mut self, name: &OsStr, target: &[u8]) -> io::Result<()> {
        let target = GuestPath::from_clean(target).ok_or(io::ErrorKind::InvalidData)?;
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = openat(&self.open[0].file, c".", step, Mode::empty())?;
        for ancestor in target.ancestors() {
            directory = openat(&directory, ancestor.name(), step, Mode::empty())?;
        }
        let source = target.name();
        self.make(name, |parent| {
            linkat(&directory, source, parent, name, AtFlags::empty())
        })
    }

    fn node(
        &mut self,
        name: &OsStr,
        kind: FileType,
        device: Option<Device>,
        entry: &Entry<'_>,
    ) -> io::Result<()> {
        let number = device.map_or(0, |device| makedev(device.major, device.minor));
        let mode = Mode::from_raw_mode(entry.mode.into());
        self.make(name, |parent| {
            mknodat(parent, name, kind, Mode::empty(), number)
        })?;
        // Just made and no link, so it is this that the name means.
        rustix::fs::chmodat(&self.parent().file, name, mode, AtFlags::empty())?;
        self.set_time_by_name(name, entry.mtime)
    }

    fn set_time_by_name(&mut self, name: &OsStr, time: Timestamp) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(utimensat(&self.parent().file, name, &times(time), flags)?)
    }

    /// Finishes the innermost directory: nothing more is put into it.
    fn close_last(&mut self) -> Result<(), ExportError> {
        let Some(done) = self.open.pop() else {
            return Ok(());
        };
        let close = || -> io::Result<()> {
            if self.stale == Stale::Delete {
                let place = self.root.directory.join(done.path.as_bytes());
                remove_others(&done, |name| {
                    !self.kept.is_empty() && self.kept.contains(&place.join(name.as_bytes()))
                })?;
            }
            match &done.finish {
                Some(entry) => set_metadata(&File::from(done.file.try_clone()?), entry),
                None => Ok(()),
            }
        };
        close().map_err(ExportError::at(self.host_path(&done.path)))
    }
}

/// Bytes that are copied at once.
const PIECE: u64 = 16 << 20;

/// Copies inside the kernel, where it can.
fn copy(source: &File, target: &File, stop: &Stop) -> io::Result<()> {
    loop {
        stop.check()?;
        if io::copy(&mut source.take(PIECE), &mut { target })? == 0 {
            return Ok(());
        }
    }
}

/// Deletes what is in a directory, was not written and is not to be kept.
fn remove_others(done: &Open<'_>, is_kept: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    let mut others = Vec::new();
    for entry in rustix::fs::Dir::read_from(&done.file)? {
        let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
        if name != "." && name != ".." && !done.written.contains(&name) && !is_kept(&name) {
            others.push(name);
        }
    }
    others.iter().try_for_each(|name| remove(&done.file, name))
}

/// Deletes whatever `name` is in `parent`.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => remove_tree(&through_proc(parent, Some(name))),
        _ => Ok(unlinkat(parent, name, AtFlags::empty())?),
    }
}

/// Returns a path to an open directory, or to a name in it, that no rename leads elsewhere.
fn through_proc(directory: &OwnedFd, name: Option<&OsStr>) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    path.extend(name);
    path
}

/// Gives an open file or directory everything but its owner.
fn set_metadata(file: &File, entry: &Entry<'_>) -> io::Result<()> {
    set_xattrs(file, entry.xattrs)?;
    fchmod(file, Mode::from_raw_mode(entry.mode.into()))?;
    Ok(futimens(file, &times(entry.mtime))?)
}

/// Sets extended attributes as far as this process and the file system can.
fn set_xattrs(file: &File, xattrs: Xattrs<'_>) -> io::Result<()> {
    for (name, value) in xattrs.iter() {
        match fsetxattr(file.as_fd(), name, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn times(time: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another process exchanges a directory that was just written for a link during the walk.
    #[test]
    fn hard_links_are_made_of_nothing_behind_a_symbolic_link() {
        let view = kiln_snapshotter::ParentView::new(&[]).unwrap();
        let platform = kiln_oci::Platform::host();
        let root = ExportRoot::apart(platform.clone(), &view);
        let scratch = tempfile::tempdir().unwrap();
        let (directory, outside) = (scratch.path().join("out"), scratch.path().join("outside"));
        for made in [&directory, &outside] {
            fs::create_dir(made).unwrap();
        }
        fs::write(outside.join("file"), "precious").unwrap();
        std::os::unix::fs::symlink(&outside, directory.join("usr")).unwrap();
        let stop = Stop::default();
        let top = OwnedFd::from(File::open(&directory).unwrap());
        let mut writer = Writer {
            root: &root,
            directory: &directory,
            stale: Stale::Keep,
            times: None,
            stop: &stop,
            kept: &HashSet::new(),
            open: vec![Open::new(GuestPath::ROOT, top, None)],
            report: LocalReport::default(),
        };
        let error = writer.link(OsStr::new("new"), b"usr/file").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert!(!directory.join("new").exists());
        let place = writer.host_path(&GuestPath::new("etc/x"));
        assert!(place.starts_with(&directory) && place.ends_with("etc/x"));
        assert_ne!(
            place,
            directory.join("etc/x"),
            "it lacks the platform's directory"
        );
    }
}
