//! Layers of base images: fetched and unpacked when a step needs their files, not before.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_exporter::sources;
use kiln_oci::{Descriptor, DiffId, Image, ImageRef, MediaKind, Sha256, TaggedRef};
use kiln_registry::{Client, ErrorClass, TransferStep};
use kiln_snapshotter::Layer;
use kiln_solver::{
    Fault, LayerFetchError, Layers, LayersError, Op, Plan, Reporter, Step, VertexEnd,
};
use kiln_threads::Task;
use kiln_tree::LayerId;

use crate::Error;
use crate::error::unpack_hint;
use crate::repair;
use crate::shared_cache::fetch;
use crate::storage::damage::{self, Finding};
use crate::stores::Stores;

/// Fetches and unpacks the layers of one build's bases.
#[derive(Debug)]
pub(crate) struct Fetcher<'a> {
    pub(crate) stores: &'a Stores,
    pub(crate) client: &'a Client,
    pub(crate) bases: &'a HashMap<Sha256, (TaggedRef, Image)>,
    pub(crate) reporter: &'a Reporter<'a>,
    /// What progress calls each base.
    names: HashMap<Sha256, &'a str>,
    /// One slot for each base: the first step that needs it fetches it, the others wait.
    slots: Mutex<HashMap<Sha256, Slot>>,
    /// Held by the step that fetches layers of other machines.
    turn: Mutex<()>,
}

type Slot = Arc<Mutex<Option<Vec<Layer>>>>;

impl<'a> Fetcher<'a> {
    pub(crate) fn new(
        stores: &'a Stores,
        client: &'a Client,
        plan: &'a Plan,
        reporter: &'a Reporter<'a>,
    ) -> Self {
        let name = |(_, step): (_, &'a Step)| match &step.op {
            Op::From(from) => Some((from.manifest, step.name.as_str())),
            _ => None,
        };
        Self {
            stores,
            client,
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
        let layers = unpacked_layers(
            self.stores,
            self.client,
            name,
            image,
            &Watcher::Build(self.reporter, self.names[&manifest]),
        )
        .map_err(|error| LayersError {
            message: error.full_message(),
            fault: if error.kind().is_of_environment() {
                Fault::Environment
            } else {
                Fault::Input
            },
        })?;
        *slot = Some(layers.clone());
        Ok(layers)
    }

    fn fetch_and_unpack(&self, layers: &[LayerId]) -> Result<Vec<Layer>, LayerFetchError> {
        // A thread that waited here finds the layers that the other one fetched.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        fetch::fetch_and_unpack(self.stores, self.client, layers, self.reporter)
    }

    fn are_here(&self, manifest: Sha256) -> bool {
        let (_, image) = &self.bases[&manifest];
        image
            .layers()
            .all(|(diff_id, _)| unpacked_layer(self.stores, diff_id).is_some())
    }
}

/// Returns the layers of an image, unpacked, lowest first; fetches what is missing.
pub(crate) fn unpacked_layers(
    stores: &Stores,
    client: &Client,
    name: &ImageRef,
    image: &Image,
    watcher: &Watcher<'_>,
) -> Result<Vec<Layer>, Error> {
    let wanted: Vec<(DiffId, &Descriptor)> = image.layers().collect();
    let mut layers: Vec<Option<Layer>> = wanted
        .iter()
        .map(|(diff_id, _)| unpacked_layer(stores, *diff_id))
        .collect();
    let missing: Vec<usize> = (0..wanted.len()).filter(|i| layers[*i].is_none()).collect();
    if !missing.is_empty() {
        let vertex = match watcher {
            Watcher::Build(reporter, shown) => Some(reporter.start(shown)),
            Watcher::Other(_) => None,
        };
        let report = |progress: &LayerProgress| match (watcher, &vertex) {
            (Watcher::Other(report), _) => report(progress),
            (_, Some(vertex)) => {
                let is_over = progress.done_bytes == progress.size_bytes;
                let part = match progress.work {
                    LayerWork::Downloading => progress.digest.to_string(),
                    LayerWork::Extracting => format!("extracting {}", progress.digest),
                };
                vertex.status(
                    &part,
                    progress.done_bytes,
                    Some(progress.size_bytes),
                    is_over,
                );
            }
            _ => {}
        };
        let results: Vec<Result<Layer, Error>> = std::thread::scope(|scope| {
            let threads: Vec<_> = missing
                .iter()
                .map(|&position| {
                    let (diff_id, descriptor) = wanted[position];
                    let report = &report;
                    kiln_threads::spawn_or_run(scope, move || {
                        unpack(stores, client, name, diff_id, descriptor, report)
                    })
                })
                .collect();
            threads.into_iter().map(Task::join).collect()
        });
        for (position, result) in missing.into_iter().zip(results) {
            match result {
                Ok(layer) => layers[position] = Some(layer),
                Err(error) => {
                    if let Some(vertex) = vertex {
                        vertex.end(match &error {
                            Error::Cancelled => VertexEnd::Cancelled,
                            error => VertexEnd::Failed(error.full_message()),
                        });
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

pub(crate) fn unpacked_layer(stores: &Stores, diff_id: DiffId) -> Option<Layer> {
    match diff_id {
        DiffId::EMPTY => stores.layers.empty().ok(),
        // One whose files were taken away is unpacked again.
        diff_id => stores
            .layers
            .by_diff_id(diff_id)
            .filter(|layer| layer.files().is_some()),
    }
}

/// Downloads one layer and unpacks it on the way; the blob is kept too.
fn unpack(
    stores: &Stores,
    client: &Client,
    name: &ImageRef,
    diff_id: DiffId,
    descriptor: &Descriptor,
    report: &(dyn Fn(&LayerProgress) + Sync),
) -> Result<Layer, Error> {
    // A layer that was made here has no blob and is nowhere else: only its name can have been lost.
    let mut was_here = stores.blobs.has(descriptor);
    let has_origin = !sources(&stores.blobs, descriptor.digest).is_empty();
    if !was_here
        && !has_origin
        && stores.layers.name_lost(diff_id)
        && let Some(layer) = unpacked_layer(stores, diff_id)
    {
        return Ok(layer);
    }
    // The blob of a layer that another machine made is not what a local manifest names. A
    // description can be wrong, though, and then what the manifest names is all there is.
    let mut elsewhere = None;
    if let Some((id, description)) = stores.layers.described_as(diff_id)
        && !was_here
    {
        match fetch::fulfil_for_image(stores, client, id, &description) {
            Err(error) if !matches!(error, Error::Cancelled) => elsewhere = Some(error),
            other => return other,
        }
    }
    let MediaKind::Layer(compression) = MediaKind::of(&descriptor.media_type) else {
        return Err(Error::input(format!(
            "layer {} of {name} has the unsupported media type {}",
            descriptor.digest, descriptor.media_type
        )));
    };
    let report = |work: LayerWork, done_bytes: u64| {
        report(&LayerProgress {
            digest: descriptor.digest,
            work,
            done_bytes,
            size_bytes: descriptor.size_bytes,
        });
    };
    let observer = |event: kiln_registry::TransferEvent| match event.step {
        TransferStep::Downloading { done_bytes } => report(LayerWork::Downloading, done_bytes),
        TransferStep::Downloaded => report(LayerWork::Downloading, descriptor.size_bytes),
        _ => {}
    };
    let extracting = |done_bytes: u64| report(LayerWork::Extracting, done_bytes);
    let fetch = || {
        let fetched = client.fetch_blob(name, descriptor, &stores.blobs, &observer);
        fetched.map_err(|error| {
            if has_origin {
                Error::registry(Some(name), error)
            } else {
                lost(name, descriptor, error)
            }
        })
    };
    fetch().map_err(|error| elsewhere.unwrap_or(error))?;
    loop {
        let blob = stores
            .blobs
            .open(descriptor.digest)
            .map_err(|error| Error::environment("cannot read a layer", error))?;
        let blob = Counted::new(blob, &extracting);
        let error = match stores.layers.apply(blob, Some(compression), diff_id) {
            Ok(layer) => {
                extracting(descriptor.size_bytes);
                return Ok(layer);
            }
            Err(error) => error,
        };
        stores.go_on()?;
        let hint = unpack_hint(&error);
        let doing = format!("cannot unpack layer {} of {name}", descriptor.digest);
        let error = Error::environment(doing, error).with_hint_if(hint);
        let is_damaged = || {
            let finding = damage::look_at_blob(stores, descriptor.digest);
            matches!(finding, Some(Finding::Damaged(_)))
        };
        // What just came was compared.
        if !was_here || !is_damaged() {
            return Err(error);
        }
        was_here = false;
        repair::make_again(stores, descriptor.digest, &fetch, error)?;
    }
}

/// Returns the error for a layer that could not be fetched by the name of its image, and that no
/// registry is known to have: of an image that was built or loaded here, it was lost.
fn lost(name: &ImageRef, descriptor: &Descriptor, error: kiln_registry::Error) -> Error {
    if error.class() == ErrorClass::Cancelled {
        return Error::Cancelled;
    }
    let layer = descriptor.digest.short();
    let name = name.familiar_repository();
    Error::environment(
        format!("layer {layer} of {name} is not here any more, and cannot be fetched"),
        error,
    )
    .with_hint(format!(
        "build, load or pull {name} again; kiln cache verify says what else is damaged"
    ))
}

/// How far a layer has come on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerProgress {
    /// The layer, as registries name it.
    pub digest: Sha256,
    /// What is being done with it.
    pub work: LayerWork,
    /// Packed bytes that this was done with.
    pub done_bytes: u64,
    /// Packed bytes of the layer.
    pub size_bytes: u64,
}

/// What is done with a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerWork {
    /// It comes from a registry.
    Downloading,
    /// It becomes files.
    Extracting,
}

/// Who is told how the layers of an image come to the disk.
pub(crate) enum Watcher<'a> {
    /// A build that shows them under a name.
    Build(&'a Reporter<'a>, &'a str),
    /// Another verb than a build.
    Other(&'a (dyn Fn(&LayerProgress) + Sync)),
}

/// Counts what is read, and tells of it now and then.
struct Counted<'a, R> {
    inner: R,
    done_bytes: u64,
    told_bytes: u64,
    tell: &'a (dyn Fn(u64) + Sync),
}

/// Between two words about progress.
const STRIDE_BYTES: u64 = 1 << 20;

impl<'a, R> Counted<'a, R> {
    fn new(inner: R, tell: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self {
            inner,
            done_bytes: 0,
            told_bytes: 0,
            tell,
        }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.done_bytes += length as u64;
        if self.done_bytes - self.told_bytes >= STRIDE_BYTES {
            self.told_bytes = self.done_bytes;
            (self.tell)(self.done_bytes);
        }
        Ok(length)
    }
}
