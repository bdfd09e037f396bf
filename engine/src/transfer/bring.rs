//! Layers that are described only, brought here when somebody needs their files.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kiln_cache::State;
use kiln_exporter::remember_place;
use kiln_snapshotter::{Description, Layer};
use kiln_solver::{BringError, Fault, LayersError, Reporter, VertexEnd};
use kiln_tree::LayerId;

use crate::error::chain;
use crate::{Engine, Error};

/// Layers fetched and unpacked at the same time.
const WORKERS: usize = 4;

impl Engine {
    /// Returns layers that are described only, unpacked. One that is not to be had is not described
    /// any more afterwards.
    pub(crate) fn bring(
        &self,
        ids: &[LayerId],
        reporter: &Reporter<'_>,
    ) -> Result<Vec<Layer>, BringError> {
        let vertex = reporter.start("importing layers from cache");
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Result<Layer, BringError>)>> = Mutex::default();
        let work = || {
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(id) = ids.get(place) else {
                    return;
                };
                let result = self.bring_one(*id, reporter);
                if let Ok(layer) = &result {
                    vertex.status(&layer.id().to_string(), 0, None, true);
                }
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((place, result));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..WORKERS.min(ids.len()) {
                kiln_threads::help(scope, work);
            }
            work();
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_unstable_by_key(|(place, _)| *place);
        let result: Result<Vec<Layer>, BringError> =
            done.into_iter().map(|(_, result)| result).collect();
        vertex.end(match &result {
            Ok(_) => VertexEnd::Done,
            Err(_) => VertexEnd::Cancelled,
        });
        result
    }

    fn bring_one(&self, id: LayerId, reporter: &Reporter<'_>) -> Result<Layer, BringError> {
        if let Some(layer) = self.layers.layer(id) {
            return Ok(layer);
        }
        let Some(description) = self.layers.description(id) else {
            return Err(BringError::Lost(id));
        };
        match self.fulfil(id, &description) {
            Ok(layer) => Ok(layer),
            Err(Error::Cancelled) => Err(BringError::Cancelled),
            Err(error) => {
                reporter.warn(format!(
                    "a layer of the cache cannot be used, its step runs again: {error}"
                ));
                match self.layers.forget_description(id) {
                    Ok(()) => Err(BringError::Lost(id)),
                    Err(error) => Err(BringError::Failed(LayersError {
                        message: chain(&error),
                        fault: Fault::Environment,
                    })),
                }
            }
        }
    }

    /// Fetches and unpacks a layer that is described only.
    pub(crate) fn fulfil(&self, id: LayerId, description: &Description) -> Result<Layer, Error> {
        let descriptor = &description.blob.descriptor;
        // A note that got lost costs the layer if nobody else knows where it is.
        let _ = self.note_place(description);
        self.fetch_from_origin(descriptor)?;
        let blob = self
            .blobs
            .open(descriptor.digest)
            .map_err(|error| Error::environment("cannot read a layer", &error))?;
        self.layers.fulfil(id, description, blob).map_err(|error| {
            let doing = format!("blob {}", descriptor.digest);
            self.or_cancelled(Error::environment(&doing, &error))
        })
    }

    /// Fetches and unpacks a layer of an image that is described only. If that fails, no build relies
    /// on it any more.
    pub(crate) fn fulfil_for_image(
        &self,
        id: LayerId,
        description: &Description,
    ) -> Result<Layer, Error> {
        self.fulfil(id, description).map_err(|error| match error {
            Error::Cancelled => Error::Cancelled,
            error => {
                // If that fails, a build finds out the same.
                let _ = self.layers.doubt(id);
                away(&error)
            }
        })
    }

    /// Makes sure that no build relies on layers of an image that are described only.
    pub(crate) fn doubt_what_is_away(&self, image: &kiln_oci::Image) {
        for (diff_id, _) in image.layers() {
            if let Some((id, description)) = self.layers.described_as(diff_id)
                && !self.blobs.has(&description.blob.descriptor)
            {
                // If that fails, a build finds out the same.
                let _ = self.layers.doubt(id);
            }
        }
    }

    /// Notes where the blob of a described layer is, for whoever fetches or mounts it.
    pub(crate) fn note_place(&self, description: &Description) -> io::Result<()> {
        let digest = description.blob.descriptor.digest;
        remember_place(&self.store, &self.blobs, digest, &description.place)
    }

    /// Returns the layers that steps made, bringing those that are described only.
    pub(crate) fn built_layers(
        &self,
        state: &State,
        reporter: &Reporter<'_>,
    ) -> Result<Vec<Layer>, Error> {
        let ids: Vec<LayerId> = state.layers.iter().map(|built| built.layer).collect();
        let here: Option<Vec<Layer>> = ids.iter().map(|id| self.layers.layer(*id)).collect();
        match here {
            Some(layers) => Ok(layers),
            None => self.bring(&ids, reporter).map_err(|error| match error {
                BringError::Cancelled => Error::Cancelled,
                BringError::Lost(id) => gone(id),
                BringError::Failed(error) => {
                    Error::environment("cannot forget a layer of the cache", &error)
                }
            }),
        }
    }

    /// Finds layers of results that turn out not to be had, after something failed: those are not
    /// described any more afterwards. Says whether there are any.
    pub(crate) fn lose_what_is_gone<'a>(
        &self,
        states: impl Iterator<Item = &'a State>,
        reporter: &Reporter<'_>,
    ) -> bool {
        let mut is_lost = false;
        for built in states.flat_map(|state| &state.layers) {
            let id = built.layer;
            let is_at_hand = match (self.layers.layer(id), self.layers.description(id)) {
                (Some(_), _) => true,
                (None, Some(known)) => self.blobs.has(&known.blob.descriptor),
                (None, None) => false,
            };
            let is_gone = || matches!(self.bring_one(id, reporter), Err(BringError::Lost(_)));
            is_lost |= !is_at_hand && is_gone();
        }
        is_lost
    }
}

/// Says that a layer of an image is elsewhere, and not to be had.
pub(crate) fn away(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Environment {
        message: format!("a layer of the image is still elsewhere: {}", chain(error)),
        hint: Some(
            "try again when the place it comes from can be reached, or build the image again"
                .to_owned(),
        ),
    }
}

/// Says that a layer is not here any more.
pub(crate) fn gone(id: LayerId) -> Error {
    Error::Environment {
        message: format!("layer {id} was deleted during the build"),
        hint: Some("build again".to_owned()),
    }
}
