//! An open state directory with its parts.

use std::path::{Path, PathBuf};

use kiln_cache::{Actions, Assembled, Blobs, Downloads, ImageNames, ImageNotes, Store};
use kiln_snapshotter::{LayerStore, UnpackLimit};
use kiln_solver::Journal;
use kiln_threads::Stop;

use crate::Error;

/// Which state directory is opened, and how.
#[derive(Debug)]
pub struct StoresOptions {
    /// The state directory.
    pub root: PathBuf,
    /// What it is opened for.
    pub purpose: StoresPurpose,
    /// What one layer or archive may unpack to.
    pub unpack_limit: UnpackLimit,
}

/// What a state directory is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoresPurpose {
    /// To look at what is there, and to name it. No file of a layer is read, so the process need not
    /// have entered its namespaces.
    Look,
    /// To do anything. What kilns left behind that were killed or lost their power is looked at.
    Work,
}

/// An open state directory: what every verb works on.
///
/// The process must have entered its namespaces ([`kiln_runtime::userns::enter`]) before anything
/// is run, pulled or unpacked; reading and listing work without.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The directory itself: its locks, its temporaries, the wish to stop.
    pub(crate) store: Store,
    /// Bytes by digest: compressed layers, manifests, configs.
    pub(crate) blobs: Blobs,
    /// Unpacked layers.
    pub(crate) layers: LayerStore,
    /// Results of steps, by key.
    pub(crate) actions: Actions,
    /// What builds did.
    pub(crate) journal: Journal,
    /// The names of images.
    pub(crate) tags: ImageNames,
    /// What names stood for in registries when builds asked.
    pub(crate) pins: ImageNames,
    /// Images by id.
    pub(crate) notes: ImageNotes,
    /// Images that builds put together, by what of.
    pub(crate) assembled: Assembled,
    /// What URLs stood for.
    pub(crate) downloads: Downloads,
}

impl Stores {
    /// Opens the parts of a state directory, making it if there is none.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn open(options: &StoresOptions) -> Result<Self, Error> {
        let store = Store::open(&options.root)
            .map_err(|error| Error::environment("cannot open the state directory", error))?;
        Ok(Self {
            blobs: Blobs::new(&store),
            layers: LayerStore::with_limit(&store, options.unpack_limit),
            actions: Actions::new(&store),
            journal: Journal::new(&store),
            tags: ImageNames::tags(&store),
            pins: ImageNames::pins(&store),
            notes: ImageNotes::new(&store),
            assembled: Assembled::new(&store),
            downloads: Downloads::new(&store),
            store,
        })
    }

    /// Returns the state directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Returns the wish to stop, at which everything looks that works on this directory.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        self.store.stop()
    }

    /// Returns what tells how many files were looked at, made or deleted since now.
    pub fn counter(&self) -> impl Fn() -> u64 + Send + 'static {
        let store = self.store.clone();
        let before = store.counted();
        move || store.counted() - before
    }

    /// Makes sure that everything that was made is on disk: called before the user is told that it
    /// is there.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        self.store.settle().map_err(|error| {
            Error::environment("cannot write to the disk of the state directory", error)
        })
    }

    /// Fails if the user asked to stop: looked at once more before something gets its name.
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        if self.stop().is_asked() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Returns why something failed: what fails once the user has asked to stop fails for that.
    pub(crate) fn or_cancelled(&self, error: Error) -> Error {
        if self.stop().is_asked() {
            return Error::Cancelled;
        }
        error
    }
}
