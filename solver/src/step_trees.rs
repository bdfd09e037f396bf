//! The trees that a step starts from and reads: merged views of layers, and contexts.

use std::collections::HashMap;
use std::fs::File;
use std::io;

use kiln_cache::{Blobs, BuiltLayer, LayerStack, Store};
use kiln_files::GuestPath;
use kiln_snapshotter::{Layer, LayerStore, ParentView, RecentViews};
use kiln_threads::Stop;
use kiln_tree::{Entry, LayerId};

use crate::context::ScannedContext;
use crate::files::{Files, NoFiles};
use crate::graph::{FileSource, StepId};
use crate::layers::{LayerFetchError, Layers};
use crate::step_error::StepError;

/// How the layers of states come to the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerLoader<'a> {
    pub(crate) store: &'a Store,
    pub(crate) layers: &'a LayerStore,
    pub(crate) bases: &'a (dyn Layers + 'a),
    pub(crate) views: &'a RecentViews,
    pub(crate) stop: &'a Stop,
}

impl LayerLoader<'_> {
    /// Says whether the user asked to stop, which then is why steps fail.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.stop.is_asked() || self.store.stop().is_asked()
    }
}

/// The layers below a step, on disk, and the merged view of them.
///
/// The next step mostly starts from the same layers and one more, so the view stays for it.
#[derive(Debug)]
pub(crate) struct LocalStack<'a> {
    views: &'a RecentViews,
    state: LayerStack,
    view: ParentView,
}

impl<'a> LocalStack<'a> {
    pub(crate) fn new(from: LayerLoader<'a>, state: &LayerStack) -> Result<Self, StepError> {
        let (mut view, lacking) = match from.views.take(state) {
            Some(begun) => begun,
            None => {
                let base = match state.base() {
                    Some(manifest) => from.bases.layers(manifest)?,
                    None => Vec::new(),
                };
                (ParentView::new(&base)?, state.layers())
            }
        };
        for layer in made(from, &lacking)? {
            view.push(layer)?;
        }
        Ok(Self {
            views: from.views,
            state: state.clone(),
            view,
        })
    }

    /// Returns the layers, lowest first.
    pub(crate) fn layers(&self) -> &[Layer] {
        self.view.layers()
    }

    pub(crate) fn view(&self) -> &ParentView {
        &self.view
    }
}

impl Drop for LocalStack<'_> {
    fn drop(&mut self) {
        let view = std::mem::take(&mut self.view);
        self.views.give_back(&self.state, view);
    }
}

/// Returns the layers that steps made; those of which no files are here are fetched and unpacked.
fn made(from: LayerLoader<'_>, layers: &[BuiltLayer]) -> Result<Vec<Layer>, StepError> {
    let ids = layers.iter().map(|built| built.layer);
    let mut found: Vec<(LayerId, Option<Layer>)> =
        ids.map(|id| (id, from.layers.layer(id))).collect();
    let missing = found.iter().filter(|(_, layer)| layer.is_none());
    let missing: Vec<LayerId> = missing.map(|(id, _)| *id).collect();
    if !missing.is_empty() {
        if let Some(gone) = missing.iter().find(|id| !from.layers.knows(**id)) {
            return Err(StepError::Vanished(*gone));
        }
        let fetched = from
            .bases
            .fetch_and_unpack(&missing)
            .map_err(|error| match error {
                LayerFetchError::Lost(layer) => StepError::Lost(layer),
                LayerFetchError::Failed(error) => StepError::Layers(error),
                LayerFetchError::Cancelled => StepError::Cancelled,
            })?;
        let empty = found.iter_mut().filter(|(_, layer)| layer.is_none());
        for ((_, place), layer) in empty.zip(fetched) {
            *place = Some(layer);
        }
    }
    let layers: Vec<Layer> = found.into_iter().filter_map(|(_, layer)| layer).collect();
    let blobs = Blobs::new(from.store);
    for layer in &layers {
        // If another program deleted its files, they are unpacked from a blob; without a blob the
        // step runs again.
        if from.layers.materialise(layer, &blobs).is_err() {
            if from.is_cancelled() {
                return Err(StepError::Cancelled);
            }
            if from.layers.give_up(layer)? {
                return Err(StepError::Lost(layer.id()));
            }
        }
    }
    Ok(layers)
}

impl Files for LocalStack<'_> {
    fn get(&self, path: &[u8]) -> Option<Entry<'_>> {
        self.view.get(&GuestPath::from_clean(path)?)
    }

    fn below(&self, directory: &[u8]) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        match GuestPath::from_clean(directory) {
            Some(directory) => Box::new(self.view.walk(&directory).map(|found| found.entry)),
            None => Box::new(std::iter::empty()),
        }
    }

    fn names(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        GuestPath::from_clean(directory)
            .and_then(|directory| self.view.list(&directory))
            .unwrap_or_default()
    }

    fn open(&self, path: &[u8]) -> io::Result<File> {
        let path = GuestPath::from_clean(path).ok_or(io::ErrorKind::InvalidInput)?;
        let found = self.view.find(&path).ok_or(io::ErrorKind::NotFound)?;
        self.view.open(&found).map_err(io::Error::other)
    }

    fn layer_of(&self, path: &[u8]) -> Option<LayerId> {
        let found = self.view.find(&GuestPath::from_clean(path)?)?;
        Some(self.view.layer_id(&found))
    }
}

/// The trees that a step reads besides its parent's.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    contexts: &'a [ScannedContext],
    steps: HashMap<StepId, LocalStack<'a>>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(
        from: LayerLoader<'a>,
        contexts: &'a [ScannedContext],
        states: &HashMap<StepId, LayerStack>,
    ) -> Result<Self, StepError> {
        let steps = states
            .iter()
            .map(|(step, state)| Ok((*step, LocalStack::new(from, state)?)))
            .collect::<Result<_, StepError>>()?;
        Ok(Self { contexts, steps })
    }

    /// Returns the files of a step; none for an empty root.
    pub(crate) fn step(&self, step: Option<StepId>) -> Option<&LocalStack<'a>> {
        Some(&self.steps[&step?])
    }

    pub(crate) fn files(&self, source: FileSource) -> &dyn Files {
        match source {
            FileSource::Context(context) => &self.contexts[context.0],
            FileSource::Step(step) => &self.steps[&step],
            FileSource::Nothing => &NoFiles,
        }
    }
}
