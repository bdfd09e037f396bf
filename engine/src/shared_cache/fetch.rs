//! Layers that are described only, fetched and unpacked when a step or an output needs their files.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kiln_cache::LayerStack;
use kiln_exporter::remember_place;
use kiln_registry::Client;
use kiln_snapshotter::{Description, Layer};
use kiln_solver::{Fault, LayerFetchError, LayersError, Reporter, VertexEnd};
use kiln_tree::LayerId;

use crate::Error;
use crate::error::{Cause, chain};
use crate::origins;
use crate::stores::Stores;

/// Layers fetched and unpacked at the same time.
const WORKERS: usize = 4;

/// Returns layers that are described only, unpacked. One that cannot be fetched is not described
/// any more afterwards.
pub(crate) fn fetch_and_unpack(
    stores: &Stores,
    client: &Client,
    ids: &[LayerId],
    reporter: &Reporter<'_>,
) -> Result<Vec<Layer>, LayerFetchError> {
    let vertex = reporter.start("importing layers from cache");
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Layer, LayerFetchError>)>> = Mutex::default();
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(id) = ids.get(place) else {
                return;
            };
            let result = fetch_and_unpack_one(stores, client, *id, reporter);
            if let Ok(layer) = &result {
                vertex.status(&layer.id().to_string(), 0, None, true);
            }
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((place, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..WORKERS.min(ids.len()) {
            kiln_threads::spawn_or_skip(scope, work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(place, _)| *place);
    let result: Result<Vec<Layer>, LayerFetchError> =
        done.into_iter().map(|(_, result)| result).collect();
    vertex.end(match &result {
        Ok(_) => VertexEnd::Done,
        Err(_) => VertexEnd::Cancelled,
    });
    result
}

fn fetch_and_unpack_one(
    stores: &Stores,
    client: &Client,
    id: LayerId,
    reporter: &Reporter<'_>,
) -> Result<Layer, LayerFetchError> {
    if let Some(layer) = stores.layers.layer(id) {
        return Ok(layer);
    }
    let Some(description) = stores.layers.description(id) else {
        return Err(LayerFetchError::Lost(id));
    };
    match fulfil(stores, client, id, &description) {
        Ok(layer) => Ok(layer),
        Err(Error::Cancelled) => Err(LayerFetchError::Cancelled),
        Err(error) => {
            reporter.warn(format!(
                "a layer of the cache cannot be used, its step runs again: {}",
                error.full_message()
            ));
            match stores.layers.forget_description(id) {
                Ok(()) => Err(LayerFetchError::Lost(id)),
                Err(error) => Err(LayerFetchError::Failed(LayersError {
                    message: chain(&error),
                    fault: Fault::Environment,
                })),
            }
        }
    }
}

/// Fetches and unpacks a layer that is described only.
pub(crate) fn fulfil(
    stores: &Stores,
    client: &Client,
    id: LayerId,
    description: &Description,
) -> Result<Layer, Error> {
    let descriptor = &description.blob.descriptor;
    // Without the note the layer cannot be fetched, unless another note says where it is.
    let _ = note_place(stores, description);
    origins::fetch_from_origin(stores, client, descriptor)?;
    let blob = stores
        .blobs
        .open(descriptor.digest)
        .map_err(|error| Error::environment("cannot read a layer", error))?;
    stores
        .layers
        .fulfil(id, description, blob)
        .map_err(|error| {
            let doing = format!("blob {}", descriptor.digest);
            stores.or_cancelled(Error::environment(doing, error))
        })
}

/// Fetches and unpacks a layer of an image that is described only. If that fails, no build relies
/// on it any more.
pub(crate) fn fulfil_for_image(
    stores: &Stores,
    client: &Client,
    id: LayerId,
    description: &Description,
) -> Result<Layer, Error> {
    fulfil(stores, client, id, description).map_err(|error| match error {
        Error::Cancelled => Error::Cancelled,
        error => {
            // If that fails, a build finds out the same.
            let _ = stores.layers.mark_unavailable(id);
            away(error)
        }
    })
}

/// Makes sure that no build relies on layers of an image that are described only.
pub(crate) fn mark_absent_layers_unavailable(stores: &Stores, image: &kiln_oci::Image) {
    for (diff_id, _) in image.layers() {
        if let Some((id, description)) = stores.layers.described_as(diff_id)
            && !stores.blobs.has(&description.blob.descriptor)
        {
            // If that fails, a build finds out the same.
            let _ = stores.layers.mark_unavailable(id);
        }
    }
}

/// Notes where the blob of a described layer is, for a later fetch or mount of it.
pub(crate) fn note_place(stores: &Stores, description: &Description) -> io::Result<()> {
    let digest = description.blob.descriptor.digest;
    remember_place(&stores.store, &stores.blobs, digest, &description.place)
}

/// Returns the layers that steps made, bringing those that are described only.
pub(crate) fn built_layers(
    stores: &Stores,
    client: &Client,
    state: &LayerStack,
    reporter: &Reporter<'_>,
) -> Result<Vec<Layer>, Error> {
    let ids: Vec<LayerId> = state.layers().iter().map(|built| built.layer).collect();
    let here: Option<Vec<Layer>> = ids.iter().map(|id| stores.layers.layer(*id)).collect();
    match here {
        Some(layers) => Ok(layers),
        None => fetch_and_unpack(stores, client, &ids, reporter).map_err(|error| match error {
            LayerFetchError::Cancelled => Error::Cancelled,
            LayerFetchError::Lost(id) => gone(id),
            LayerFetchError::Failed(error) => {
                Error::environment("cannot forget a layer of the cache", error)
            }
        }),
    }
}

/// Finds layers of results that turn out to be missing, after something failed: those are not
/// described any more afterwards. Says whether there are any.
pub(crate) fn forget_missing_layers<'a>(
    stores: &Stores,
    client: &Client,
    states: impl Iterator<Item = &'a LayerStack>,
    reporter: &Reporter<'_>,
) -> bool {
    let mut is_lost = false;
    for built in states.flat_map(LayerStack::layers) {
        let id = built.layer;
        let is_at_hand = match (stores.layers.layer(id), stores.layers.description(id)) {
            (Some(_), _) => true,
            (None, Some(known)) => stores.blobs.has(&known.blob.descriptor),
            (None, None) => false,
        };
        let is_gone = || {
            matches!(
                fetch_and_unpack_one(stores, client, id, reporter),
                Err(LayerFetchError::Lost(_))
            )
        };
        is_lost |= !is_at_hand && is_gone();
    }
    is_lost
}

/// Says that a layer of an image is elsewhere, and cannot be fetched.
pub(crate) fn away(error: impl Into<Cause>) -> Error {
    let hint = "try again when the place it comes from can be reached, or build the image again";
    Error::environment("a layer of the image is still elsewhere", error).with_hint(hint)
}

/// Says that a layer is not here any more.
pub(crate) fn gone(id: LayerId) -> Error {
    Error::environment_stated(format!("layer {id} was deleted during the build"))
        .with_hint("build again")
}
