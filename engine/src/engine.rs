//! The engine: an open state directory and a client for registries.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use kiln_cache::{Actions, Assembled, Blobs, Downloads, Entrance, ImageIds, Names, Store};
use kiln_oci::Platform;
use kiln_registry::{Client, ClientOptions};
use kiln_runtime::OuterProc;
use kiln_snapshotter::{LayerStore, UnpackLimit};
use kiln_solver::Journal;
use kiln_threads::Stop;

use crate::{Damage, Error};

/// Where and how the engine works. Nothing in it is read from the environment.
#[derive(Debug)]
pub struct EngineOptions {
    /// The state directory.
    pub root: PathBuf,
    /// What it is opened for.
    pub purpose: Purpose,
    /// How registries are reached.
    pub registry: ClientOptions,
    /// How programs are started that work for kiln outside of any box.
    pub programs: Programs,
    /// What commands see at `/proc` where they cannot have one of their own.
    pub outer_proc: OuterProc,
    /// What one layer or archive may unpack to.
    pub unpack_limit: UnpackLimit,
}

/// What a state directory is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To look at what is there, and to name it. No file of a layer is read, so the process need not
    /// have entered its namespaces; and it is over soon, so nobody is waited for.
    Look,
    /// To do anything. Whoever waits to have the directory for himself goes first, and what kilns left
    /// behind that were killed or lost their power is looked at.
    Work,
}

/// How programs of this machine are started that work for kiln: git, ssh.
#[derive(Clone, Default)]
pub struct Programs {
    /// What they may know of the environment: where programs are, proxies, certificates.
    pub environment: Vec<(OsString, OsString)>,
    /// Files with the keys of ssh servers that are trusted, beside those that kiln met.
    pub known_hosts: Vec<PathBuf>,
}

// The addresses of proxies may hold passwords.
impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Programs")
            .field("environment", &names)
            .field("known_hosts", &self.known_hosts)
            .finish()
    }
}

/// kiln as a library: one function per verb.
///
/// The process must have entered its namespaces ([`kiln_runtime::userns::enter`]) before anything
/// is run, pulled or unpacked; reading and listing work without.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) layers: LayerStore,
    pub(crate) actions: Actions,
    pub(crate) journal: Journal,
    pub(crate) tags: Names,
    pub(crate) pins: Names,
    pub(crate) ids: ImageIds,
    pub(crate) assembled: Assembled,
    pub(crate) downloads: Downloads,
    pub(crate) programs: Programs,
    pub(crate) outer_proc: OuterProc,
    pub(crate) client: Client,
    recovered: std::sync::Arc<[Damage]>,
}

impl Engine {
    /// Opens the state directory, making it if there is none.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(options: EngineOptions) -> Result<Self, Error> {
        let entrance = match options.purpose {
            Purpose::Look => Entrance::AtOnce,
            Purpose::Work => Entrance::InTurn,
        };
        let store = Store::enter(&options.root, entrance)
            .map_err(|error| Error::environment("cannot open the state directory", &error))?;
        let mut engine = Self {
            blobs: Blobs::new(&store),
            layers: LayerStore::with_limit(&store, options.unpack_limit),
            actions: Actions::new(&store),
            journal: Journal::new(&store),
            tags: Names::tags(&store),
            pins: Names::pins(&store),
            ids: ImageIds::new(&store),
            assembled: Assembled::new(&store),
            downloads: Downloads::new(&store),
            programs: options.programs,
            outer_proc: options.outer_proc,
            client: Client::new(options.registry),
            store,
            recovered: std::sync::Arc::default(),
        };
        if options.purpose == Purpose::Work {
            engine.recovered = engine.recover()?.into();
        }
        Ok(engine)
    }

    /// Returns what was found damaged when the state directory was opened.
    #[must_use]
    pub fn recovered(&self) -> &[Damage] {
        &self.recovered
    }

    /// Makes sure that everything that was made is on disk: called before anybody is told that it is
    /// there.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        self.store.settle().map_err(|error| {
            Error::environment("cannot write to the disk of the state directory", &error)
        })
    }

    /// Returns the state directory.
    #[must_use]
    pub fn root(&self) -> &std::path::Path {
        self.store.root()
    }

    /// Returns what images are built for and pulled for unless something else is asked for.
    #[must_use]
    pub fn host_platform() -> Platform {
        Platform::host()
    }

    /// Returns the wish to stop that everything looks at that works with the state directory.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        self.store.stop()
    }

    /// Returns what ends everything that this engine does.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            stop: self.store.stop().clone(),
            client: self.client.clone(),
        }
    }

    /// Fails if the person asked to stop: looked at once more before something gets its name.
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        match self.store.stop().is_asked() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    /// Returns why something failed: whatever fails once the person has asked to stop fails for that.
    pub(crate) fn or_cancelled(&self, error: Error) -> Error {
        match self.store.stop().is_asked() {
            true => Error::Cancelled,
            false => error,
        }
    }
}

/// Ends what an engine does, from another thread. It does not hold the engine: unfinished work goes
/// with that, whoever could still stop it.
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: Stop,
    client: Client,
}

impl Stopper {
    /// Ends everything, now and later: threads that copy, digest, pack or unpack, commands and those
    /// that wait, and requests to registries.
    pub fn stop(&self) {
        // First, so that what fails by the other finds out why.
        self.stop.ask();
        self.client.cancel();
    }
}
