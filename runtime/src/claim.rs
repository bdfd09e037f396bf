//! Directories each of which belongs to a process that lives.
//!
//! Several kilns make directories side by side, and whoever comes next removes those of kilns that
//! are gone. Numbers of processes do not tell: kilns in different process namespaces share a
//! directory but not what a number means. A lock does: the kernel lets go of it with the process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A directory that this process has made, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    _lock: File,
}

impl Claim {
    /// Makes a directory below another one, and removes there what others left behind.
    pub(crate) fn below(above: &Path) -> io::Result<Self> {
        sweep(above);
        let process = std::process::id();
        for number in 0_u64.. {
            // The names are for people who look; only the locks count.
            let path = above.join(format!("{process}-{number}"));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            // Somebody who found it in this moment has the lock, or has removed it.
            let lock = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if lock.try_lock().is_ok() && is_still(&path, &lock)? {
                return Ok(Self { path, _lock: lock });
            }
        }
        unreachable!("some number is free")
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn is_still(path: &Path, directory: &File) -> io::Result<bool> {
    let held = directory.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes directories whose makers are gone; they are empty, or somebody is still in them.
fn sweep(above: &Path) {
    let Ok(entries) = fs::read_dir(above) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let numbers = name.to_str().and_then(|name| name.split_once('-'));
        let is_ours = numbers.is_some_and(|(process, number)| {
            process.parse::<u32>().is_ok() && number.parse::<u64>().is_ok()
        });
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if let Ok(directory) = File::open(entry.path()) {
            remove_if_left(&entry.path(), &directory);
        }
    }
}

/// Removes a directory unless somebody holds it. It was found by its name a moment ago: another one
/// may have removed it since, and the name may be somebody's again.
fn remove_if_left(path: &Path, directory: &File) {
    if directory.try_lock().is_ok() && is_still(path, directory).unwrap_or(false) {
        let _ = fs::remove_dir(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_removed() {
        let above = kiln_testbed::Scratch::new();
        // The number of no process, as of one in another namespace.
        let other = above.join("4000000000-0");
        let left = above.join("4000000001-0");
        let strange = above.join("work");
        for directory in [&other, &left, &strange] {
            fs::create_dir(directory).unwrap();
        }
        let held = File::open(&other).unwrap();
        held.try_lock().unwrap();
        let first = Claim::below(above.path()).unwrap();
        let second = Claim::below(above.path()).unwrap();
        assert_ne!(first.path(), second.path());
        assert!(other.exists() && strange.exists() && !left.exists());
        assert!(first.path().exists());
        let path = first.path().to_owned();
        drop((first, held));
        let third = Claim::below(above.path()).unwrap();
        assert!(!other.exists());
        // Its number was free again.
        assert_eq!(third.path(), path);
    }

    #[test]
    fn a_name_that_is_somebodys_again_is_not_removed() {
        let above = kiln_testbed::Scratch::new();
        let path = above.join("4000000000-0");
        fs::create_dir(&path).unwrap();
        let found = File::open(&path).unwrap();
        fs::remove_dir(&path).unwrap();
        fs::create_dir(&path).unwrap();
        remove_if_left(&path, &found);
        assert!(path.exists());
        drop(found);
        remove_if_left(&path, &File::open(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn many_claim_at_the_same_time() {
        let above = kiln_testbed::Scratch::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let claim = Claim::below(above.path()).unwrap();
                        fs::create_dir(claim.path().join("in use")).unwrap();
                        fs::remove_dir(claim.path().join("in use")).unwrap();
                    }
                });
            }
        });
    }
}
