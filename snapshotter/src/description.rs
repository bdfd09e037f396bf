//! Descriptions of layers, as they are stored.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use kiln_cache::Store;
use kiln_tree::LayerId;
use serde::{Deserialize, Serialize};

use crate::facts::{KnownBlob, TarFacts, TarOrigin};

/// The description of a layer whose bytes are elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// Length of the canonical tar.
    pub tar_bytes: u64,
    /// A blob that holds that tar.
    pub blob: KnownBlob,
    /// Where that blob is, in words that mean nothing to the store.
    pub place: String,
}

impl Description {
    /// Returns the canonical tar.
    #[must_use]
    pub const fn tar(&self) -> TarFacts {
        TarFacts {
            diff_id: self.blob.diff_id,
            size_bytes: self.tar_bytes,
            origin: TarOrigin::Canonical,
        }
    }
}

/// Returns the description of a layer, available or not; none if there is none.
pub(crate) fn read(store: &Store, id: LayerId) -> Option<Description> {
    let bytes = fs::read(path(store, id)).or_else(|_| fs::read(unavailable_mark(store, id)));
    serde_json::from_slice(&bytes.ok()?).ok()
}

/// Returns the id of every layer that is described, available or not, sorted, with the file of its
/// description.
pub(crate) fn list(store: &Store) -> io::Result<Vec<(LayerId, PathBuf)>> {
    let mut found: Vec<(LayerId, PathBuf)> = Vec::new();
    for place in ["described", "doubted"] {
        let entries = match fs::read_dir(store.path(place)) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            found.extend(id.map(|id| (id, entry.path())));
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|(id, _)| *id);
    Ok(found)
}

/// Returns where the description of a layer is kept.
pub(crate) fn path(store: &Store, id: LayerId) -> PathBuf {
    store.path(format!("described/{id}"))
}

/// Returns where the description of a layer is kept that is marked unavailable.
pub(crate) fn unavailable_mark(store: &Store, id: LayerId) -> PathBuf {
    store.path(format!("doubted/{id}"))
}
