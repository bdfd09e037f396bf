//! Layers and the store that keeps them.
//!
//! ```text
//! layers/<2 hex>/<layer id>/index   the tree, what the layer is
//! layers/<2 hex>/<layer id>/diff/   the files, in overlayfs form; may be absent, or be a part
//! layers/<2 hex>/<layer id>/facts   JSON: tar streams and blobs known to hold the same; disk usage
//! layers/<2 hex>/<layer id>/{checked,upon,owners,cover,like,states}: see their modules
//! diffs/<diff id>                   text: the layer id
//! ```
//!
//! A layer is put together in `work/` and renamed to its name, so one that exists is whole; the
//! same layer made twice at once is one rename that works and one that finds it there. Facts are
//! replaced by rename under a lock on the layer's directory, so that two kilns that learn
//! something at once both are heard. A crash leaves an unnamed directory in `work/`, or a layer
//! of which less is known than could be.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use kiln_cache::{DiskUsage, Store, Unsettled, WorkDir};
use kiln_oci::DiffId;
use kiln_threads::Stop;
use kiln_tree::{Blake3, LayerId, Tree};

use crate::checked_index::{self, IndexError};
use crate::description;
use crate::error::LayerError;
use crate::facts::{KnownBlob, LayerFacts, TarFacts};
use crate::layer_files::{DONOR, LayerFiles};
use crate::permits::{Permit, Permits};
use crate::place::{diff_path, replace};
use crate::unpack_limit::{Meter, UnpackLimit};
use crate::whole_stacks::WholeStacks;

/// The layers of a state directory. Cheap to clone; clones share what they have read.
#[derive(Clone, Debug)]
pub struct LayerStore {
    shared: Arc<StoreState>,
}

#[derive(Debug)]
struct StoreState {
    store: Store,
    limit: UnpackLimit,
    known: Mutex<HashMap<LayerId, Layer>>,
    known_stacks: WholeStacks,
    stacks_here: WholeStacks,
    /// The layers that lower parts of long stacks were made into.
    flat: Mutex<HashMap<Blake3, LayerId>>,
    unpacking: Permits,
}

/// Layers that are unpacked at the same time. Each may take 128 MiB (see `decompress`); fewer than
/// four leave the disk idle while one of them waits for it, and more than eight keep no disk busier.
const FEWEST_AT_ONCE: usize = 4;
const MOST_AT_ONCE: usize = 8;

impl LayerStore {
    /// Returns the layers of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self::with_limit(store, UnpackLimit::default())
    }

    /// Returns the layers of `store`; what is unpacked into it keeps to `limit`.
    #[must_use]
    pub fn with_limit(store: &Store, limit: UnpackLimit) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shared: Arc::new(StoreState {
                store: store.clone(),
                limit,
                known: Mutex::default(),
                known_stacks: WholeStacks::default(),
                stacks_here: WholeStacks::default(),
                flat: Mutex::default(),
                unpacking: Permits::new(cores.clamp(FEWEST_AT_ONCE, MOST_AT_ONCE)),
            }),
        }
    }

    /// Returns what one blob or archive may unpack to.
    #[must_use]
    pub fn limit(&self) -> UnpackLimit {
        self.shared.limit
    }

    /// Waits until few enough layers are being unpacked for one more.
    pub(crate) fn permit_to_unpack(&self) -> Permit<'_> {
        self.shared.unpacking.take()
    }

    /// Starts to count what is unpacked of one blob or archive.
    pub(crate) fn meter(&self) -> Meter {
        Meter::new(self.limit())
    }

    /// Returns the state directory.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Returns a layer, or none if it is not here.
    #[must_use]
    pub fn layer(&self, id: LayerId) -> Option<Layer> {
        let mut known = self
            .shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = known.get(&id) {
            return Some(layer.clone());
        }
        self.store().hold(Unsettled::Layer(id));
        let layer = Layer::among(self, id);
        let is_here = |layer: &Layer| layer.path("index").exists();
        let is_whole =
            |layer: &Layer| is_here(layer) && matches!(layer.look_up_donor(), Donor::Nothing);
        // Without its donor, and all files of that, a layer has lost its files.
        let has_donor = || match layer.look_up_donor() {
            Donor::Nothing => true,
            Donor::Layer(donor) => {
                self.store().hold(Unsettled::Layer(donor.id()));
                is_whole(&donor)
            }
            Donor::Unknown => false,
        };
        (is_here(&layer) && has_donor()).then(|| {
            known.insert(id, layer.clone());
            layer
        })
    }

    /// Returns the layer that a tar stream of this digest holds, or none if it is not here.
    #[must_use]
    pub fn by_diff_id(&self, diff_id: DiffId) -> Option<Layer> {
        let layer = self.layer(self.named(diff_id)?)?;
        // The name may be from a description, which can say anything: a kiln that wrote or read the
        // tar says so beside the layer. If what is said there was damaged, there is the name alone.
        let has_tar = |facts: Option<LayerFacts>| {
            facts.is_none_or(|facts| facts.tars.iter().any(|tar| tar.diff_id == diff_id))
        };
        layer.stored_facts().is_ok_and(has_tar).then_some(layer)
    }

    /// Returns the layer, here or described, that is named by the digest of one of its tar streams.
    pub(crate) fn named(&self, diff_id: DiffId) -> Option<LayerId> {
        let name = diff_path(&self.shared.store, diff_id);
        let bytes = fs::read(&name).ok()?;
        let text = str::from_utf8(&bytes).unwrap_or_default();
        text.trim().parse().ok().or_else(|| {
            // There was a name; it was damaged.
            let id = self.known_as(diff_id)?;
            let _ = replace(&self.shared.store, &name, format!("{id}\n").as_bytes());
            Some(id)
        })
    }

    /// Names a layer again whose name by the digest of one of its tar streams is gone or wrong, and
    /// says whether there is one. Looks at what is known of every layer, unless another machine is
    /// known to have it: for a layer that can have come from nowhere else.
    #[must_use]
    pub fn name_lost(&self, diff_id: DiffId) -> bool {
        if self.described_as(diff_id).is_some() {
            return false;
        }
        let Some(id) = self.known_as(diff_id) else {
            return false;
        };
        let name = diff_path(&self.shared.store, diff_id);
        replace(&self.shared.store, &name, format!("{id}\n").as_bytes()).is_ok()
    }

    /// Looks for a layer by what is known of all.
    fn known_as(&self, diff_id: DiffId) -> Option<LayerId> {
        let has_tar = |id: &LayerId| {
            let facts = self.known_facts(*id);
            facts.tars.iter().any(|tar| tar.diff_id == diff_id)
        };
        let is_described = |id: &LayerId| {
            let description = description::read(self.store(), *id);
            description.is_some_and(|known| known.blob.diff_id == diff_id)
        };
        let here = self.list().unwrap_or_default().into_iter().find(has_tar);
        let described = || {
            description::list(self.store())
                .unwrap_or_default()
                .into_iter()
        };
        here.or_else(|| described().map(|(id, _)| id).find(is_described))
    }

    /// Returns the id of every layer that has a directory, whole or not, sorted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> io::Result<Vec<LayerId>> {
        let found = self.store().spread_files("layers")?;
        let mut ids: Vec<LayerId> = found
            .iter()
            .filter_map(|(_, name)| name.parse().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Returns what is known about a layer, whole or not; nothing if that is damaged.
    #[must_use]
    pub fn known_facts(&self, id: LayerId) -> LayerFacts {
        Layer::new(self.store(), id).facts().unwrap_or_default()
    }

    /// Returns the layers that were looked at.
    pub(crate) fn known(&self) -> &Mutex<HashMap<LayerId, Layer>> {
        &self.shared.known
    }

    /// Forgets what was read of a layer.
    pub(crate) fn forget(&self, id: LayerId) {
        let mut known = self.known().lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&id);
        self.known_stacks().forget();
        self.stacks_here().forget();
    }

    /// Returns the layer that a stack was made into.
    pub(crate) fn flat_layer(&self, stack: Blake3) -> Option<LayerId> {
        let flat = self.shared.flat.lock();
        let flat = flat.unwrap_or_else(PoisonError::into_inner);
        flat.get(&stack).copied()
    }

    /// Notes the layer that a stack was made into.
    pub(crate) fn keep_flat_layer(&self, stack: Blake3, id: LayerId) {
        let flat = self.shared.flat.lock();
        let mut flat = flat.unwrap_or_else(PoisonError::into_inner);
        flat.insert(stack, id);
    }

    /// Returns the stacks of which all layers are known.
    pub(crate) fn known_stacks(&self) -> &WholeStacks {
        &self.shared.known_stacks
    }

    /// Returns the stacks of which all layers are here.
    pub(crate) fn stacks_here(&self) -> &WholeStacks {
        &self.shared.stacks_here
    }

    /// Makes a directory for something unfinished.
    pub(crate) fn work(&self) -> Result<WorkDir, LayerError> {
        self.shared
            .store
            .work_dir()
            .map_err(LayerError::at(self.shared.store.path("work")))
    }
}

/// A layer in the store: a cheap handle.
#[derive(Clone, Debug)]
pub struct Layer {
    state: Arc<LayerState>,
}

#[derive(Debug)]
struct LayerState {
    id: LayerId,
    path: PathBuf,
    store: Store,
    /// Those that were looked at beside it.
    siblings: Weak<StoreState>,
    tree: OnceLock<Arc<Tree>>,
    diff_id: OnceLock<DiffId>,
}

impl Layer {
    pub(crate) fn new(store: &Store, id: LayerId) -> Self {
        Self::make(store, Weak::new(), id)
    }

    pub(crate) fn among(layers: &LayerStore, id: LayerId) -> Self {
        Self::make(&layers.shared.store, Arc::downgrade(&layers.shared), id)
    }

    fn make(store: &Store, siblings: Weak<StoreState>, id: LayerId) -> Self {
        let hex = id.to_string();
        Self {
            state: Arc::new(LayerState {
                id,
                path: store.path(format!("layers/{}/{hex}", &hex[..2])),
                store: store.clone(),
                siblings,
                tree: OnceLock::new(),
                diff_id: OnceLock::new(),
            }),
        }
    }

    /// Returns the layers of its state directory: what was read of them is not read again.
    pub(crate) fn layers(&self) -> LayerStore {
        match self.state.siblings.upgrade() {
            Some(shared) => LayerStore { shared },
            None => LayerStore::new(&self.state.store),
        }
    }

    /// Returns the request to stop, which is checked wherever many of its bytes move.
    pub(crate) fn stop(&self) -> &Stop {
        self.state.store.stop()
    }

    /// Returns where everything about it is kept.
    pub(crate) fn place(&self) -> &Path {
        &self.state.path
    }

    /// Returns kiln's name for the layer.
    #[must_use]
    pub fn id(&self) -> LayerId {
        self.state.id
    }

    /// Returns the index, read once. A layer whose index is damaged does not exist any more: its
    /// content is unknown, and it would only keep the right layer from getting its name.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn tree(&self) -> Result<Arc<Tree>, LayerError> {
        if let Some(tree) = self.state.tree.get() {
            return Ok(Arc::clone(tree));
        }
        let tree = checked_index::read(&self.state.store, &self.state.path);
        let tree = tree.map_err(|error| self.unreadable_index(error))?;
        Ok(Arc::clone(self.state.tree.get_or_init(|| Arc::new(tree))))
    }

    /// Returns the index, and looks at every entry of it, whoever did before.
    ///
    /// # Errors
    /// As [`Layer::tree`].
    pub(crate) fn tree_looked_at(&self) -> Result<Tree, LayerError> {
        checked_index::look(&self.state.path).map_err(|error| self.unreadable_index(error))
    }

    fn unreadable_index(&self, error: IndexError) -> LayerError {
        let path = self.path("index");
        match error {
            IndexError::Io(error) => LayerError::at(&path)(error),
            IndexError::Invalid(source) => {
                // One that stays is found again.
                let _ = fs::remove_file(&path);
                self.layers().forget(self.id());
                LayerError::Damaged {
                    id: self.id(),
                    source,
                }
            }
        }
    }

    /// Returns what is known about the layer besides its index. What is damaged is not known, and is
    /// found out anew.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn facts(&self) -> Result<LayerFacts, LayerError> {
        Ok(self.stored_facts()?.unwrap_or_default())
    }

    /// Returns the facts as they are stored; none if they are damaged.
    pub(crate) fn stored_facts(&self) -> Result<Option<LayerFacts>, LayerError> {
        let path = self.state.path.join("facts");
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(LayerFacts::default())),
            Err(error) => Err(LayerError::at(path)(error)),
        }
    }

    /// Remembers a tar stream of the layer, so that [`LayerStore::by_diff_id`] finds it.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn remember_tar(&self, tar: TarFacts) -> Result<(), LayerError> {
        // The name first: who reads the facts finds it there.
        self.find_by(tar.diff_id)?;
        self.update_facts(|facts| facts.learn_tar(tar))
    }

    /// Makes sure that [`LayerStore::by_diff_id`] finds the layer by the digest of one of its tars.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn find_by(&self, diff_id: DiffId) -> Result<(), LayerError> {
        if self.layers().by_diff_id(diff_id).is_some() {
            return Ok(());
        }
        let path = diff_path(&self.state.store, diff_id);
        self.replace(&path, format!("{}\n", self.id()).as_bytes())
    }

    /// Remembers a blob that holds the layer, so that it need not be packed again.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn remember_blob(&self, blob: KnownBlob) -> Result<(), LayerError> {
        self.update_facts(|facts| facts.learn_blob(blob))
    }

    /// Remembers what the layer takes on disk. Facts that are damaged stay so: new ones would deny
    /// the tars of the layer, by whose digests images call it.
    pub(crate) fn remember_usage(&self, usage: DiskUsage) -> Result<(), LayerError> {
        match self.stored_facts()? {
            Some(_) => self.update_facts(|facts| facts.disk = Some(usage)),
            None => Ok(()),
        }
    }

    /// Waits until no other thread or process makes another form of the layer; held until the file is
    /// dropped.
    pub(crate) fn lock_work(&self) -> Result<File, LayerError> {
        let index = self.state.path.join("index");
        let lock = File::open(&index).map_err(LayerError::at(&index))?;
        lock.lock().map_err(LayerError::at(&index))?;
        Ok(lock)
    }

    fn update_facts(&self, change: impl FnOnce(&mut LayerFacts)) -> Result<(), LayerError> {
        let directory = File::open(&self.state.path).map_err(LayerError::at(&self.state.path))?;
        directory.lock().map_err(LayerError::at(&self.state.path))?;
        let before = self.stored_facts()?;
        let mut after = before.clone().unwrap_or_default();
        change(&mut after);
        if Some(&after) == before.as_ref() {
            return Ok(());
        }
        self.replace(&self.state.path.join("facts"), &after.to_bytes())
    }

    pub(crate) fn store(&self) -> &Store {
        &self.state.store
    }

    /// Returns the cell of the index, filled once it was read.
    pub(crate) fn tree_cell(&self) -> &OnceLock<Arc<Tree>> {
        &self.state.tree
    }

    /// Returns the cell of the diff id, filled once it was read or computed.
    pub(crate) fn diff_id_cell(&self) -> &OnceLock<DiffId> {
        &self.state.diff_id
    }

    /// Returns the path of a file in the layer's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.state.path.join(name)
    }

    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LayerError> {
        replace(&self.state.store, path, bytes)
    }
}

impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Layer {}

impl Layer {
    /// Returns where the layer's files are, or none if it is not unpacked.
    #[must_use]
    pub fn files(&self) -> Option<LayerFiles> {
        let own = self.path("diff");
        if !own.is_dir() {
            return None;
        }
        let donor = match self.look_up_donor() {
            Donor::Nothing => return Some(LayerFiles::in_one(own)),
            Donor::Layer(donor) => donor,
            Donor::Unknown => return None,
        };
        // A donor that was lost and made again may lie on another layer itself.
        let donated = donor.path("diff");
        let has_all = matches!(donor.look_up_donor(), Donor::Nothing);
        (donated.is_dir() && has_all).then_some(LayerFiles {
            own,
            donated: Some(donated),
        })
    }

    /// Returns where the layer's files are.
    ///
    /// # Errors
    /// [`LayerError::NotUnpacked`].
    pub fn unpacked(&self) -> Result<LayerFiles, LayerError> {
        self.files()
            .ok_or_else(|| LayerError::NotUnpacked(self.id()))
    }

    /// Returns the layer whose files this one lies on, here or not; none if it has all its files.
    #[must_use]
    pub fn donor(&self) -> Option<Self> {
        match self.look_up_donor() {
            Donor::Layer(donor) => Some(donor),
            Donor::Nothing | Donor::Unknown => None,
        }
    }

    /// Looks up the layer that has the files which are not this one's own.
    pub(crate) fn look_up_donor(&self) -> Donor {
        match fs::read_to_string(self.path(DONOR)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Donor::Nothing,
            Err(_) => Donor::Unknown,
            Ok(text) => match text.trim_end().parse() {
                Ok(id) => Donor::Layer(Self::new(self.store(), id)),
                Err(_) => Donor::Unknown,
            },
        }
    }
}

/// The layer that has the files which are not a layer's own.
#[derive(Debug)]
pub(crate) enum Donor {
    /// None: all files are the layer's own.
    Nothing,
    /// Another layer, here or not.
    Layer(Layer),
    /// Some layer whose name is damaged.
    Unknown,
}
