//! Images by what they were put together from.
//!
//! A manifest is a function of the layers of a build, of the config without them, and of a few
//! options. A build that changes nothing finds its manifest here and looks at no layer.

use std::collections::HashMap;
use std::fs;
use std::io;

use crate::{SpreadFile, Store};
use kiln_files::unless_gone;
use kiln_oci::Sha256;
use kiln_tree::Blake3;

/// The images of a state directory, by the digest of everything that makes them.
///
/// Each fact is one small file. It may be deleted at any time; the image is then put together
/// again.
#[derive(Clone, Debug)]
pub struct Assembled {
    store: Store,
}

impl Assembled {
    /// Returns the images of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    /// Returns the manifest that was made of these inputs. It may be gone meanwhile.
    #[must_use]
    pub fn get(&self, inputs: Blake3) -> Option<Sha256> {
        let text = fs::read_to_string(self.path(inputs)).ok()?;
        text.trim_end().parse().ok()
    }

    /// Remembers the manifest that was made of these inputs.
    ///
    /// # Errors
    /// When it cannot be written down. Nothing depends on it.
    pub fn put(&self, inputs: Blake3, manifest: Sha256) -> io::Result<()> {
        let temporary = self.store.work_file()?;
        fs::write(&temporary, format!("{manifest}\n"))?;
        let path = self.path(inputs);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(temporary, path)
    }

    /// Forgets the manifests that `stays` does not say to keep.
    ///
    /// # Errors
    /// When something cannot be read or deleted.
    pub fn retain(&self, stays: impl Fn(Sha256) -> bool) -> io::Result<()> {
        for (path, _) in self.store.spread_files("assembled")? {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let manifest = text.trim_end().parse::<Sha256>().ok();
            if manifest.is_none_or(|manifest| !stays(manifest)) {
                unless_gone(fs::remove_file(&path))?;
            }
        }
        Ok(())
    }

    /// Counts the facts about each manifest.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn count_by_manifest(&self) -> io::Result<HashMap<Sha256, usize>> {
        let manifest = |file: &SpreadFile<'_>| {
            let bytes = file.read().unwrap_or_default();
            let text = str::from_utf8(&bytes).unwrap_or_default();
            Ok(text.trim_end().parse::<Sha256>().ok())
        };
        let mut counts = HashMap::new();
        for manifest in self.store.look_at_spread("assembled", manifest)? {
            *counts.entry(manifest).or_default() += 1;
        }
        Ok(counts)
    }

    fn path(&self, inputs: Blake3) -> std::path::PathBuf {
        let hex = inputs.hex();
        self.store.path(format!("assembled/{}/{hex}", &hex[..2]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_found_by_its_inputs_alone() {
        let directory = tempfile::tempdir().unwrap();
        let assembled = Assembled::new(&Store::open(directory.path()).unwrap());
        let (one, other) = (Blake3::of(b"one"), Blake3::of(b"other"));
        assembled.put(one, Sha256::of(b"manifest")).unwrap();
        assert_eq!(assembled.get(one), Some(Sha256::of(b"manifest")));
        assert_eq!(assembled.get(other), None);
        assembled.put(other, Sha256::of(b"manifest")).unwrap();
        let counts = assembled.count_by_manifest().unwrap();
        assert_eq!(counts, HashMap::from([(Sha256::of(b"manifest"), 2)]));
        assembled
            .retain(|manifest| manifest == Sha256::of(b"manifest"))
            .unwrap();
        assert!(assembled.get(one).is_some());
        assembled.retain(|_| false).unwrap();
        assert_eq!(assembled.get(one), None);
        assembled.put(one, Sha256::of(b"manifest")).unwrap();
        fs::write(assembled.path(one), "sha256:half").unwrap();
        assert_eq!(assembled.get(one), None);
    }
}
