//! Opening files in a directory without leaving it through links that another process put there.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// Attempts at most. The kernel gives up on a `..` if something was renamed or mounted
/// meanwhile, anywhere on the machine (openat2(2), EAGAIN).
const ATTEMPTS: u32 = 100;

/// The treatment of symbolic links. Those of `/proc` that lead to open files are never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They are followed as if the directory were `/`.
    FromRoot,
    /// They are followed unless they lead out of the directory.
    Beneath,
    /// None is followed.
    None,
}

impl Links {
    fn resolve(self) -> ResolveFlags {
        match self {
            Self::FromRoot => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            Self::Beneath => ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
            Self::None => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        }
    }
}

/// Opens a path in a directory; the descriptor does not outlive this program.
///
/// With a path that ends in a zero byte already it allocates nothing and takes no lock, so a process
/// that was just cloned may call it.
///
/// # Errors
/// [`Errno::XDEV`] for what leads out, [`Errno::LOOP`] for a link that is not to be followed, and
/// [`Errno::NOSYS`] before Linux 5.6.
pub fn open_scoped(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    for _ in 0..ATTEMPTS {
        match openat2(&directory, path, flags, Mode::empty(), links.resolve()) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn links_lead_where_they_may() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        for (name, target) in [("up", "../file"), ("out", "../../file"), ("top", "/file")] {
            symlink(target, root.join("a").join(name)).unwrap();
        }
        let root = File::open(root).unwrap();
        let open = |path, links| open_scoped(&root, path, OFlags::PATH, links).map(drop);
        for (path, from_root, beneath, none) in [
            ("file", Ok(()), Ok(()), Ok(())),
            ("a/up", Ok(()), Ok(()), Err(Errno::LOOP)),
            ("a/out", Ok(()), Err(Errno::XDEV), Err(Errno::LOOP)),
            ("a/top", Ok(()), Err(Errno::XDEV), Err(Errno::LOOP)),
        ] {
            // The link itself would do for O_PATH with O_NOFOLLOW alone.
            assert_eq!(open(path, Links::FromRoot), from_root, "{path}");
            assert_eq!(open(path, Links::Beneath), beneath, "{path}");
            assert_eq!(open(path, Links::None), none, "{path}");
        }
    }

    #[test]
    fn others_may_rename_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("a")).unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        symlink("../file", directory.path().join("a/link")).unwrap();
        let root = File::open(directory.path()).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
                fs::create_dir(&one).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    fs::rename(&one, &other).unwrap();
                    fs::rename(&other, &one).unwrap();
                }
            });
            let opened =
                (0..20_000).map(|_| open_scoped(&root, "a/link", OFlags::PATH, Links::FromRoot));
            let refused = opened.filter(Result::is_err).count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(refused, 0);
        });
    }
}
