//! The images in the store by id, with or without a tag: `images/<id>` says which manifest an image
//! has, and what else would cost reading it.
//!
//! A note is JSON. One that is damaged is written anew, from the manifests in the store: if it
//! counted as absent, collection would delete an image that has no tag. Up to format 2 of the state
//! directory a note was the digest of the manifest alone.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::actions::touch;
use crate::spread::read_small;
use crate::{Blobs, Store};
use kiln_oci::{DiffId, ImageId, LARGEST_MANIFEST, Sha256, TaggedRef, Timestamp};

/// What is noted of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageNote {
    /// The manifest or index; of several manifests with one config the last one counts.
    pub manifest: Sha256,
    /// How long it stays.
    pub stay: Stay,
    /// Every name that stands for it, and perhaps some that did; none where nobody kept count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<TaggedRef>>,
    /// What lists say of it; none where that can change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<ImageFacts>,
}

/// How long an image stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stay {
    /// Until the user removes it: it was pulled, loaded or asked for by its digest.
    UntilRemoved,
    /// While it has a name or something needs it: a build made it and gave it a name. After that it
    /// is cache.
    WhileNamed,
}

/// What an image with one manifest is made of. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Bytes of its layers' tar streams.
    pub size_bytes: u64,
    /// Config and layers as registries name them, here or not.
    pub blobs: Vec<Sha256>,
    /// Layers as the image names them.
    pub diff_ids: Vec<DiffId>,
}

/// The images of a state directory.
#[derive(Clone, Debug)]
pub struct ImageNotes {
    store: Store,
}

impl ImageNotes {
    /// Returns the images of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    /// Notes that an image is here, or something new about it: `change` makes the note from the
    /// earlier one, if there is one. What two kilns note at once both counts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn update(
        &self,
        id: ImageId,
        change: impl Fn(Option<ImageNote>) -> ImageNote,
    ) -> io::Result<()> {
        let is_noted = || {
            let before = self.get(id);
            before.is_some_and(|before| change(Some(before.clone())) == before)
        };
        // Most builds end here.
        if is_noted() {
            return Ok(());
        }
        let directory = self.store.path("images");
        fs::create_dir_all(&directory)?;
        let lock = File::open(&directory)?;
        lock.lock()?;
        let before = self.get(id);
        let after = change(before.clone());
        if before.as_ref() == Some(&after) {
            return Ok(());
        }
        self.write(id, &after)
    }

    fn write(&self, id: ImageId, note: &ImageNote) -> io::Result<()> {
        let text = serde_json::to_vec(note).expect("a note is plain data");
        let temporary = self.store.work_file()?;
        fs::write(&temporary, text)?;
        self.store.owe();
        fs::rename(&temporary, self.path(id))
    }

    /// Returns what is noted of an image, if it is here.
    #[must_use]
    pub fn get(&self, id: ImageId) -> Option<ImageNote> {
        let bytes = fs::read(self.path(id)).ok()?;
        parse(&bytes).or_else(|| self.note_again(id))
    }

    /// Notes that an image is in use, or was until now.
    ///
    /// # Errors
    /// When its note cannot be changed.
    pub fn touch(&self, id: ImageId) -> io::Result<()> {
        touch(&self.path(id))
    }

    /// Returns when an image was noted or used last.
    #[must_use]
    pub fn last_used(&self, id: ImageId) -> Option<Timestamp> {
        let metadata = fs::metadata(self.path(id)).ok()?;
        Some(metadata.modified().ok()?.into())
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

    /// Returns the images whose id starts with these hexadecimal digits, sorted by id.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn starting_with(&self, prefix: &str) -> io::Result<Vec<(ImageId, ImageNote)>> {
        let images = self.store.path("images");
        let entries = match fs::read_dir(&images) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let hex = name.to_str().filter(|name| name.starts_with(prefix));
            // What is no digest is nothing of ours.
            ids.extend(hex.and_then(|hex| Sha256::from_hex(hex).ok()).map(ImageId));
        }
        ids.sort_unstable();
        let directory = File::open(images)?;
        kiln_threads::prepare_pool();
        let read = |id: &ImageId| {
            // One that cannot be read was removed meanwhile.
            let bytes = read_small(&directory, Path::new(&id.0.hex().to_string())).ok()?;
            let note = parse(&bytes).or_else(|| self.note_again(*id))?;
            Some((*id, note))
        };
        Ok(ids.par_iter().filter_map(read).collect())
    }

    /// Looks for the manifest of an image whose note is damaged.
    fn note_again(&self, id: ImageId) -> Option<ImageNote> {
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
        let note = ImageNote {
            manifest: digests.into_iter().find(is_its_manifest)?,
            // It is not known whether it was pulled.
            stay: Stay::UntilRemoved,
            names: None,
            facts: None,
        };
        // Not noted, it is found once more.
        let _ = self.write(id, &note);
        Some(note)
    }

    fn path(&self, id: ImageId) -> PathBuf {
        self.store.path(format!("images/{}", id.0.hex()))
    }
}

fn parse(bytes: &[u8]) -> Option<ImageNote> {
    if let Ok(note) = serde_json::from_slice(bytes) {
        return Some(note);
    }
    let manifest = str::from_utf8(bytes).ok()?.trim().parse().ok()?;
    Some(ImageNote {
        manifest,
        stay: Stay::UntilRemoved,
        names: None,
        facts: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(manifest: Sha256) -> ImageNote {
        ImageNote {
            manifest,
            stay: Stay::WhileNamed,
            names: Some(vec!["app".parse().unwrap()]),
            facts: Some(ImageFacts {
                created: Some(Timestamp::from_seconds(5)),
                size_bytes: 7,
                blobs: vec![Sha256::of(b"config")],
                diff_ids: vec![DiffId(Sha256::of(b"layer"))],
            }),
        }
    }

    #[test]
    fn images_are_found_by_the_beginning_of_their_id() {
        let directory = tempfile::tempdir().unwrap();
        let images = ImageNotes::new(&Store::open(directory.path()).unwrap());
        let (one, two) = (ImageId(Sha256::of(b"1")), ImageId(Sha256::of(b"2")));
        let note = note(Sha256::of(b"m"));
        assert_eq!(images.starting_with("").unwrap(), []);
        for id in [one, two, two] {
            images.update(id, |_| note.clone()).unwrap();
        }
        assert_eq!(images.get(one), Some(note.clone()));
        assert_eq!(images.starting_with("").unwrap().len(), 2);
        let prefix = &one.0.hex()[..5];
        let found = images.starting_with(prefix).unwrap();
        assert_eq!(found, [(one, note)]);
        assert!(images.remove(one).unwrap());
        assert!(!images.remove(one).unwrap());
        assert_eq!(images.get(one), None);
        assert_eq!(images.starting_with(prefix).unwrap(), []);
    }

    #[test]
    fn a_damaged_note_is_made_again_of_the_manifest() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (images, blobs) = (ImageNotes::new(&store), Blobs::new(&store));
        let config = blobs.put(b"{}").unwrap();
        let manifest = format!("{{\"config\":{{\"digest\":\"{config}\"}}}}");
        let manifest = blobs.put(manifest.as_bytes()).unwrap();
        let index = blobs.put(b"{\"manifests\":[]}").unwrap();
        let (image, many, lost) = (ImageId(config), ImageId(index), ImageId(Sha256::of(b"x")));
        for id in [image, many, lost] {
            images.update(id, |_| note(manifest)).unwrap();
            let whole = fs::read(images.path(id)).unwrap();
            fs::write(images.path(id), &whole[..whole.len() / 2]).unwrap();
        }
        let kept = |manifest| ImageNote {
            manifest,
            stay: Stay::UntilRemoved,
            names: None,
            facts: None,
        };
        let mut expected = [(image, kept(manifest)), (many, kept(index))];
        expected.sort_unstable_by_key(|(id, _)| *id);
        assert_eq!(images.starting_with("").unwrap(), expected);
        let noted = fs::read(images.path(image)).unwrap();
        assert_eq!(parse(&noted), Some(kept(manifest)));
    }

    #[test]
    fn a_note_of_an_earlier_format_is_that_of_an_image_that_stays() {
        let directory = tempfile::tempdir().unwrap();
        let images = ImageNotes::new(&Store::open(directory.path()).unwrap());
        let (id, manifest) = (ImageId(Sha256::of(b"1")), Sha256::of(b"m"));
        images.update(id, |_| note(manifest)).unwrap();
        fs::write(images.path(id), format!("{manifest}\n")).unwrap();
        let found = images.get(id).unwrap();
        assert_eq!((found.manifest, found.stay), (manifest, Stay::UntilRemoved));
        let day = std::time::Duration::from_secs(86_400);
        let file = File::options().write(true).open(images.path(id)).unwrap();
        let noted = file.metadata().unwrap().modified().unwrap();
        file.set_modified(noted - day).unwrap();
        let age = || Timestamp::now().since(images.last_used(id).unwrap());
        assert!(age() >= day);
        images.touch(id).unwrap();
        assert!(age() < day / 2);
    }

    #[test]
    fn changes_that_two_kilns_make_at_once_both_count() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let id = ImageId(Sha256::of(b"1"));
        let add = |name: &str| {
            let images = ImageNotes::new(&store);
            let added = |before: Option<ImageNote>| {
                let mut after = before.unwrap_or_else(|| note(Sha256::of(b"m")));
                let names = after.names.get_or_insert_default();
                let name: TaggedRef = name.parse().unwrap();
                if !names.contains(&name) {
                    names.push(name);
                }
                after
            };
            images.update(id, added).unwrap();
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..10 {
                        add(&format!("app:{thread}-{number}"));
                    }
                });
            }
        });
        let names = ImageNotes::new(&store).get(id).unwrap().names.unwrap();
        assert_eq!(names.len(), 41);
    }
}
