//! Stacks of directories mounted as one: overlayfs, detached.
//!
//! # Form of a layer on disk
//!
//! Every overlay of kiln is mounted with `userxattr`, root's too, so a layer looks the same
//! for every user: a whiteout is a character device 0:0, an opaque directory carries
//! `user.overlay.opaque=y`. That option needs Linux 5.11, which is also the first kernel that lets
//! a user namespace mount an overlay; where it is refused, [`probe`] says so and layers are copied
//! instead of stacked. `userxattr` implies `redirect_dir=nofollow` (the kernel refuses
//! `redirect_dir=off` beside it); with `metacopy=off` and `index=off` an upper directory is a
//! complete diff that depends on nothing below it.
//!
//! # Many lowers
//!
//! `lowerdir+` (Linux 6.7) takes one directory per call. Older kernels want one string, which
//! fsconfig(2) cuts at 256 bytes and mount(2), without a word, at a page; so there the mount is made
//! by mount(2) in a throw-away mount namespace, from within `/proc/self/fd`, where every directory
//! has a name of a few digits.
//!
//! # Volatile
//!
//! With an upper directory the mount is `volatile`: no sync when it goes, and none that a program
//! asks for either. The kernel leaves `work/incompat/volatile` behind and refuses to mount the same
//! work directory again until that is deleted, so a work directory serves one mount. What programs
//! write for good needs [`mount_lasting`].

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FsWord, Mode, OFlags, accessat, fstatfs};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, fspick, mount_change, open_tree, unmount,
};

use crate::{disk, sys};

/// The directories of an overlay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverlaySpec {
    /// The directories below, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Where changes go, and overlayfs's scratch directory on the same file system; both empty.
    /// Without them the mount is read-only.
    pub upper_and_work: Option<(PathBuf, PathBuf)>,
}

/// The support of this kernel for this process.
#[derive(Debug)]
pub enum Support {
    /// Overlays work as kiln wants them.
    Overlay,
    /// They do not; layers have to be copied.
    Refused(io::Error),
}

/// The magic number of overlayfs (linux: include/uapi/linux/magic.h, `OVERLAYFS_SUPER_MAGIC`).
const MAGIC: FsWord = 0x794c_7630;

/// The longest string that fsconfig(2) takes, without the final zero.
const FSCONFIG_LONGEST: usize = 255;

/// Mounts an overlay, attached nowhere: move it into place with `move_mount`, or use the
/// descriptor as a directory. It vanishes when the descriptor is closed unattached.
///
/// A single lower without an upper is a read-only bind mount of that directory, since overlayfs
/// wants two of something.
///
/// # Errors
/// What the kernel says; also when there is nothing to mount.
pub fn mount(spec: &OverlaySpec) -> io::Result<OwnedFd> {
    mount_with(spec, Syncs::Ignored)
}

/// As [`mount`], for changes that are to outlive a loss of power: `fsync` inside does what it says.
///
/// # Errors
/// As [`mount`].
pub fn mount_lasting(spec: &OverlaySpec) -> io::Result<OwnedFd> {
    mount_with(spec, Syncs::Honoured)
}

/// The treatment of a program's request to write files to disk (fsync(2) and others).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syncs {
    Ignored,
    Honoured,
}

fn mount_with(spec: &OverlaySpec, syncs: Syncs) -> io::Result<OwnedFd> {
    tracing::debug!(
        lowers = spec.lowers.len(),
        upper = ?spec.upper_and_work.as_ref().map(|(upper, _)| upper),
        "mounting layers"
    );
    if spec.lowers.len() > MOST_LOWERS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, TooManyLayers));
    }
    match (&*spec.lowers, &spec.upper_and_work) {
        ([], None) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an overlay needs at least one directory",
        )),
        ([single], None) => read_only_bind(single),
        // Nothing below (FROM scratch): the upper directory alone is the root.
        ([], Some((upper, _))) => bind(upper),
        _ => {
            let mounted = match mount_one_by_one(spec, syncs) {
                // EINVAL is how a kernel before 6.7 answers to `lowerdir+`.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    mount_by_string(spec, syncs).or(Err(error))
                }
                other => other,
            }?;
            if spec.upper_and_work.is_some() {
                require_writable(&mounted)?;
            }
            Ok(mounted)
        }
    }
}

/// Refuses an overlay that cannot be written to: the kernel makes it read-only if it finds no room for
/// its work directory, and a command that takes no notice of failures would seem to succeed.
fn require_writable(mounted: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fstatvfs(mounted)?.f_flag;
    if flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let why = "no space is left for a root that can be written to";
        return Err(io::Error::new(io::ErrorKind::StorageFull, why));
    }
    Ok(())
}

/// Directories. (fs/overlayfs/params.h: OVL_MAX_STACK)
const MOST_LOWERS: usize = 500;

/// The kernel does not stack so many directories.
#[derive(Debug, thiserror::Error)]
#[error("there are more directories than the kernel's overlayfs stacks, which is {MOST_LOWERS}")]
struct TooManyLayers;

/// Ends all writing to an overlay with an upper directory, wherever it is mounted, for good. `root`
/// is its root, attached or not.
///
/// A process that still has a directory of it open finds it read-only from now on.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] when a process has a file of it open, or mapped, for writing, or
/// one that was deleted.
pub fn close_to_writers(root: impl AsFd) -> io::Result<()> {
    // Where there was nothing to stack it is a directory of the host's own file system.
    if fstatfs(&root)?.f_type != MAGIC {
        return Err(Errno::INVAL.into());
    }
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = fspick(&root, "", flags)?;
    fsconfig_set_flag(&context, "ro")?;
    Ok(fsconfig_reconfigure(&context)?)
}

/// The interface by which the kernel is told the lower directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// `lowerdir+`, Linux 6.7.
    OneByOne,
    /// `lowerdir=` with everything in one string.
    OneString,
}

/// Mounts an overlay of two or more directories through one of the interfaces. [`mount`] chooses by
/// the kernel; tests name the interface, so that a new kernel also tries what an old one gets.
///
/// # Errors
/// What the kernel says.
pub fn mount_stack(spec: &OverlaySpec, interface: Interface) -> io::Result<OwnedFd> {
    match interface {
        Interface::OneByOne => mount_one_by_one(spec, Syncs::Ignored),
        Interface::OneString => mount_by_string(spec, Syncs::Ignored),
    }
}

/// Tries whether an overlay with whiteouts works below `scratch`, an existing directory that is
/// left as it was.
#[must_use]
pub fn probe(scratch: &Path) -> Support {
    let place = scratch.join(format!("probe-{}", std::process::id()));
    let result = probe_in(&place);
    // What cannot be deleted lies in a scratch directory.
    let _ = kiln_files::remove_tree(&place);
    match result {
        Ok(()) => Support::Overlay,
        Err(error) => Support::Refused(error),
    }
}

fn probe_in(place: &Path) -> io::Result<()> {
    let [low, high, upper, work] = ["low", "high", "upper", "work"].map(|name| place.join(name));
    for directory in [&low.join("d/x"), &high.join("d"), &upper, &work] {
        fs::create_dir_all(directory)?;
    }
    fs::write(low.join("gone"), "")?;
    disk::make_whiteout(File::open(&high)?, "gone")?;
    disk::make_opaque(File::open(high.join("d"))?)?;
    let root = mount(&OverlaySpec {
        lowers: vec![high, low],
        upper_and_work: Some((upper.clone(), work)),
    })?;
    let exists = |path: &str| accessat(&root, path, Access::EXISTS, AtFlags::empty()).is_ok();
    if exists("gone") || exists("d/x") {
        return Err(io::Error::other("whiteouts are not honoured"));
    }
    rustix::fs::mkdirat(&root, "new", Mode::RWXU)?;
    if upper.join("new").is_dir() {
        Ok(())
    } else {
        Err(io::Error::other("changes do not reach the upper directory"))
    }
}

fn bind(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, directory, flags)?)
}

fn read_only_bind(directory: &Path) -> io::Result<OwnedFd> {
    let tree = bind(directory)?;
    sys::make_read_only(tree.as_fd())?;
    Ok(tree)
}

fn mount_one_by_one(spec: &OverlaySpec, syncs: Syncs) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Descriptors that stand in for awkward names live until the mount is made.
    let mut held = Vec::new();
    let mut name = |path: &Path| -> io::Result<PathBuf> {
        if is_plain(path) {
            return Ok(path.to_owned());
        }
        let (name, descriptor) = descriptor_name(path)?;
        held.push(descriptor);
        Ok(name)
    };
    for lower in &spec.lowers {
        fsconfig_set_string(&context, "lowerdir+", &name(lower)?)?;
    }
    fsconfig_set_flag(&context, "userxattr")?;
    for (key, value) in [("metacopy", "off"), ("index", "off")] {
        fsconfig_set_string(&context, key, value)?;
    }
    let mut attributes = MountAttrFlags::empty();
    match &spec.upper_and_work {
        Some((upper, work)) => {
            fsconfig_set_string(&context, "upperdir", &name(upper)?)?;
            fsconfig_set_string(&context, "workdir", &name(work)?)?;
            if syncs == Syncs::Ignored {
                fsconfig_set_flag(&context, "volatile")?;
            }
        }
        None => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
    }
    fsconfig_create(&context)?;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// Says whether a path can be given to overlayfs as it is: backslash, colon and comma mean
/// something to its parsers.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.len() <= FSCONFIG_LONGEST && !bytes.iter().any(|byte| b"\\:,".contains(byte))
}

/// Opens a directory and returns a short name for it.
fn descriptor_name(path: &Path) -> io::Result<(PathBuf, OwnedFd)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
    let name = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    Ok((PathBuf::from(name), descriptor))
}

fn mount_by_string(spec: &OverlaySpec, syncs: Syncs) -> io::Result<OwnedFd> {
    sys::in_private_mount_namespace(|| {
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
        let mut held = Vec::new();
        let mut name = |path: &Path| -> io::Result<String> {
            let (_, descriptor) = descriptor_name(path)?;
            let name = descriptor.as_raw_fd().to_string();
            held.push(descriptor);
            Ok(name)
        };
        let lowers: Vec<String> = spec
            .lowers
            .iter()
            .map(|lower| name(lower))
            .collect::<Result<_, _>>()?;
        let mut data = format!(
            "userxattr,metacopy=off,index=off,lowerdir={}",
            lowers.join(":")
        );
        let mut flags = MountFlags::empty();
        match &spec.upper_and_work {
            Some((upper, work)) => {
                if syncs == Syncs::Ignored {
                    data += ",volatile";
                }
                data += &format!(",upperdir={},workdir={}", name(upper)?, name(work)?);
            }
            None => flags |= MountFlags::RDONLY,
        }
        // The kernel would cut the rest off and mount what remains.
        if data.len() >= rustix::param::page_size() {
            return Err(Errno::TOOBIG.into());
        }
        // Any directory serves as mount point: no other process sees this namespace.
        let target = std::path::absolute(spec.lowers.first().ok_or(Errno::INVAL)?)?;
        let data = CString::new(data).map_err(|_| Errno::INVAL)?;
        // This thread's alone, since it was separated from the others' view of file systems.
        rustix::process::chdir("/proc/self/fd")?;
        rustix::mount::mount("overlay", &target, "overlay", flags, Some(&*data))?;
        let tree = bind(&target)?;
        unmount(&target, UnmountFlags::DETACH)?;
        Ok(tree)
    })
}
