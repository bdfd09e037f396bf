//! From records here to a cache elsewhere.
//!
//! Layers are packed as images have them, so what an image and a cache share is packed once and,
//! in the same registry, sent once. A layer that is only described stays where it is if the cache
//! goes to the same registry.

use std::collections::HashSet;
use std::sync::Arc;

use kiln_cache::{ActionKey, ActionRecord, CacheBackend as _, LayerStack};
use kiln_exporter as exporter;
use kiln_exporter::{
    CacheForm, CacheWriter, ExportLayer, LayerPlace, LayerSource, NamedImage, PackedLayer,
    SharedCache, SharedLayer, sources,
};
use kiln_oci::{Descriptor, MediaKind};
use kiln_registry::Client;
use kiln_snapshotter::TarFacts;
use kiln_solver::{Op, Plan, Reporter, StepId, Vertex, VertexEnd};
use kiln_threads::Stop;
use kiln_tree::LayerId;

use super::tiered::TieredCache;
use crate::Error;
use crate::error::Explanation;
use crate::origins;
use crate::packing::{packing, report, report_packing};
use crate::repair::{self, Undelivered};
use crate::request::{
    BuildRequest, CacheDestination, CacheManifest, CacheMode, CacheTarget, MountContents, OnFailure,
};
use crate::shared_cache::fetch;
use crate::stores::Stores;

/// The build argument that asks for a cache inside the image.
const INLINE: &str = "BUILDKIT_INLINE_CACHE";

/// What a build has to share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shareable<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) tiered: &'a TieredCache<'a>,
    /// The key of each step, in the graph's order; none if nothing was solved.
    pub(crate) recipes: &'a [ActionKey],
    /// The files of each step, in the graph's order; none where the solver did not need them.
    pub(crate) known: &'a [Option<LayerStack>],
    pub(crate) stop: &'a Stop,
}

impl Shareable<'_> {
    /// Returns the records of steps that there are, with the keys of their recipes.
    fn records(&self, stores: &Stores, steps: &[StepId]) -> Vec<(ActionKey, ActionRecord)> {
        let is_step = |id: &&StepId| !matches!(self.plan.graph.step(**id).op, Op::From(_));
        let keys: Vec<ActionKey> = steps
            .iter()
            .filter(is_step)
            .filter_map(|id| self.recipes.get(id.index()).copied())
            .collect();
        let records = self.tiered.get_many(&keys);
        let is_whole = |record: &ActionRecord| stores.layers.knows_all(&record.state);
        keys.into_iter()
            .zip(records)
            .filter_map(|(key, record)| Some((key, record.filter(|record| is_whole(record))?)))
            .collect()
    }

    /// Returns a step and those whose layers lie below its own.
    fn chain(&self, root: Option<StepId>) -> Vec<StepId> {
        let mut steps = Vec::new();
        let mut next = root;
        while let Some(id) = next {
            steps.push(id);
            next = self.plan.graph.step(id).parent;
        }
        steps.reverse();
        steps
    }

    fn steps(&self, mode: CacheMode) -> Vec<StepId> {
        match mode {
            CacheMode::Max => self.plan.graph.steps().map(|(id, _)| id).collect(),
            CacheMode::Min => {
                let targets = self.plan.targets.iter();
                let mut seen = HashSet::new();
                let all = targets.flat_map(|target| self.chain(target.root));
                all.filter(|id| seen.insert(*id)).collect()
            }
        }
    }

    /// Returns the cache that goes into an image with the files of `root`: `state`, whose layers the
    /// image has above those of its base as these tars. Layers whose times the image changes are
    /// others, and what names them is left out.
    pub(crate) fn inline(
        &self,
        stores: &Stores,
        root: Option<StepId>,
        state: &LayerStack,
        tars: &[TarFacts],
        base_layers: usize,
    ) -> Result<SharedCache, Error> {
        let mut layers: Vec<SharedLayer> = Vec::new();
        for (position, (built, tar)) in state.layers().iter().zip(tars).enumerate() {
            if built_tar(stores, built.layer)? == *tar {
                layers.push(SharedLayer {
                    id: built.layer,
                    diff_id: tar.diff_id,
                    tar_bytes: tar.size_bytes,
                    place: LayerPlace::Position(base_layers + position),
                });
            }
        }
        let mut writer = CacheWriter::new(layers);
        for (key, record) in self.records(stores, &self.chain(root)) {
            writer.add(key, &record);
        }
        Ok(writer.finish())
    }
}

/// Says whether the images are to hold a cache.
pub(crate) fn wants_inline(request: &BuildRequest) -> bool {
    let asked = request.build_args.get(INLINE);
    let is_inline = |target: &CacheTarget| target.to == CacheDestination::Inline;
    asked.is_some_and(|text| kiln_parser::parse_bool(text) == Some(true))
        || request.cache_to.iter().any(is_inline)
}

/// Returns kiln's own tar of a layer that a step made, be it here or described only.
pub(crate) fn built_tar(stores: &Stores, id: LayerId) -> Result<TarFacts, Error> {
    if let Some(layer) = stores.layers.layer(id) {
        return layer
            .canonical_tar()
            .map_err(|error| Error::environment("cannot read a layer", error));
    }
    match stores.layers.description(id) {
        Some(description) => Ok(description.tar()),
        None => Err(fetch::gone(id)),
    }
}

/// Writes the caches that a build is asked for, and returns what the last one is.
pub(crate) fn export_caches(
    stores: &Stores,
    client: &Client,
    request: &BuildRequest,
    sharing: &Shareable<'_>,
    reporter: &Reporter<'_>,
) -> Result<Option<Descriptor>, Error> {
    let mut exported = None;
    for target in &request.cache_to {
        let vertex = match &target.to {
            CacheDestination::Inline => continue,
            to => reporter.start(&format!("exporting cache to {to}")),
        };
        let result = export_cache(stores, client, target, sharing, &vertex, reporter);
        let result = result.map_err(|error| stores.or_cancelled(error));
        match (result, target.on_failure) {
            (Ok(descriptor), _) => {
                vertex.end(VertexEnd::Done);
                exported = Some(descriptor);
            }
            (Err(Error::Cancelled), _) => {
                vertex.end(VertexEnd::Cancelled);
                return Err(Error::Cancelled);
            }
            (Err(error), OnFailure::Warn) => {
                vertex.end(VertexEnd::Done);
                let message = format!(
                    "the cache was not exported to {}: {}",
                    target.to,
                    error.full_message()
                );
                reporter.warn(message);
            }
            (Err(error), OnFailure::Fail) => {
                let error = failed(&target.to, error);
                vertex.end(VertexEnd::Failed(error.full_message()));
                return Err(error);
            }
        }
    }
    Ok(exported)
}

fn export_cache(
    stores: &Stores,
    client: &Client,
    target: &CacheTarget,
    sharing: &Shareable<'_>,
    vertex: &Vertex<'_>,
    reporter: &Reporter<'_>,
) -> Result<Descriptor, Error> {
    let tell = |message: &str| reporter.warn(message);
    let make = || cache_image(stores, client, target, sharing, vertex, reporter);
    let image = repair::deliver(stores, &tell, make, |image| match &target.to {
        CacheDestination::Registry { name, .. } => push_cache(stores, client, name, image, vertex),
        CacheDestination::Local {
            directory,
            tag,
            stale,
        } => {
            let stop = stores.store.stop();
            Ok(exporter::write_cache_layout(
                image, directory, tag, *stale, stop,
            )?)
        }
        CacheDestination::Inline => Ok(()),
    })?;
    Ok(image.root.descriptor)
}

/// Puts a cache together.
fn cache_image(
    stores: &Stores,
    client: &Client,
    target: &CacheTarget,
    sharing: &Shareable<'_>,
    vertex: &Vertex<'_>,
    reporter: &Reporter<'_>,
) -> Result<NamedImage, Error> {
    let records = sharing.records(stores, &sharing.steps(target.mode));
    let layers = pack(stores, client, target, &records, (vertex, reporter))?;
    let mut writer = CacheWriter::new(layers.iter().map(PackedLayer::shared).collect());
    for (key, record) in &records {
        writer.add(*key, record);
    }
    let mut blobs: Vec<ExportLayer> = layers.into_iter().map(|layer| layer.blob).collect();
    if target.mounts == MountContents::Exported {
        let packing = packing(target.compression, target.level);
        for mut mount in sharing.mounts(stores, packing, vertex)? {
            if is_at_hand(stores, client, target, &mut mount.blob, reporter)? {
                writer.add_mount(mount.shared);
                blobs.push(mount.blob);
            }
        }
    }
    let mut seen = HashSet::new();
    blobs.retain(|blob| seen.insert(blob.descriptor.digest));
    let form = match (target.manifest, target.media_types) {
        (CacheManifest::Image, _) => CacheForm::Manifest,
        (CacheManifest::Index, family) => CacheForm::Index(family),
    };
    Ok(exporter::cache_image(&writer.finish(), blobs, form))
}

/// Packs the layers of records. Those that are elsewhere and cannot be fetched are left out.
fn pack(
    stores: &Stores,
    client: &Client,
    target: &CacheTarget,
    records: &[(ActionKey, ActionRecord)],
    (vertex, reporter): (&Vertex<'_>, &Reporter<'_>),
) -> Result<Vec<PackedLayer>, Error> {
    let mut ids: Vec<LayerId> = Vec::new();
    let mut seen = HashSet::new();
    let mut seen_stacks = HashSet::new();
    for (_, record) in records {
        // Of a stack that was met, all that is below was met too.
        let is_new = |stack: &LayerStack| seen_stacks.insert(stack.files());
        let new = record.state.down().take_while(is_new);
        let new: Vec<LayerId> = new.filter_map(|stack| Some(stack.top()?.layer)).collect();
        ids.extend(new.into_iter().rev().filter(|id| seen.insert(*id)));
    }
    if target.force {
        let is_other = |id: &LayerId| {
            stores.layers.layer(*id).is_none()
                && stores
                    .layers
                    .description(*id)
                    .is_some_and(|known| known.blob.compression != target.compression)
        };
        let others: Vec<LayerId> = ids.iter().copied().filter(is_other).collect();
        if !others.is_empty() {
            // What cannot be fetched is left out below.
            let _ = fetch::fetch_and_unpack(stores, client, &others, reporter);
        }
    }
    ids.retain(|id| stores.layers.knows(*id));
    let packing = packing(target.compression, target.level);
    let tell = |layer| report_packing(vertex, layer);
    let packed = exporter::pack_layers(&ids, &stores.layers, &stores.blobs, packing, &tell)
        .map_err(|error| Error::environment("cannot pack a layer", error))?;
    let mut layers = Vec::with_capacity(packed.len());
    for mut layer in packed {
        if is_at_hand(stores, client, target, &mut layer.blob, reporter)? {
            layers.push(layer);
        } else {
            // If that fails, a build finds out the same.
            let _ = stores.layers.mark_unavailable(layer.id);
        }
    }
    Ok(layers)
}

/// Fetches a blob that is elsewhere unless the cache goes there. Says whether that worked.
fn is_at_hand(
    stores: &Stores,
    client: &Client,
    target: &CacheTarget,
    blob: &mut ExportLayer,
    reporter: &Reporter<'_>,
) -> Result<bool, Error> {
    let descriptor = &blob.descriptor;
    if !matches!(blob.source, LayerSource::Absent) || stays(stores, target, descriptor) {
        return Ok(true);
    }
    match origins::fetch_from_origin(stores, client, descriptor) {
        Ok(()) => {
            blob.source = LayerSource::Stored(stores.blobs.path(descriptor.digest));
            Ok(true)
        }
        Err(Error::Cancelled) => Err(Error::Cancelled),
        Err(error) => {
            reporter.warn(format!(
                "a layer is left out of the cache: {}",
                error.full_message()
            ));
            Ok(false)
        }
    }
}

/// Says whether a blob is where the cache goes, as far as is known.
fn stays(stores: &Stores, target: &CacheTarget, descriptor: &Descriptor) -> bool {
    let CacheDestination::Registry { name, .. } = &target.to else {
        return false;
    };
    let known = sources(&stores.blobs, descriptor.digest);
    known.iter().any(|source| source.domain() == name.domain())
}

fn push_cache(
    stores: &Stores,
    client: &Client,
    name: &kiln_oci::TaggedRef,
    image: &NamedImage,
    vertex: &Vertex<'_>,
) -> Result<(), Undelivered> {
    let (own_stores, own_client) = (stores.clone(), client.clone());
    let fetch: exporter::FetchAbsent = Arc::new(move |descriptor| {
        origins::fetch_from_origin(&own_stores, &own_client, descriptor)
            .map_err(std::io::Error::other)
    });
    let tag = name.tag().unwrap_or(kiln_oci::DEFAULT_TAG).to_owned();
    let push = exporter::push_image(image, name, vec![tag], &stores.blobs, &fetch);
    let observer = |event: kiln_registry::TransferEvent| report(vertex, &event);
    client
        .push(name, &push, &observer)
        .map_err(|error| repair::undelivered(stores, name, image, error))?;
    let blobs = image.manifests.iter().flat_map(|part| &part.layers);
    for blob in blobs.map(|layer| &layer.descriptor) {
        if matches!(MediaKind::of(&blob.media_type), MediaKind::Layer(_)) {
            // Without the note the layer is uploaded next time; nothing is lost.
            let _ = exporter::remember_source(&stores.store, &stores.blobs, blob.digest, name);
        }
    }
    Ok(())
}

/// Says what failed, and that a build need not fail for it.
fn failed(to: &CacheDestination, error: Error) -> Error {
    let kind = error.kind();
    let ignore = "with ignore-error=true a build goes on without its cache";
    Error::Registry {
        name: None,
        hint: Some(match error.hint() {
            Some(own) => format!("{own}; {ignore}"),
            None => ignore.to_owned(),
        }),
        explanation: Explanation::While {
            doing: format!("cannot export the cache to {to}"),
            cause: error.into(),
        },
        kind,
    }
}
