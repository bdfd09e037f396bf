//! Layers and the store that keeps them.
//!
//! ```text
//! layers/<2 hex>/<layer id>/index   the tree, what the layer is
//! layers/<2 hex>/<layer id>/diff/   the files, in overlayfs form; may be absent, or be a part
//! layers/<2 hex>/<layer id>/facts   JSON: tar streams and blobs known to hold the same
//! layers/<2 hex>/<layer id>/{upon,owners,cover,like,states}: see their modules
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
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use kiln_cache::{Store, Unsettled, WorkDir};
use kiln_oci::{DiffId, Sha256Writer, Timestamp};
use kiln_threads::Stop;
use kiln_tree::{LayerId, Tree};
use rustix::fs::{Mode, Stat};

use crate::error::LayerError;
use crate::facts::{Facts, KnownBlob, TarFacts, TarOrigin};
use crate::files::{Below, UPON};
use crate::owner;
use crate::tar_contents::Check;
use crate::tar_write;
use crate::turns::{Turn, Turns};
use crate::unpack_limit::{Meter, UnpackLimit};

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
    unpacking: Turns,
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
                unpacking: Turns::new(cores.clamp(FEWEST_AT_ONCE, MOST_AT_ONCE)),
            }),
        }
    }

    /// Returns what one blob or archive may unpack to.
    #[must_use]
    pub fn limit(&self) -> UnpackLimit {
        self.shared.limit
    }

    /// Waits until few enough layers are being unpacked for one more.
    pub(crate) fn turn_to_unpack(&self) -> Turn<'_> {
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
        let layer = Layer::among(self, id);
        let is_here = |layer: &Layer| layer.path("index").exists();
        let is_whole = |layer: &Layer| is_here(layer) && matches!(layer.below(), Below::Nothing);
        // Without the one that it lies on, and all of that, a layer has lost its files.
        let has_rest = || match layer.below() {
            Below::Nothing => true,
            Below::Layer(below) => is_whole(&below),
            Below::Unknown => false,
        };
        (is_here(&layer) && has_rest()).then(|| {
            known.insert(id, layer.clone());
            layer
        })
    }

    /// Returns the layer that a tar stream of this digest holds, or none if it is not here.
    #[must_use]
    pub fn by_diff_id(&self, diff_id: DiffId) -> Option<Layer> {
        let layer = self.layer(self.named(diff_id)?)?;
        // The name may be from a description, which can say anything: who has written or read the
        // tar says so beside the layer. If what is said there was damaged, there is the name alone.
        let has_tar = |facts: Option<Facts>| {
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

    /// Looks for a layer by what is known of all.
    fn known_as(&self, diff_id: DiffId) -> Option<LayerId> {
        let has_tar = |id: &LayerId| {
            let facts = self.known_facts(*id);
            facts.tars.iter().any(|tar| tar.diff_id == diff_id)
        };
        let is_described = |id: &LayerId| {
            let description = self.description(*id);
            description.is_some_and(|known| known.blob.diff_id == diff_id)
        };
        let here = self.list().unwrap_or_default().into_iter().find(has_tar);
        let described = || self.list_described().unwrap_or_default().into_iter();
        here.or_else(|| described().map(|(id, _)| id).find(is_described))
    }

    /// Returns the layer without entries.
    ///
    /// # Errors
    /// When it is not here yet and cannot be made.
    pub fn empty(&self) -> Result<Layer, LayerError> {
        let tree = Tree::default();
        match self.layer(tree.layer_id()) {
            Some(layer) => Ok(layer),
            None => {
                let work = self.work()?;
                let (diff, _) = make_diff_directory(&work)?;
                self.publish(tree, Some(NewFiles::whole(&diff)), &work)
            }
        }
    }

    /// Returns the layers that were looked at.
    pub(crate) fn known(&self) -> &Mutex<HashMap<LayerId, Layer>> {
        &self.shared.known
    }

    /// Makes a directory for something unfinished.
    pub(crate) fn work(&self) -> Result<WorkDir, LayerError> {
        self.shared
            .store
            .work_dir()
            .map_err(LayerError::at(self.shared.store.path("work")))
    }

    /// Makes a finished layer visible. If it exists already, it stays, and the new files go with
    /// their work directory.
    pub(crate) fn publish(
        &self,
        tree: Tree,
        files: Option<NewFiles<'_>>,
        work: &WorkDir,
    ) -> Result<Layer, LayerError> {
        let id = tree.layer_id();
        let layer = Layer::among(self, id);
        let target = &layer.state.path;
        let staged = work.path().join("layer");
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&staged)
            .map_err(LayerError::at(&staged))?;
        let index = staged.join("index");
        fs::write(&index, tree.as_bytes()).map_err(LayerError::at(&index))?;
        if let Some(files) = &files {
            files.describe(&staged)?;
            let diff = staged.join("diff");
            fs::rename(files.diff, &diff).map_err(LayerError::at(diff))?;
        }
        let store = &self.shared.store;
        let announced = store.announce(Unsettled::Layer(id));
        let _announced = announced.map_err(LayerError::at(target))?;
        while let Err(error) = rename_into(&staged, target) {
            if !is_taken(&error) {
                return Err(LayerError::at(target)(error));
            }
            // After a power failure a file may have its name but not its bytes.
            if fs::read(target.join("index")).is_ok_and(|bytes| bytes == tree.as_bytes()) {
                if let Some(files) = &files
                    && layer.files().is_none()
                {
                    files.replace(&staged.join("diff"), target, work)?;
                }
                break;
            }
            let away = work.path().join("damaged");
            fs::rename(target, &away).map_err(LayerError::at(target))?;
        }
        let layer = self
            .shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id)
            .or_insert(layer)
            .clone();
        // Whoever made the layer reads its index next.
        let _ = layer.state.tree.set(Arc::new(tree));
        Ok(layer)
    }
}

/// The files of a layer that is about to become visible.
pub(crate) struct NewFiles<'a> {
    /// Where they lie, on the file system of the store.
    pub(crate) diff: &'a Path,
    /// The layer that has the rest of them.
    pub(crate) upon: Option<LayerId>,
    /// Whether they have other owners than the index says.
    pub(crate) lacks_owners: bool,
}

impl<'a> NewFiles<'a> {
    /// Takes a directory with all files of a layer, which no other layer has.
    pub(crate) fn whole(diff: &'a Path) -> Self {
        Self {
            diff,
            upon: None,
            lacks_owners: false,
        }
    }

    /// Writes down what has to be known about the files, before they are there.
    fn describe(&self, layer: &Path) -> Result<(), LayerError> {
        if let Some(upon) = self.upon {
            let path = layer.join(UPON);
            fs::write(&path, format!("{upon}\n")).map_err(LayerError::at(&path))?;
        }
        if self.lacks_owners {
            owner::mark(layer)?;
        }
        Ok(())
    }

    /// Puts the files, which lie at `staged` now, into a layer whose own are not all there.
    fn replace(&self, staged: &Path, layer: &Path, work: &WorkDir) -> Result<(), LayerError> {
        let (diff, upon) = (layer.join("diff"), layer.join(UPON));
        match fs::rename(&diff, work.path().join("incomplete")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(LayerError::at(&diff)(error));
            }
            _ => {}
        }
        match fs::remove_file(&upon) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(LayerError::at(&upon)(error));
            }
            _ => {}
        }
        self.describe(layer)?;
        match fs::rename(staged, &diff) {
            // Somebody else was faster.
            Err(error) if !is_taken(&error) => Err(LayerError::at(&diff)(error)),
            _ => Ok(()),
        }
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

    fn among(layers: &LayerStore, id: LayerId) -> Self {
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

    /// Returns what is looked at by whoever moves many of its bytes.
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

    /// Returns the index, read once. A layer whose index is damaged is not here any more: nobody can
    /// tell what it is, and it would only keep its place from what it should be.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn tree(&self) -> Result<Arc<Tree>, LayerError> {
        if let Some(tree) = self.state.tree.get() {
            return Ok(Arc::clone(tree));
        }
        let path = self.state.path.join("index");
        let bytes = fs::read(&path).map_err(LayerError::at(&path))?;
        let tree = Tree::from_bytes(bytes).map_err(|source| {
            // One that stays is found again.
            let _ = fs::remove_file(&path);
            self.layers().forget(self.id());
            LayerError::Damaged {
                id: self.id(),
                source,
            }
        })?;
        Ok(Arc::clone(self.state.tree.get_or_init(|| Arc::new(tree))))
    }

    /// Returns what is known about the layer besides its index. What is damaged is not known, and is
    /// found out anew.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn facts(&self) -> Result<Facts, LayerError> {
        Ok(self.stored_facts()?.unwrap_or_default())
    }

    /// Returns the facts as they are stored; none if they are damaged.
    pub(crate) fn stored_facts(&self) -> Result<Option<Facts>, LayerError> {
        let path = self.state.path.join("facts");
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Facts::default())),
            Err(error) => Err(LayerError::at(path)(error)),
        }
    }

    /// Returns the layer's diff id: the digest its image calls it by if it came from elsewhere,
    /// else that of the canonical tar, computed once and remembered.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn diff_id(&self) -> Result<DiffId, LayerError> {
        if let Some(diff_id) = self.state.diff_id.get() {
            return Ok(*diff_id);
        }
        if self.tree()?.is_empty() {
            return Ok(*self.state.diff_id.get_or_init(|| DiffId::EMPTY));
        }
        let diff_id = match self.facts()?.diff_id() {
            Some(diff_id) => diff_id,
            None => {
                // One of several that want it computes it, be they threads or processes.
                let _lock = self.lock_work()?;
                match self.facts()?.diff_id() {
                    Some(diff_id) => diff_id,
                    None => {
                        let tar = self.write_tar(&mut io::sink(), TimeClamp::None)?;
                        self.remember_tar(tar)?;
                        tar.diff_id
                    }
                }
            }
        };
        Ok(*self.state.diff_id.get_or_init(|| diff_id))
    }

    /// Writes the canonical tar of the layer and returns its digest and length.
    ///
    /// For a layer that came from elsewhere this is not the stream it came as.
    ///
    /// # Errors
    /// When the files cannot be read, or are not those of the index, or `output` fails.
    pub fn write_tar(
        &self,
        output: &mut dyn Write,
        clamp: TimeClamp,
    ) -> Result<TarFacts, LayerError> {
        let mut hashing = Sha256Writer::new(output);
        tar_write::write(self, clamp, Check::Length, &mut hashing)?;
        let (_, digest, size_bytes) = hashing.finish();
        Ok(TarFacts {
            diff_id: DiffId(digest),
            size_bytes,
            origin: TarOrigin::Canonical,
        })
    }

    /// Remembers a tar stream of the layer, so that [`LayerStore::by_diff_id`] finds it.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn remember_tar(&self, tar: TarFacts) -> Result<(), LayerError> {
        self.update_facts(|facts| facts.learn_tar(tar))?;
        self.find_by(tar.diff_id)
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

    /// Waits until nobody else makes another form of the layer; held until the file is dropped.
    pub(crate) fn lock_work(&self) -> Result<File, LayerError> {
        let index = self.state.path.join("index");
        let lock = File::open(&index).map_err(LayerError::at(&index))?;
        lock.lock().map_err(LayerError::at(&index))?;
        Ok(lock)
    }

    fn update_facts(&self, change: impl FnOnce(&mut Facts)) -> Result<(), LayerError> {
        let directory = File::open(&self.state.path).map_err(LayerError::at(&self.state.path))?;
        directory.lock().map_err(LayerError::at(&self.state.path))?;
        let before = self.stored_facts()?;
        let mut after = before.clone().unwrap_or_default();
        change(&mut after);
        if Some(&after) == before.as_ref() {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&after).expect("facts have text keys only");
        self.replace(&self.state.path.join("facts"), &bytes)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.state.store
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

/// What happens to modification times on the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimeClamp {
    /// They stay.
    #[default]
    None,
    /// Later ones become this one (SOURCE_DATE_EPOCH).
    To(Timestamp),
}

/// Makes the directory that becomes a layer's `diff`: the root of the files, so open to all.
/// Returns what it was made as: that tells whose new files are, and what the umask takes from 0777.
pub(crate) fn make_diff_directory(work: &WorkDir) -> Result<(PathBuf, Stat), LayerError> {
    let path = work.path().join("diff");
    let stat = make_open_directory(&path).map_err(LayerError::at(&path))?;
    Ok((path, stat))
}

/// Makes a directory of mode 0755 whatever the umask is, and returns what it was made as.
pub(crate) fn make_open_directory(path: &Path) -> io::Result<Stat> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o777))?;
    let stat = rustix::fs::stat(path)?;
    if stat.st_mode & 0o7777 != 0o755 {
        rustix::fs::chmod(path, Mode::from_raw_mode(0o755))?;
    }
    Ok(stat)
}

pub(crate) fn diff_path(store: &Store, diff_id: DiffId) -> PathBuf {
    store.path(format!("diffs/{}", diff_id.0.hex()))
}

/// Writes a small file, all of it or nothing.
pub(crate) fn replace(store: &Store, path: &Path, bytes: &[u8]) -> Result<(), LayerError> {
    let temporary = store.work_file().map_err(LayerError::at(path))?;
    fs::write(&temporary, bytes).map_err(LayerError::at(&temporary))?;
    rename_into(&temporary, path).map_err(LayerError::at(path))
}

/// Renames, making the directory it goes to if there is none.
pub(crate) fn rename_into(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(to.parent().expect("the store's files lie below its root"))?;
            fs::rename(from, to)
        }
        other => other,
    }
}

pub(crate) fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
    )
}
