//! The images in the store by id, with or without a tag: `images/<id>` holds the digest of the
//! manifest.
//!
//! A file that is damaged is written anew, from the manifests in the store: if it counted as absent,
//! collection would delete an image that has no tag.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde_json::Value;

use crate::{Blobs, Store};
use kiln_oci::{ImageId, LARGEST_MANIFEST, Sha256};

/// The images of a state directory.
#[derive(Clone, Debug)]
pub struct ImageIds {
    store: Store,
}

impl ImageIds {
    /// Returns the images of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    /// Notes that an image is here; of several manifests with one config the last one counts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&self, id: ImageId, manifest: Sha256) -> io::Result<()> {
        let path = self.path(id);
        let text = format!("{manifest}\n");
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let temporary = self.store.work_file()?;
        fs::write(&temporary, text)?;
        self.store.owe();
        fs::create_dir_all(self.store.path("images"))?;
        fs::rename(temporary, path)
    }

    /// Returns the manifest that was noted for an image, if one was.
    #[must_use]
    pub fn get(&self, id: ImageId) -> Option<Sha256> {
        let text = fs::read_to_string(self.path(id)).ok()?;
        text.trim().parse().ok()
    }

    /// Forgets an image; says whether it was here.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self, id: ImageId) -> io::Result<bool> {
        match fs::remove_file(self.path(id)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the images whose id starts with these hexadecimal digits, and their manifests.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn starting_with(&self, prefix: &str) -> io::Result<Vec<(ImageId, Sha256)>> {
        let entries = match fs::read_dir(self.store.path("images")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(hex) = name.to_str().filter(|name| name.starts_with(prefix)) else {
                continue;
            };
            // Removed meanwhile, or nothing of ours: not an image that is here.
            let (Ok(id), Ok(text)) = (Sha256::from_hex(hex), fs::read(entry.path())) else {
                continue;
            };
            let id = ImageId(id);
            let noted = str::from_utf8(&text).ok();
            let noted = noted.and_then(|text| text.trim().parse().ok());
            if let Some(manifest) = noted.or_else(|| self.note_again(id)) {
                found.push((id, manifest));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Looks for the manifest of an image whose note is damaged.
    fn note_again(&self, id: ImageId) -> Option<Sha256> {
        let blobs = Blobs::new(&self.store);
        let is_its_manifest = |digest: &Sha256| {
            let is_small = blobs
                .size(*digest)
                .is_some_and(|size| size <= LARGEST_MANIFEST);
            let manifest = is_small.then(|| blobs.read(*digest).ok()).flatten();
            let manifest = manifest.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            manifest.is_some_and(|manifest| {
                // An index is called by its own digest, an image by that of its config.
                let is_index = *digest == id.0 && manifest["manifests"].is_array();
                is_index || manifest["config"]["digest"] == id.0.to_string()
            })
        };
        let files = self.store.spread_files("blobs/sha256").ok()?;
        let digests = files
            .iter()
            .filter_map(|(_, name)| Sha256::from_hex(name).ok());
        let manifest = digests.into_iter().find(is_its_manifest)?;
        // Not noted, it is found once more.
        let _ = self.add(id, manifest);
        Some(manifest)
    }

    fn path(&self, id: ImageId) -> PathBuf {
        self.store.path(format!("images/{}", id.0.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_the_beginning_of_their_id() {
        let directory = tempfile::tempdir().unwrap();
        let images = ImageIds::new(&Store::open(directory.path()).unwrap());
        let (one, two) = (ImageId(Sha256::of(b"1")), ImageId(Sha256::of(b"2")));
        let manifest = Sha256::of(b"m");
        assert_eq!(images.starting_with("").unwrap(), []);
        images.add(one, manifest).unwrap();
        images.add(two, manifest).unwrap();
        assert_eq!(images.get(one), Some(manifest));
        assert_eq!(images.starting_with("").unwrap().len(), 2);
        let prefix = &one.0.hex()[..5];
        assert_eq!(images.starting_with(prefix).unwrap(), [(one, manifest)]);
        assert!(images.remove(one).unwrap());
        assert!(!images.remove(one).unwrap());
        assert_eq!(images.get(one), None);
        assert_eq!(images.starting_with(prefix).unwrap(), []);
    }

    #[test]
    fn a_damaged_note_is_made_again_of_the_manifest() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (images, blobs) = (ImageIds::new(&store), Blobs::new(&store));
        let config = blobs.put(b"{}").unwrap();
        let manifest = format!("{{\"config\":{{\"digest\":\"{config}\"}}}}");
        let manifest = blobs.put(manifest.as_bytes()).unwrap();
        let index = blobs.put(b"{\"manifests\":[]}").unwrap();
        let (image, many, lost) = (ImageId(config), ImageId(index), ImageId(Sha256::of(b"x")));
        for id in [image, many, lost] {
            images.add(id, manifest).unwrap();
            fs::write(images.path(id), "sha2").unwrap();
        }
        let mut expected = [(image, manifest), (many, index)];
        expected.sort_unstable();
        assert_eq!(images.starting_with("").unwrap(), expected);
        let noted = fs::read_to_string(images.path(image)).unwrap();
        assert_eq!(noted, format!("{manifest}\n"));
    }
}
