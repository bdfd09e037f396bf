//! Publication of a finished layer: it is renamed to its name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use kiln_cache::{DiskUsage, Unsettled, WorkDir};
use kiln_tree::{LayerId, Tree};

use kiln_files::{is_taken, unless_gone};

use crate::checked_index;
use crate::error::LayerError;
use crate::facts::LayerFacts;
use crate::layer::{Layer, LayerStore};
use crate::layer_files::DONOR;
use crate::owners;
use crate::place::{make_diff_directory, rename_into};
use crate::usage;

/// The files of a layer that is about to become visible.
pub(crate) struct UnpublishedFiles<'a> {
    /// Where they lie, on the file system of the store.
    pub(crate) diff: &'a Path,
    /// The layer whose files they lie on.
    pub(crate) donor: Option<LayerId>,
    /// Whether they have other owners than the index says.
    pub(crate) lacks_owners: bool,
    /// What they take on disk.
    pub(crate) usage: DiskUsage,
}

impl<'a> UnpublishedFiles<'a> {
    /// Takes a directory with all files of a layer, which no other layer has.
    pub(crate) fn whole(diff: &'a Path, usage: DiskUsage) -> Self {
        Self {
            diff,
            donor: None,
            lacks_owners: false,
            usage,
        }
    }

    /// Writes down what has to be known about the files, before they are there.
    fn describe(&self, layer: &Path) -> Result<(), LayerError> {
        if let Some(donor) = self.donor {
            let path = layer.join(DONOR);
            fs::write(&path, format!("{donor}\n")).map_err(LayerError::at(&path))?;
        }
        if self.lacks_owners {
            owners::mark(layer)?;
        }
        Ok(())
    }

    /// Puts the files, which lie at `staged` now, into a layer whose own are not all there.
    fn replace(&self, staged: &Path, layer: &Path, work: &WorkDir) -> Result<(), LayerError> {
        let (diff, donor) = (layer.join("diff"), layer.join(DONOR));
        let away = fs::rename(&diff, work.path().join("incomplete"));
        unless_gone(away).map_err(LayerError::at(&diff))?;
        unless_gone(fs::remove_file(&donor)).map_err(LayerError::at(&donor))?;
        self.describe(layer)?;
        match fs::rename(staged, &diff) {
            // Another kiln made it first.
            Err(error) if !is_taken(&error) => Err(LayerError::at(&diff)(error)),
            _ => Ok(()),
        }
    }
}

impl LayerStore {
    /// Makes a finished layer visible. If it exists already, it stays, and the new files go with
    /// their work directory.
    pub(crate) fn publish(
        &self,
        tree: Tree,
        files: &UnpublishedFiles<'_>,
        work: &WorkDir,
    ) -> Result<Layer, LayerError> {
        let id = tree.layer_id();
        let layer = Layer::among(self, id);
        let target = layer.place();
        let staged = work.path().join("layer");
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&staged)
            .map_err(LayerError::at(&staged))?;
        let facts = LayerFacts {
            disk: Some(usage::of_layer(&tree, files.usage)),
            ..LayerFacts::default()
        };
        let index = staged.join("index");
        write_index(&index, &tree).map_err(LayerError::at(&index))?;
        // Without the note the next command looks at all entries.
        let _ = checked_index::note(self.store(), &staged, &tree);
        let path = staged.join("facts");
        fs::write(&path, facts.to_bytes()).map_err(LayerError::at(&path))?;
        files.describe(&staged)?;
        let diff = staged.join("diff");
        fs::rename(files.diff, &diff).map_err(LayerError::at(diff))?;
        let store = self.store();
        store.hold(Unsettled::Layer(id));
        let announced = store.announce(Unsettled::Layer(id));
        let _announced = announced.map_err(LayerError::at(target))?;
        while let Err(error) = rename_into(&staged, target) {
            if !is_taken(&error) {
                return Err(LayerError::at(target)(error));
            }
            // After a power failure a file may have its name but not its bytes.
            if has_index(target, &tree) {
                if layer.files().is_none() {
                    files.replace(&staged.join("diff"), target, work)?;
                    // A size that is not noted is measured when it is wanted.
                    let _ = layer.remember_usage(usage::of_layer(&tree, files.usage));
                }
                break;
            }
            let away = work.path().join("damaged");
            fs::rename(target, &away).map_err(LayerError::at(target))?;
        }
        store.grow(usage::of_layer(&tree, files.usage));
        let layer = self
            .known()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id)
            .or_insert(layer)
            .clone();
        // The step that made the layer reads its index next.
        let _ = layer.tree_cell().set(Arc::new(tree));
        Ok(layer)
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
                let files = UnpublishedFiles::whole(&diff, DiskUsage::default());
                self.publish(tree, &files, &work)
            }
        }
    }
}

fn write_index(path: &Path, tree: &Tree) -> io::Result<()> {
    let mut file = BufWriter::new(File::create_new(path)?);
    tree.write(&mut file)?;
    file.flush()
}

/// Says whether the layer at a path has this index.
fn has_index(layer: &Path, tree: &Tree) -> bool {
    checked_index::look(layer).is_ok_and(|found| found == *tree)
}
