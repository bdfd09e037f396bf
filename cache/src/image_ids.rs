//! The images that are here, by id, named or not: `images/<id>` holds the manifest's digest.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::{ImageId, Sha256, Store};

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
            let manifest = fs::read_to_string(entry.path()).ok();
            let manifest = manifest.and_then(|text| text.trim().parse().ok());
            if let (Ok(id), Some(manifest)) = (Sha256::from_hex(hex), manifest) {
                found.push((ImageId(id), manifest));
            }
        }
        found.sort_unstable();
        Ok(found)
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
        assert_eq!(images.starting_with("").unwrap().len(), 2);
        let prefix = &one.0.hex()[..5];
        assert_eq!(images.starting_with(prefix).unwrap(), [(one, manifest)]);
        assert!(images.remove(one).unwrap());
        assert!(!images.remove(one).unwrap());
        assert_eq!(images.starting_with(prefix).unwrap(), []);
    }
}
