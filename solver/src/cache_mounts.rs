//! Cache mounts as machines tell them apart, and the seam through which they begin with what
//! another machine left.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kiln_parser::mount::FileOwner;
use kiln_tree::{Blake3, Encoder, LayerId};

use crate::graph::{Graph, Op, RunMountKind, StepId, StepPath};

/// Fills new cache mounts with what other machines left in theirs.
pub trait CacheMounts: fmt::Debug + Sync {
    /// Makes `directory`, which is not there yet, of what is known elsewhere of the cache mount
    /// called `key`. If that cannot be fetched or is damaged, the cache mount begins empty.
    ///
    /// # Errors
    /// When the user asked to stop. The next build asks again.
    fn begin(&self, key: Blake3, directory: &Path) -> io::Result<InitialContent>;
}

/// Whether a cache mount begins with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialContent {
    /// With what another machine left.
    Made,
    /// With nothing that comes from elsewhere.
    Nothing,
}

/// Cache mounts that a build with `--no-cache` has emptied: each is emptied once.
#[derive(Debug, Default)]
pub struct BegunCaches(Mutex<HashSet<Blake3>>);

impl BegunCaches {
    /// Says whether a cache mount is still to be emptied; from then on it is not.
    pub fn is_first(&self, key: Blake3) -> bool {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(key)
    }
}

/// Returns the cache mounts that the steps of a graph use: what each is found by, and what
/// Dockerfiles call it. `layers` tells the layers of a step's files, lowest first; a cache mount
/// that begins with files whose layers are not known is left out: no step can have filled it.
pub fn used_cache_mounts(
    graph: &Graph,
    layers: impl Fn(StepId) -> Option<Vec<LayerId>>,
) -> BTreeMap<Blake3, String> {
    let mut used = BTreeMap::new();
    for (_, step) in graph.steps() {
        let Op::Run(run) = &step.op else {
            continue;
        };
        for mount in &run.mounts {
            let RunMountKind::Cache {
                id, owner, initial, ..
            } = &mount.kind
            else {
                continue;
            };
            let below = match initial.as_ref().and_then(|part| part.step) {
                Some(step) => layers(step),
                None => Some(Vec::new()),
            };
            if let Some(below) = below {
                let key = cache_key(id, *owner, initial.as_ref(), &below);
                used.insert(key, id.clone());
            }
        }
    }
    used
}

/// Returns the key of a cache mount: its name, and what it began with, which is a part of the files
/// of another step, in `layers`, or a directory with an owner.
pub(crate) fn cache_key(
    id: &str,
    owner: FileOwner,
    initial: Option<&StepPath>,
    layers: &[LayerId],
) -> Blake3 {
    let mut encoder = Encoder::new("kiln.cachemount.2");
    encoder.text(id);
    match initial {
        None => {
            encoder
                .number(u64::from(owner.mode))
                .number(u64::from(owner.uid))
                .number(u64::from(owner.gid));
        }
        Some(part) => {
            let layers: Vec<Blake3> = layers.iter().map(|layer| layer.0).collect();
            encoder.value(&part.path).sequence(&layers);
        }
    }
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use kiln_files::GuestPath;

    use super::*;

    /// Shared caches of other machines find mounts by these keys.
    #[test]
    fn keys_stay_what_they_are() {
        let owner = FileOwner {
            uid: 1,
            gid: 2,
            mode: 0o755,
        };
        let part = StepPath {
            step: None,
            path: GuestPath::new("/seed"),
        };
        let layers = [LayerId(Blake3::of(b"layer"))];
        let keys = [
            cache_key("npm", owner, None, &[]),
            cache_key("npm", owner, Some(&part), &[]),
            cache_key("npm", owner, Some(&part), &layers),
        ];
        assert_eq!(
            keys.map(|key| key.hex()[..16].to_owned()),
            ["95f03dc87eb6e732", "a93433cf71f2095b", "dbea8a402a34a6fd"]
        );
        assert_eq!(cache_key("npm", owner, None, &layers), keys[0]);
    }
}
