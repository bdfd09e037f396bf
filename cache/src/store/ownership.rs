//! That a state directory is its owner's alone.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::open_error::OpenError;

/// Refuses a directory of another user, takes away other users' access to our own, and refuses files
/// that they had made in it.
pub(super) fn shut_out_others(root: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io {
        path: root.to_owned(),
        source,
    };
    let metadata = fs::metadata(root).map_err(failed)?;
    let user = rustix::process::geteuid().as_raw();
    refuse_foreign(root, &metadata, user)?;
    refuse_occupied(root)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        match fs::set_permissions(root, Permissions::from_mode(mode & 0o700)) {
            // No user can change its files either.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {}
            other => other.map_err(failed)?,
        }
    }
    refuse_planted(root, user)
}

/// Refuses a directory that is another user's; one that is not there is nobody's. To be asked before
/// namespaces are entered, in which ids of users are others.
///
/// # Errors
/// [`OpenError::NotOurs`].
pub fn check_owner(root: &Path) -> Result<(), OpenError> {
    let user = rustix::process::geteuid().as_raw();
    fs::metadata(root).map_or(Ok(()), |metadata| refuse_foreign(root, &metadata, user))
}

fn refuse_foreign(root: &Path, metadata: &fs::Metadata, user: u32) -> Result<(), OpenError> {
    if metadata.uid() == user {
        return Ok(());
    }
    Err(OpenError::NotOurs {
        path: root.to_owned(),
        owner: metadata.uid(),
        user,
    })
}

/// Refuses a directory that is no state directory and not empty: taking away other users' access to
/// it, or writing into it, may harm whoever it belongs to.
fn refuse_occupied(root: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io {
        path: root.to_owned(),
        source,
    };
    if root.join("format").symlink_metadata().is_ok() {
        return Ok(());
    }
    // Every kiln makes these two; the format may have been lost.
    if root.join("lock").is_file() && root.join("work").is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(root).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let text = name.to_string_lossy();
        // A first kiln may be making it now.
        let is_begun = text == "lock" || text.starts_with(".format-") || text == "format";
        // The root of a disk.
        let is_disk = text == "lost+found";
        if !(is_begun || is_disk) {
            return Err(OpenError::Occupied {
                path: root.to_owned(),
                name,
            });
        }
    }
    Ok(())
}

/// Refuses files that other users made in the directory while they could. A process of theirs may
/// still have a descriptor of a directory inside, so this is checked each time, after their access is
/// taken away.
fn refuse_planted(root: &Path, user: u32) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io {
        path: root.to_owned(),
        source,
    };
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = match entry.metadata() {
            // Another kiln has given it its name.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        // What root makes is as good as ours, such as the `lost+found` of a disk.
        if ![user, 0].contains(&metadata.uid()) {
            return Err(OpenError::Planted {
                path: root.to_owned(),
                name: entry.file_name(),
                owner: metadata.uid(),
                user,
            });
        }
        if metadata.is_symlink() {
            return Err(OpenError::Link {
                path: root.to_owned(),
                name: entry.file_name(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn others_are_shut_out() {
        let directory = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(directory.path()).unwrap().mode() & 0o7777;
        for open in [0o755, 0o777, 0o1777, 0o770] {
            fs::set_permissions(directory.path(), Permissions::from_mode(open)).unwrap();
            drop(Store::open(directory.path()).unwrap());
            assert_eq!(mode(), 0o700, "{open:o}");
        }
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        if !rustix::process::geteuid().is_root() {
            // Only root can give a directory away.
            println!("skipped: not root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(12345), None).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::NotOurs {
                    owner: 12345,
                    user: 0,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_another_user_planted_is_refused_each_time() {
        if !rustix::process::geteuid().is_root() {
            // Only root can give a file to another user.
            println!("skipped: not root");
            return;
        }
        for name in ["layers", "lock", "anything"] {
            let directory = tempfile::tempdir().unwrap();
            drop(Store::open(directory.path()).unwrap());
            fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
            let planted = directory.path().join(name);
            let _ = fs::remove_file(&planted);
            fs::create_dir(&planted).unwrap();
            let before = fs::read_dir(directory.path()).unwrap().count();
            std::os::unix::fs::chown(&planted, Some(12345), None).unwrap();
            for _ in 0..2 {
                let error = Store::open(directory.path()).unwrap_err();
                assert!(
                    matches!(&error, OpenError::Planted { name: found, owner: 12345, .. } if found == name),
                    "{error}"
                );
                assert_eq!(fs::read_dir(directory.path()).unwrap().count(), before);
            }
            fs::remove_dir(&planted).unwrap();
            Store::open(directory.path()).unwrap();
        }
    }

    #[test]
    fn a_link_in_the_directory_is_not_followed() {
        for name in ["format", "layers", "lock", "work"] {
            let directory = tempfile::tempdir().unwrap();
            let elsewhere = tempfile::tempdir().unwrap();
            drop(Store::open(directory.path()).unwrap());
            let planted = directory.path().join(name);
            let _ = fs::remove_file(&planted);
            std::os::unix::fs::symlink(elsewhere.path().join("target"), &planted).unwrap();
            let error = Store::open(directory.path()).unwrap_err();
            assert!(
                matches!(&error, OpenError::Link { name: found, .. } if found == name),
                "{error}"
            );
            assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn directory_of_something_else_is_left_as_it_is() {
        for name in ["home", ".profile", "work", "layers"] {
            let directory = tempfile::tempdir().unwrap();
            fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
            fs::create_dir(directory.path().join(name)).unwrap();
            let error = Store::open(directory.path()).unwrap_err();
            assert!(
                matches!(&error, OpenError::Occupied { name: found, .. } if found == name),
                "{error}"
            );
            let metadata = fs::metadata(directory.path()).unwrap();
            assert_eq!(metadata.mode() & 0o7777, 0o755);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_owned(), file.path().join("below")] {
            let error = Store::open(&path).unwrap_err();
            assert!(matches!(error, OpenError::NotDirectory { .. }), "{error}");
        }
    }

    #[test]
    fn state_directory_may_be_a_disk_or_have_lost_its_format() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("lost+found")).unwrap();
        let store = Store::open(directory.path()).unwrap();
        drop(store.work_dir().unwrap());
        for name in ["format", "collected", "something"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::remove_file(directory.path().join("format")).unwrap();
        Store::open(directory.path()).unwrap();
    }
}
