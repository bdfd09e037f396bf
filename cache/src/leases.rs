//! Leases: what a kiln uses, so that garbage is collected beside it.
//!
//! ```text
//! lock               flock: shared by kilns that let nobody collect, exclusive while something goes
//! collecting         there, and locked, while garbage is collected
//! leases/<pid>-<n>   a line for each thing that a kiln uses, which holds a lock on it
//! ```
//!
//! A kiln begins by holding `lock`, shared, and only remembers what it uses: most are over before
//! anybody else notices, and write nothing. One that will take longer, because it runs a step or moves
//! bytes, *admits* collection: it writes down what it uses, lets go of the lock, and from then on
//! takes it for a moment whenever it begins to use something more.
//!
//! A collector makes `collecting`. A kiln that starts while it is there admits collection at once, so
//! that the collector has to wait only for those that started before. When it has had `lock` for
//! itself for a moment, it takes the inventory, and has the lock again for a moment each time that it
//! removes something: it reads the leases and spares what they name. A kiln that ends while
//! there is a `collecting` leaves its lease behind: so whatever got a name since the inventory began
//! is named by a lease, whether its kiln still runs, has ended or was killed. A kiln that finds no room to write
//! down what it uses calls the collection off, by removing `collecting`.
//!
//! | what a kiln begins to use | why it stays |
//! |---|---|
//! | before the collection | `lock` is not free, or the lease names it |
//! | while the collector looks around | the lease names it |
//! | while something goes | it waits for the lock, and finds it or not |

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_oci::Sha256;
use kiln_tree::LayerId;

use crate::Unsettled;

/// Something of the state directory that a kiln uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leased {
    /// A blob.
    Blob(Sha256),
    /// A layer, here or described.
    Layer(LayerId),
    /// A directory, by its path in the state directory.
    Tree(String),
}

impl From<Unsettled> for Leased {
    fn from(object: Unsettled) -> Self {
        match object {
            Unsettled::Blob(digest) => Self::Blob(digest),
            Unsettled::Layer(id) => Self::Layer(id),
        }
    }
}

impl fmt::Display for Leased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "blob {}", digest.hex()),
            Self::Layer(id) => write!(f, "layer {id}"),
            Self::Tree(path) => write!(f, "tree {path}"),
        }
    }
}

impl FromStr for Leased {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        match line.split_once(' ').ok_or(())? {
            ("blob", hex) => Sha256::from_hex(hex).map(Self::Blob).map_err(drop),
            ("layer", hex) => hex.parse().map(Self::Layer).map_err(drop),
            ("tree", path) => Ok(Self::Tree(path.to_owned())),
            _ => Err(()),
        }
    }
}

/// What this process uses, and how others are told.
#[derive(Debug)]
pub(crate) struct Leases {
    root: PathBuf,
    /// Whether this process collects and has the lock for itself now. What it uses then needs no
    /// lease, and taking the lock for one would give the lock up.
    is_alone: AtomicBool,
    state: Mutex<LeaseState>,
}

#[derive(Debug)]
struct LeaseState {
    used: HashSet<Leased>,
    own: Own,
}

/// How this process keeps what it uses.
#[derive(Debug)]
enum Own {
    /// It holds the lock of the state directory, shared.
    Locked,
    /// Its lease says it.
    Written {
        /// Appended to, and held for its lock.
        file: File,
        path: PathBuf,
    },
}

impl Leases {
    /// Returns the leases of a process that holds `lock`, shared, and admits collection if there is
    /// one now.
    pub(crate) fn new(root: &Path, lock: &File) -> io::Result<Self> {
        let leases = Self {
            root: root.to_owned(),
            is_alone: AtomicBool::new(false),
            state: Mutex::new(LeaseState {
                used: HashSet::new(),
                own: Own::Locked,
            }),
        };
        while leases.is_collecting() {
            match leases.admit(lock) {
                Ok(()) => break,
                // A user who may only read names nothing, so that the lock is enough.
                Err(error) if is_refused(&error) => break,
                // Without room for a lease: the collector makes some.
                Err(_) => {
                    lock.unlock()?;
                    leases.wait_for_collector()?;
                    lock.lock_shared()?;
                }
            }
        }
        Ok(leases)
    }

    /// Notes that this process uses something, from now on. Whether it is there must be looked at
    /// afterwards.
    pub(crate) fn hold(&self, lock: &File, what: Leased) {
        let mut state = self.state();
        if state.used.contains(&what) || self.is_alone.load(Ordering::Relaxed) {
            return;
        }
        if let Own::Written { file, path } = &mut state.own {
            let line = format!("{what}\n");
            let locked = lock_shared(lock);
            let written = locked.and_then(|()| file.write_all(line.as_bytes()));
            match written {
                Ok(()) => {
                    let _ = lock.unlock();
                }
                // No room for a line: the lock says enough, but not after the end of this process. So a
                // collection that goes on is called off.
                Err(_) => {
                    let _ = lock_shared(lock);
                    let _ = fs::remove_file(self.marker());
                    let _ = fs::remove_file(path);
                    state.own = Own::Locked;
                }
            }
        }
        state.used.insert(what);
    }

    /// Lets others collect garbage from now on; says it by an error if they cannot be let.
    pub(crate) fn admit(&self, lock: &File) -> io::Result<()> {
        let mut state = self.state();
        if matches!(state.own, Own::Written { .. }) || self.is_alone.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (mut file, path) = self.make()?;
        let lines: String = state.used.iter().map(|what| format!("{what}\n")).collect();
        if let Err(error) = file.write_all(lines.as_bytes()) {
            let _ = fs::remove_file(path);
            return Err(error);
        }
        state.own = Own::Written { file, path };
        lock.unlock()
    }

    /// Notes whether this process has the lock for itself.
    pub(crate) fn set_alone(&self, is_alone: bool) {
        self.is_alone.store(is_alone, Ordering::Relaxed);
    }

    /// Says whether this process admits collection.
    pub(crate) fn are_written(&self) -> bool {
        matches!(self.state().own, Own::Written { .. })
    }

    /// Ends the lease of this process, which has named everything that it is going to name.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        if let Own::Written { path, .. } = std::mem::replace(&mut state.own, Own::Locked) {
            self.withdraw(&path);
        }
    }

    /// Removes a lease of this process, unless a collector may not have seen what it named.
    fn withdraw(&self, path: &Path) {
        if !self.is_collecting() {
            // One that stays is removed by the next collector.
            let _ = fs::remove_file(path);
        }
    }

    /// Makes a lease, locked. The caller holds the lock of the state directory, so no collector takes
    /// it for that of a process that has ended.
    fn make(&self) -> io::Result<(File, PathBuf)> {
        let directory = self.root.join("leases");
        let process = std::process::id();
        let mut number = 0_u64;
        loop {
            let path = directory.join(format!("{process}-{number}"));
            match File::create_new(&path) {
                Ok(file) => {
                    file.lock()?;
                    self.tidy(&directory, &path);
                    return Ok((file, path));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    fs::create_dir_all(&directory)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the leases of kilns that were killed, if there are many and no collector may need them;
    /// none begins meanwhile, for the caller has the lock.
    fn tidy(&self, directory: &Path, own: &Path) {
        const MANY: usize = 100;
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        if paths.len() < MANY || self.is_collecting() {
            return;
        }
        for path in paths.iter().filter(|path| *path != own) {
            let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
            if is_file && File::open(path).is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Says whether garbage is collected now.
    fn is_collecting(&self) -> bool {
        match File::open(self.marker()) {
            // One that is not locked is left of a collector that was killed.
            Ok(marker) => matches!(marker.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    fn wait_for_collector(&self) -> io::Result<()> {
        match File::open(self.marker()) {
            Ok(marker) => marker.lock_shared(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn marker(&self) -> PathBuf {
        self.root.join("collecting")
    }

    /// Returns what other processes use, or used when they ended. `ended` is told of each lease
    /// whose process has ended.
    ///
    /// The caller has the lock of the state directory for itself.
    pub(crate) fn of_others(&self, mut ended: impl FnMut(&Path)) -> io::Result<HashSet<Leased>> {
        let own = match &self.state().own {
            Own::Written { path, .. } => Some(path.clone()),
            Own::Locked => None,
        };
        let mut used = HashSet::new();
        let entries = match fs::read_dir(self.root.join("leases")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(used),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if Some(&path) == own.as_ref() {
                continue;
            }
            // No kiln made it, and opening it may wait for ever.
            if !entry.file_type()?.is_file() {
                ended(&path);
                continue;
            }
            // A line that was cut off by a full disk names nothing that was used after it.
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other?,
            };
            let text = String::from_utf8_lossy(&bytes);
            used.extend(text.lines().filter_map(|line| line.parse::<Leased>().ok()));
            if File::open(&path).is_ok_and(|file| file.try_lock_shared().is_ok()) {
                ended(&path);
            }
        }
        Ok(used)
    }

    fn state(&self) -> MutexGuard<'_, LeaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks for reading, through signals.
fn lock_shared(lock: &File) -> io::Result<()> {
    loop {
        match lock.lock_shared() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}
