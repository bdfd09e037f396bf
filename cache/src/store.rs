//! The state directory: its layout, its format version, its locks.
//!
//! ```text
//! format                   the version of everything below; flock: exclusive while somebody waits
//!                          to have the directory for himself
//! lock                     flock: shared while a kiln is open, exclusive to collect garbage and
//!                          to take over an older format
//! blobs/sha256/ab/…        bytes by SHA-256: manifests, configs, compressed layers; beside a
//!                          layer, in <digest>.sources, the repositories known to have it
//! actions/ab/…             ActionKey -> record
//! tombstones               a line for each record that was evicted: when and why
//! layers/ab/<layer id>/    index, facts, and (when unpacked) the diff directory
//! diffs/<diff id>          -> layer id
//! described/<layer id>     a layer that another machine made: its tar, and a blob elsewhere
//! refs/<host>/<path>/…     names -> manifest digest
//! pins/<host>/<path>/…     base names as builds resolved them -> manifest digest
//! images/<id>              -> manifest digest, for every image that is here
//! assembled/ab/…           what an image is made of -> manifest digest
//! cachemounts/<key>/       directories of RUN --mount=type=cache
//! contexts/<hash>          stat indexes of build contexts
//! builds/<place>-<variant> what the last build of each definition did, and why
//! downloads/ab/…           what URLs stood for: validators, and the digest of a blob
//! git/<hash>/              what was fetched of a repository, bare; git/known_hosts, the keys of
//!                          ssh servers met
//! containers/<id>/         containers
//! mounts/<pid>-<n>/        where the sandboxes of one kiln mount what only they see
//! locks/ab/…               one flock per running action
//! trash/                   what was evicted and is not deleted yet
//! collected                when garbage was collected last: its modification time
//! work/<pid>-<n>/          whatever is not finished
//! ```
//!
//! Several kilns may work on one state directory at once. Nothing becomes visible before it is
//! whole: it is written in `work/` on the same file system and renamed into place. What a killed
//! kiln leaves there, and what becomes of it, says the module `work`.
//!
//! The directory is its owner's alone: layers hold programs that run as whoever owns them, and
//! containers know secrets. So one of somebody else is refused, and others are shut out of one that
//! lets them in, each time that it is opened; what they made in it before that is refused too.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::stop::Stop;
use crate::work::{Announcement, Unsettled, WorkDir, WorkRoot};

/// The version of the layout above and of every encoding below it.
///
/// 2: a layer's files may lie on those of another (`upon`). What is there in format 1 is as good in
/// this one.
const FORMAT: u32 = 2;

/// How long a kiln that can wait lets one go first that wants the directory for itself: longer than
/// most steps, so that kilns which build one image after the other come to an end together.
const LONGEST_TURN: Duration = Duration::from_secs(60);

/// Why a state directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a newer kiln.
    #[error("state directory {path} has format {found}, this kiln knows up to {FORMAT}")]
    Newer {
        /// The state directory.
        path: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// It belongs to somebody else, who could change what is in it.
    #[error(
        "state directory {path} belongs to user {owner}, not to you (user {user}); use one of your \
         own, or make it yours with: chown -R {user} {path}"
    )]
    NotOurs {
        /// The state directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Something in it belongs to somebody else, who may have put anything there, and still can.
    #[error(
        "in state directory {path}, {name:?} belongs to user {owner}, not to you (user {user}); \
         what is in it may be forged, so remove it, or use another state directory"
    )]
    Planted {
        /// The state directory.
        path: PathBuf,
        /// What is in it.
        name: OsString,
        /// Whose that is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Something in it is a link.
    #[error(
        "in state directory {path}, {name:?} is a link, and kiln follows none there; move what it \
         leads to into its place, or remove it"
    )]
    Link {
        /// The state directory.
        path: PathBuf,
        /// What is in it.
        name: OsString,
    },
    /// Its `format` file is not a number.
    #[error(
        "{path} is not a kiln state directory: its `format` file reads {text:?}; if it is one, the \
         file was damaged, and should read {FORMAT}"
    )]
    Foreign {
        /// The state directory.
        path: PathBuf,
        /// What the file says.
        text: String,
    },
    /// A file operation failed.
    #[error("state directory {path}")]
    Io {
        /// The path that the operation was about.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// An open state directory.
///
/// Cheap to clone. While any clone lives, this process holds a shared lock on the directory, so
/// nobody collects garbage under its feet.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// Held for its lock.
    lock: File,
    work: WorkRoot,
    stop: Stop,
}

/// Whether others go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entrance {
    /// Nobody does: for what is over soon.
    #[default]
    AtOnce,
    /// Whoever waits to have the state directory for himself does, for a while.
    InTurn,
}

impl Store {
    /// Opens the state directory at `root`, making it if there is none.
    ///
    /// # Errors
    /// When it belongs to a newer kiln or to somebody else, is something else, or cannot be read.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        Self::enter(root, Entrance::AtOnce)
    }

    /// As [`Store::open`], with a say in who goes first.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn enter(root: &Path, entrance: Entrance) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        if !root.join("format").exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root)
                .map_err(failed(root))?;
        }
        let root = root.canonicalize().map_err(failed(root))?;
        shut_out_others(&root)?;
        let found = check_format(&root, entrance)?;
        let lock = open_lock(&root).map_err(failed(&root))?;
        if found < FORMAT {
            take_over(&root, &lock).map_err(failed(&root))?;
        }
        lock.lock_shared().map_err(failed(&root))?;
        let work = WorkRoot::new(&root);
        Ok(Self {
            shared: Arc::new(Shared {
                root,
                lock,
                work,
                stop: Stop::default(),
            }),
        })
    }

    /// Returns the state directory's canonical path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Returns what everybody looks at who moves many bytes into the state directory or out of it.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.shared.stop
    }

    /// Returns the path of a file or directory below the root.
    #[must_use]
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.shared.root.join(relative)
    }

    /// Makes an empty directory in `work/` that lives until the value is dropped.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn work_dir(&self) -> io::Result<WorkDir> {
        self.shared.work.make(self.clone())
    }

    /// Returns an unused path in `work/` for a file to be written and renamed into place.
    ///
    /// # Errors
    /// When this process's part of `work/` cannot be made.
    pub fn work_file(&self) -> io::Result<PathBuf> {
        self.shared.work.fresh()
    }

    /// Announces a blob or layer that gets its name while the value lives.
    ///
    /// # Errors
    /// When the announcement cannot be made: then the thing must not get its name.
    pub fn announce(&self, what: Unsettled) -> io::Result<Announcement<'_>> {
        self.shared.work.announce(what)
    }

    /// Says that something else than blobs and layers must be on disk after the next settling.
    pub fn owe(&self) {
        self.shared.work.owe();
    }

    /// Has everything written that was made: after it a loss of power takes none of it away. Costs
    /// nothing if nothing was made.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn settle(&self) -> io::Result<()> {
        self.shared.work.settle()
    }

    /// Returns what kilns left behind that were killed or lost their power, and that may be damaged.
    ///
    /// # Errors
    /// When `work/` cannot be read.
    pub fn left_behind(&self) -> io::Result<BTreeSet<Unsettled>> {
        self.shared.work.left_behind()
    }

    /// Has `judge` look at what was left behind, in one kiln at a time. It returns what can be
    /// trusted now or is gone; the rest is left to the next kiln.
    ///
    /// # Errors
    /// What `judge` or the locking returns.
    pub fn recover(
        &self,
        judge: impl FnOnce(&BTreeSet<Unsettled>) -> io::Result<BTreeSet<Unsettled>>,
    ) -> io::Result<()> {
        self.shared.work.recover(judge)
    }

    /// Runs `act` while no other kiln has the state directory open, and lets others in again.
    /// Returns none, without running it, if others have it open now.
    ///
    /// # Errors
    /// What `act` or the locking returns.
    pub fn exclusively<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<Option<T>> {
        // flock converts a shared lock in two steps (flock(2)), so another process may slip in
        // between; `act` runs only once the exclusive one is held.
        match self.shared.lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                self.shared.lock.lock_shared()?;
                return Ok(None);
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let result = act();
        self.shared.lock.lock_shared()?;
        result.map(Some)
    }

    /// As [`Store::exclusively`], but waits for the others to end; calls `waiting` if there are any.
    /// Kilns that come meanwhile and can wait do so.
    ///
    /// # Errors
    /// What `act` or the locking returns.
    pub fn exclusively_at_last<T>(
        &self,
        waiting: impl FnOnce(),
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.shared.lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                waiting();
                let turn = File::open(self.path("format"))?;
                turn.lock()?;
                // Two who wait for each other cannot: each lets go of its shared lock first.
                self.shared.lock.lock()?;
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let result = act();
        self.shared.lock.lock_shared()?;
        result
    }

    /// Lists `<directory>/<two digits>/<name>`, the form of whatever is addressed by a digest.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn spread_files(&self, directory: &str) -> io::Result<Vec<(PathBuf, String)>> {
        let list = |path: &Path| match fs::read_dir(path) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let mut found = Vec::new();
        for group in list(&self.path(directory))? {
            if !group.file_type()?.is_dir() {
                continue;
            }
            for entry in list(&group.path())? {
                if let Ok(name) = entry.file_name().into_string() {
                    found.push((entry.path(), name));
                }
            }
        }
        Ok(found)
    }
}

/// Refuses a directory of somebody else, makes our own accessible to nobody else, and refuses what
/// others had made in it.
fn shut_out_others(root: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io {
        path: root.to_owned(),
        source,
    };
    let metadata = fs::metadata(root).map_err(failed)?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(OpenError::NotOurs {
            path: root.to_owned(),
            owner: metadata.uid(),
            user,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        match fs::set_permissions(root, Permissions::from_mode(mode & 0o700)) {
            // Nobody can change what is in it either.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {}
            other => other.map_err(failed)?,
        }
    }
    refuse_planted(root, user)
}

/// Refuses what others made in the directory while they could. They may still be inside of it,
/// whatever the mode of the directory around it, so this is looked at each time, after the others
/// are shut out.
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

/// Returns the format of a state directory that this kiln can work with; a new one gets its own.
fn check_format(root: &Path, entrance: Entrance) -> Result<u32, OpenError> {
    let path = root.join("format");
    let failed = |source| OpenError::Io {
        path: path.clone(),
        source,
    };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Two first kilns may race here; both write the same bytes.
            write_format(root).map_err(failed)?;
            return Ok(FORMAT);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    let mut start = (&mut file).take(64);
    start.read_to_end(&mut bytes).map_err(failed)?;
    if entrance == Entrance::InTurn {
        let_others_go_first(&file);
    }
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().parse::<u32>() {
        Ok(found @ 1..=FORMAT) => Ok(found),
        Ok(found) => Err(OpenError::Newer {
            path: root.to_owned(),
            found,
        }),
        Err(_) => Err(OpenError::Foreign {
            path: root.to_owned(),
            text: text.trim().chars().take(40).collect(),
        }),
    }
}

/// Waits while somebody holds the lock who wants the directory for himself, but not for ever: he
/// may wait for a build that takes hours.
fn let_others_go_first(format: &File) {
    let begun = Instant::now();
    while matches!(format.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
        && begun.elapsed() < LONGEST_TURN
    {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes the format's version, durably: without it nothing else is found.
fn write_format(root: &Path) -> io::Result<()> {
    open_lock(root)?;
    let temporary = root.join(format!(".format-{}", std::process::id()));
    let mut file = File::create(&temporary)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    fs::rename(&temporary, root.join("format"))?;
    // Names too, and those of the directories that were made for it.
    Ok(rustix::fs::syncfs(File::open(root)?)?)
}

/// Opens the file that is locked. Whoever may only read the directory locks it all the same.
fn open_lock(root: &Path) -> io::Result<File> {
    let path = root.join("lock");
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    match opened {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
            ) =>
        {
            File::open(&path)
        }
        other => other,
    }
}

/// Gives a state directory of an earlier format this one, when no kiln is at work any more that
/// may know only the earlier one.
fn take_over(root: &Path, lock: &File) -> io::Result<()> {
    lock.lock()?;
    write_format(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("format"), "99\n").unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(
            matches!(error, OpenError::Newer { found: 99, .. }),
            "{error}"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_older_format_is_taken_over_when_nobody_works_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let format = directory.path().join("format");
        drop(Store::open(directory.path()).unwrap());
        assert_eq!(fs::read_to_string(&format).unwrap(), "2\n");
        fs::write(&format, "1\n").unwrap();
        let older = File::open(directory.path().join("lock")).unwrap();
        older.lock_shared().unwrap();
        let path = directory.path().to_owned();
        let opening = std::thread::spawn(move || Store::open(&path).map(drop));
        assert_eq!(fs::read_to_string(&format).unwrap(), "1\n");
        older.unlock().unwrap();
        opening.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&format).unwrap(), "2\n");
        fs::write(&format, "0\n").unwrap();
        Store::open(directory.path()).unwrap_err();
    }

    #[test]
    fn who_wants_it_alone_waits_for_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        let two = Store::open(directory.path()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let alone = std::thread::spawn(move || {
            let waiting = || sender.send(()).unwrap();
            one.exclusively_at_last(waiting, || Ok(())).unwrap();
            // It lets others in again.
            Store::open(one.root()).unwrap();
        });
        receiver.recv().unwrap();
        assert!(!alone.is_finished());
        drop(two);
        alone.join().unwrap();
    }

    #[test]
    fn whoever_waits_to_be_alone_goes_before_those_who_can_wait() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        let two = Store::open(directory.path()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let order = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let alone = scope.spawn(|| {
                let waiting = || sender.send(()).unwrap();
                let act = || {
                    order.lock().unwrap().push("alone");
                    Ok(())
                };
                one.exclusively_at_last(waiting, act).unwrap();
            });
            receiver.recv().unwrap();
            let format = File::open(directory.path().join("format")).unwrap();
            while format.try_lock_shared().is_ok() {
                format.unlock().unwrap();
                std::thread::yield_now();
            }
            // A short look goes on all the same.
            drop(Store::open(directory.path()).unwrap());
            let patient = scope.spawn(|| {
                let _store = Store::enter(directory.path(), Entrance::InTurn).unwrap();
                order.lock().unwrap().push("in turn");
            });
            assert!(!patient.is_finished());
            drop(two);
            alone.join().unwrap();
            patient.join().unwrap();
        });
        assert_eq!(*order.lock().unwrap(), ["alone", "in turn"]);
    }

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
    fn a_directory_of_somebody_else_is_refused() {
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
    fn what_others_made_in_it_is_refused_however_often_it_is_tried() {
        if !rustix::process::geteuid().is_root() {
            // Only root can make something that is somebody else's.
            println!("skipped: not root");
            return;
        }
        for name in ["layers", "lock", "anything"] {
            let directory = tempfile::tempdir().unwrap();
            fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
            let planted = directory.path().join(name);
            fs::create_dir(&planted).unwrap();
            std::os::unix::fs::chown(&planted, Some(12345), None).unwrap();
            for _ in 0..2 {
                let error = Store::open(directory.path()).unwrap_err();
                assert!(
                    matches!(&error, OpenError::Planted { name: found, owner: 12345, .. } if found == name),
                    "{error}"
                );
                assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
            }
            fs::remove_dir(&planted).unwrap();
            Store::open(directory.path()).unwrap();
        }
    }

    #[test]
    fn no_link_in_it_is_followed() {
        for name in ["format", "layers", "lock", "work"] {
            let directory = tempfile::tempdir().unwrap();
            let elsewhere = tempfile::tempdir().unwrap();
            let planted = directory.path().join(name);
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
    fn exclusive_use_waits_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        assert_eq!(one.exclusively(|| Ok(1)).unwrap(), Some(1));
        let two = Store::open(directory.path()).unwrap();
        assert_eq!(one.exclusively(|| Ok(1)).unwrap(), None);
        drop(two);
        assert_eq!(one.exclusively(|| Ok(1)).unwrap(), Some(1));
    }
}
