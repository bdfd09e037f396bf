//! What cache mounts hold, on its way between machines (`--cache-to …,mounts=true`).
//!
//! A cache mount leaves as what layers leave as: a blob with the canonical tar of its directory. It
//! is read while no step has it, which includes waiting for other builds. What it was packed as is
//! written down beside its copies, as JSON in `packed`: the blob is the cache mount's own, to be
//! counted and to go with it, and need not be made again as long as the content stays.
//!
//! On the other machine it becomes the first copy of a cache mount that is not there yet, straight
//! from where the cache is, and is one like any other from then on. A cache mount that no step
//! needed there goes on to the next cache as it is.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use kiln_cache::{
    CacheBackend as _, CacheReading, LayerStack, StillCacheMount, cache_mount_place,
    read_cache_mount,
};
use kiln_exporter::{
    ExportLayer, LayerSource, SharedMount, layout_place, open_in_layout, remember_place,
};
use kiln_oci::{MediaKind, Sha256};
use kiln_registry::Client;
use kiln_snapshotter::{LayerFacts, Packing, PlainDirectory};
use kiln_solver::{CacheMounts, InitialContent, Op, StepId, Vertex, VertexEnd, used_cache_mounts};
use kiln_threads::Stop;
use kiln_tree::{Blake3, LayerId};
use serde_json::json;

use super::export::Shareable;
use super::import::CacheOrigin;
use super::tiered::TieredCache;
use crate::Error;
use crate::base_layers;
use crate::error::Cause;
use crate::stores::Stores;

/// Between two looks at a cache mount that others have: soon enough for people, and nothing for a
/// processor.
const PAUSE: Duration = Duration::from_millis(100);

/// A cache mount ready to leave.
#[derive(Clone, Debug)]
pub(super) struct PackedMount {
    pub(super) shared: SharedMount,
    pub(super) blob: ExportLayer,
}

/// What the content of a cache mount is known to be packed as.
#[derive(Debug)]
struct KnownPacking {
    /// The name that a layer with this content would have.
    content: LayerId,
    facts: LayerFacts,
}

impl KnownPacking {
    fn read(place: &Path) -> Option<Self> {
        let bytes = fs::read(place.join("packed")).ok()?;
        let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        Some(Self {
            content: json["content"].as_str()?.parse().ok()?,
            facts: serde_json::from_value(json["facts"].clone()).ok()?,
        })
    }

    fn to_json(&self) -> Vec<u8> {
        let json = json!({ "content": self.content, "facts": self.facts });
        json.to_string().into_bytes()
    }
}

/// Returns the blobs that belong to the cache mount at a place.
pub(crate) fn blobs_of_mount(place: &Path) -> Vec<Sha256> {
    let blobs = KnownPacking::read(place).map(|packed| packed.facts.blobs);
    let blobs = blobs.into_iter().flatten();
    blobs.map(|blob| blob.descriptor.digest).collect()
}

impl Shareable<'_> {
    /// Packs what the cache mounts of the build's steps hold. What is not here and came with a cache
    /// elsewhere stays where it is.
    pub(super) fn mounts(
        &self,
        stores: &Stores,
        packing: Packing,
        vertex: &Vertex<'_>,
    ) -> Result<Vec<PackedMount>, Error> {
        let used = used_cache_mounts(&self.plan.graph, |step| self.layers_of(stores, step));
        let mut mounts = Vec::new();
        for (key, id) in used {
            let shown = format!("cache mount {id}");
            let waiting = format!("waiting for {shown}");
            let mut waits = false;
            let still = still(stores, key, self.stop, || {
                if !std::mem::replace(&mut waits, true) {
                    vertex.status(&waiting, 0, None, false);
                }
            })?;
            if waits {
                vertex.status(&waiting, 0, None, true);
            }
            if let Some(still) = still {
                vertex.status(&shown, 0, None, false);
                let mount = pack(stores, key, id, &still, packing);
                mounts.push(
                    mount.map_err(|error| {
                        Error::environment(format!("cannot pack {shown}"), error)
                    })?,
                );
                vertex.status(&shown, 0, None, true);
            } else if let Some((mount, origin)) = self.tiered.mounts(key).next() {
                mounts.extend(keep(stores, mount, origin));
            }
        }
        Ok(mounts)
    }

    /// Returns the layers of a step's files, lowest first, if all are known.
    fn layers_of(&self, stores: &Stores, step: StepId) -> Option<Vec<LayerId>> {
        let known = self.known.get(step.index()).cloned().flatten();
        let state = match (known, &self.plan.graph.step(step).op) {
            (Some(state), _) => state,
            (None, Op::From(from)) => LayerStack::on(Some(from.manifest)),
            (None, _) => {
                let recipe = *self.recipes.get(step.index())?;
                self.tiered.get_many(&[recipe]).pop()??.state
            }
        };
        let mut layers = Vec::new();
        if let Some(manifest) = state.base() {
            let (_, image) = self.plan.bases.get(&manifest)?;
            for (diff_id, _) in image.layers() {
                layers.push(base_layers::unpacked_layer(stores, diff_id)?.id());
            }
        }
        layers.extend(state.layers().iter().map(|built| built.layer));
        Some(layers)
    }
}

/// Waits until no step has a cache mount, and calls `busy` meanwhile; none if there is no such mount
/// here.
fn still(
    stores: &Stores,
    key: Blake3,
    stop: &Stop,
    mut busy: impl FnMut(),
) -> Result<Option<StillCacheMount>, Error> {
    loop {
        let reading = read_cache_mount(&stores.store, key);
        match reading.map_err(|error| Error::environment("cannot read a cache mount", error))? {
            CacheReading::Still(still) => return Ok(Some(still)),
            CacheReading::Nothing => return Ok(None),
            CacheReading::Busy if stop.is_asked() => return Err(Error::Cancelled),
            CacheReading::Busy => busy(),
        }
        std::thread::sleep(PAUSE);
    }
}

fn pack(
    stores: &Stores,
    key: Blake3,
    id: String,
    still: &StillCacheMount,
    packing: Packing,
) -> Result<PackedMount, Cause> {
    let plain = PlainDirectory::read(still.path(), stores.store.stop())?;
    let place = cache_mount_place(&stores.store, key);
    let known = KnownPacking::read(&place).filter(|packed| packed.content == plain.id());
    let mut packed = known.unwrap_or_else(|| KnownPacking {
        content: plain.id(),
        facts: LayerFacts::default(),
    });
    let before = packed.facts.clone();
    let blob = plain.pack(&mut packed.facts, &stores.blobs, packing)?;
    if packed.facts != before {
        let temporary = stores.store.work_file()?;
        fs::write(&temporary, packed.to_json())?;
        fs::rename(&temporary, place.join("packed"))?;
    }
    Ok(PackedMount {
        blob: ExportLayer {
            source: LayerSource::Stored(stores.blobs.path(blob.descriptor.digest)),
            descriptor: blob.descriptor.clone(),
        },
        shared: SharedMount {
            key,
            id,
            diff_id: blob.diff_id,
            blob: blob.descriptor,
        },
    })
}

/// Returns what came with a cache elsewhere as something to go on from there; none if that cannot
/// be written down.
fn keep(stores: &Stores, mount: &SharedMount, origin: &CacheOrigin) -> Option<PackedMount> {
    let place = match origin {
        CacheOrigin::Repository(name) => name.repository(),
        CacheOrigin::Layout(directory) => layout_place(directory).ok()?,
    };
    let digest = mount.blob.digest;
    remember_place(&stores.store, &stores.blobs, digest, &place).ok()?;
    Some(PackedMount {
        blob: ExportLayer {
            source: if stores.blobs.has(&mount.blob) {
                LayerSource::Stored(stores.blobs.path(digest))
            } else {
                LayerSource::Absent
            },
            descriptor: mount.blob.clone(),
        },
        shared: mount.clone(),
    })
}

impl CacheMounts for TieredCache<'_> {
    fn begin(&self, key: Blake3, directory: &Path) -> io::Result<InitialContent> {
        for (mount, origin) in self.mounts(key) {
            let shown = format!("importing cache mount {} from cache", mount.id);
            let vertex = self.reporter.start(&shown);
            let result = unpack_mount(self.stores, self.client, mount, origin, directory);
            match result {
                Ok(()) => {
                    vertex.end(VertexEnd::Done);
                    return Ok(InitialContent::Made);
                }
                Err(_) if self.stores.store.stop().is_asked() => {
                    vertex.end(VertexEnd::Cancelled);
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Err(error) => {
                    vertex.end(VertexEnd::Cancelled);
                    self.reporter.warn(format!(
                        "what the cache has of cache mount {} is not used: {}",
                        mount.id,
                        error.full_message()
                    ));
                }
            }
        }
        Ok(InitialContent::Nothing)
    }
}

/// Unpacks what a cache mount held elsewhere, on its way from there.
fn unpack_mount(
    stores: &Stores,
    client: &Client,
    mount: &SharedMount,
    origin: &CacheOrigin,
    directory: &Path,
) -> Result<(), Error> {
    let SharedMount { blob, diff_id, .. } = mount;
    let MediaKind::Layer(compression) = MediaKind::of(&blob.media_type) else {
        return Err(Error::input(format!(
            "blob {} has the unsupported media type {}",
            blob.digest, blob.media_type
        )));
    };
    let stream: Box<dyn io::Read + Send> = match origin {
        _ if stores.blobs.has(blob) => Box::new(
            stores
                .blobs
                .open(blob.digest)
                .map_err(|error| Error::environment("cannot read a blob", error))?,
        ),
        CacheOrigin::Repository(name) => Box::new(
            client
                .open_blob(name, blob)
                .map_err(|error| Error::registry(Some(name), error))?,
        ),
        CacheOrigin::Layout(place) => Box::new(
            open_in_layout(place, blob.digest)
                .map_err(Error::at("cannot read a blob of", place))?,
        ),
    };
    stores
        .layers
        .unpack_plain(stream, compression, *diff_id, directory)
        .map_err(|error| Error::environment(format!("blob {}", blob.digest), error))
}
