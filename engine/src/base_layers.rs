//! Layers of base images: fetched and unpacked when a step needs their files, not before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_cache::{Descriptor, DiffId, Image, ImageRef, LayerId, MediaKind, Sha256};
use kiln_registry::Step;
use kiln_snapshotter::Layer;
use kiln_solver::{
    BringError, Fault, Layers, LayersError, Op, Plan, Reporter, Step as PlannedStep, Vertex,
    VertexEnd,
};

use crate::error::chain;
use crate::{Engine, Error, ErrorClass};

/// Brings the layers of one build's bases to the disk.
#[derive(Debug)]
pub(crate) struct Fetcher<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) bases: &'a HashMap<Sha256, (ImageRef, Image)>,
    pub(crate) reporter: &'a Reporter<'a>,
    /// What progress calls each base.
    names: HashMap<Sha256, &'a str>,
    /// One slot for each base: the first step that needs it fetches it, the others wait.
    slots: Mutex<HashMap<Sha256, Slot>>,
    /// Held by whoever brings layers of other machines.
    turn: Mutex<()>,
}

type Slot = Arc<Mutex<Option<Vec<Layer>>>>;

impl<'a> Fetcher<'a> {
    pub(crate) fn new(engine: &'a Engine, plan: &'a Plan, reporter: &'a Reporter<'a>) -> Self {
        let name = |(_, step): (_, &'a PlannedStep)| match &step.op {
            Op::From(from) => Some((from.manifest, step.name.as_str())),
            _ => None,
        };
        Self {
            engine,
            bases: &plan.bases,
            reporter,
            names: plan.graph.steps().filter_map(name).collect(),
            slots: Mutex::default(),
            turn: Mutex::default(),
        }
    }
}

impl Layers for Fetcher<'_> {
    fn layers(&self, manifest: Sha256) -> Result<Vec<Layer>, LayersError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(manifest).or_default().clone()
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layers) = &*slot {
            return Ok(layers.clone());
        }
        let (name, image) = &self.bases[&manifest];
        let layers = self
            .engine
            .unpacked_layers(name, image, Some((self.reporter, self.names[&manifest])))
            .map_err(|error| LayersError {
                message: error.to_string(),
                fault: match error.class() {
                    ErrorClass::Environment | ErrorClass::Cancelled => Fault::Environment,
                    ErrorClass::Input | ErrorClass::Step => Fault::Input,
                },
            })?;
        *slot = Some(layers.clone());
        Ok(layers)
    }

    fn bring(&self, layers: &[LayerId]) -> Result<Vec<Layer>, BringError> {
        // Who waits finds here what the other one brought.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.engine.bring(layers, self.reporter)
    }

    fn are_here(&self, manifest: Sha256) -> bool {
        let (_, image) = &self.bases[&manifest];
        image
            .layers()
            .all(|(diff_id, _)| self.engine.unpacked_layer(diff_id).is_some())
    }
}

impl Engine {
    /// Returns the layers of an image, unpacked, lowest first; fetches what is missing.
    pub(crate) fn unpacked_layers(
        &self,
        name: &ImageRef,
        image: &Image,
        report: Option<(&Reporter<'_>, &str)>,
    ) -> Result<Vec<Layer>, Error> {
        let wanted: Vec<(DiffId, &Descriptor)> = image.layers().collect();
        let mut layers: Vec<Option<Layer>> = wanted
            .iter()
            .map(|(diff_id, _)| self.unpacked_layer(*diff_id))
            .collect();
        let missing: Vec<usize> = (0..wanted.len()).filter(|i| layers[*i].is_none()).collect();
        if !missing.is_empty() {
            let vertex = report.map(|(reporter, shown)| reporter.start(shown));
            let results: Vec<Result<Layer, Error>> = std::thread::scope(|scope| {
                let threads: Vec<_> = missing
                    .iter()
                    .map(|&position| {
                        let (diff_id, descriptor) = wanted[position];
                        let vertex = vertex.as_ref();
                        scope.spawn(move || self.unpack(name, diff_id, descriptor, vertex))
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("unpacking does not panic"))
                    .collect()
            });
            for (position, result) in missing.into_iter().zip(results) {
                match result {
                    Ok(layer) => layers[position] = Some(layer),
                    Err(error) => {
                        if let Some(vertex) = vertex {
                            vertex.end(VertexEnd::Failed(error.to_string()));
                        }
                        return Err(error);
                    }
                }
            }
            if let Some(vertex) = vertex {
                vertex.end(VertexEnd::Done);
            }
        }
        Ok(layers.into_iter().flatten().collect())
    }

    pub(crate) fn unpacked_layer(&self, diff_id: DiffId) -> Option<Layer> {
        match diff_id {
            DiffId::EMPTY => self.layers.empty().ok(),
            // One whose files were taken away is unpacked again.
            diff_id => self
                .layers
                .by_diff_id(diff_id)
                .filter(|layer| layer.files().is_some()),
        }
    }

    /// Downloads one layer and unpacks it on the way; the blob is kept too.
    fn unpack(
        &self,
        name: &ImageRef,
        diff_id: DiffId,
        descriptor: &Descriptor,
        vertex: Option<&Vertex<'_>>,
    ) -> Result<Layer, Error> {
        // The blob of a layer that another machine made is not what a local manifest names.
        if let Some((id, description)) = self.layers.described_as(diff_id)
            && !self.blobs.contains(descriptor.digest)
        {
            return self.fulfil_for_image(id, &description);
        }
        let MediaKind::Layer(compression) = MediaKind::of(&descriptor.media_type) else {
            return Err(Error::input(format!(
                "layer {} of {name} has the unsupported media type {}",
                descriptor.digest, descriptor.media_type
            )));
        };
        let part = descriptor.digest.to_string();
        let report = |done: u64, finished: bool| {
            if let Some(vertex) = vertex {
                vertex.status(&part, done, Some(descriptor.size_bytes), finished);
            }
        };
        let observer = |event: kiln_registry::Event| match event.step {
            Step::Downloading { done_bytes } => report(done_bytes, false),
            Step::Downloaded | Step::AlreadyHere => report(descriptor.size_bytes, true),
            _ => {}
        };
        self.client
            .fetch_blob(name, descriptor, &self.blobs, &observer)
            .map_err(|error| Error::registry(Some(name), &error))?;
        let blob = self
            .blobs
            .open(descriptor.digest)
            .map_err(|error| Error::environment("cannot read a layer", &error))?;
        self.layers
            .apply(blob, Some(compression), diff_id)
            .map_err(|error| Error::Environment {
                message: format!(
                    "cannot unpack layer {} of {name}: {}",
                    descriptor.digest,
                    chain(&error)
                ),
                hint: None,
            })
    }
}
