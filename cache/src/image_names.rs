//! Names that move: tags of local images, and the base names that builds resolved.
//!
//! Each name is one small file whose path spells the name and whose text is a manifest digest,
//! replaced by rename. There are two separate spaces: [`ImageNames::tags`] are the images that a
//! user asked for and `kiln images` lists; [`ImageNames::pins`] are what builds found a base name
//! to mean, so that the next build need not ask the registry. Both keep the content they name from
//! being collected.
//!
//! A tag is set durably, after everything that it leads to, and one that is damaged is an error:
//! taken for absent it would be looked for in a public registry, where anybody can push an
//! image of that name. A pin is what such a registry said; one that is lost or damaged is asked for
//! again.
//!
//! On disk a tag's colon becomes the last path component, `_tag/`, so that `a/b` and `a/b/c` can
//! both be repositories: `refs/docker.io/library/alpine/_tag/3.20`. No repository component starts
//! with an underscore.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use walkdir::WalkDir;

use crate::Store;
use crate::spread::read_small;
use kiln_oci::{ImageRef, Sha256, TaggedRef};

/// Why a name could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// A file operation failed.
    #[error("{path}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file does not hold a digest: what the name stood for cannot be told any more.
    #[error(
        "{path} does not hold a digest; give the name again (build, pull, load or tag), or have it \
         discarded by: kiln cache verify"
    )]
    Damaged {
        /// The file concerned.
        path: PathBuf,
    },
    /// The name has a digest, so it cannot stand for another image.
    #[error("{0} has a digest, so it is no tag")]
    Digest(TaggedRef),
}

/// One space of names.
#[derive(Clone, Debug)]
pub struct ImageNames {
    store: Store,
    space: Space,
}

/// The purpose of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Tags,
    Pins,
}

impl Space {
    const fn directory(self) -> &'static str {
        match self {
            Self::Tags => "refs",
            Self::Pins => "pins",
        }
    }
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Repository and tag.
    pub name: TaggedRef,
    /// The manifest or index.
    pub manifest: Sha256,
}

impl ImageNames {
    /// Returns the tags of local images.
    #[must_use]
    pub fn tags(store: &Store) -> Self {
        Self {
            store: store.clone(),
            space: Space::Tags,
        }
    }

    /// Returns the base names as builds resolved them.
    #[must_use]
    pub fn pins(store: &Store) -> Self {
        Self {
            store: store.clone(),
            space: Space::Pins,
        }
    }

    /// Returns what `name` stands for; none if it has a digest, which no name here has.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn get(&self, name: &TaggedRef) -> Result<Option<Sha256>, NamesError> {
        match self.path(name) {
            Some(path) => self.read(&path),
            None => Ok(None),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Sha256>, NamesError> {
        match (read(path), self.space) {
            (Err(NamesError::Damaged { .. }), Space::Pins) => Ok(None),
            (found, _) => found,
        }
    }

    /// Makes `name` stand for `manifest`. A tag survives a loss of power, and all that this
    /// process made before is on disk first.
    ///
    /// # Errors
    /// When the name has a digest, or the file cannot be written.
    pub fn set(&self, name: &TaggedRef, manifest: Sha256) -> Result<(), NamesError> {
        let path = self
            .path(name)
            .ok_or_else(|| NamesError::Digest(name.clone()))?;
        let has_it = read(&path).is_ok_and(|old| old == Some(manifest));
        let set = match (has_it, self.space) {
            // Another kiln may have given it a moment ago.
            (true, Space::Tags) => self.store.settle(),
            (true, Space::Pins) => Ok(()),
            (false, space) => write(&self.store, &path, manifest, space),
        };
        set.map_err(|source| NamesError::Io { path, source })
    }

    /// Removes `name`; says whether it was there.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self, name: &TaggedRef) -> Result<bool, NamesError> {
        let Some(path) = self.path(name) else {
            return Ok(false);
        };
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(NamesError::Io { path, source }),
        }
        // Directories that became empty; the first that is not ends the loop.
        let space = self.store.path(self.space.directory());
        let mut directory = path.parent();
        while let Some(empty) = directory.filter(|d| **d != space && fs::remove_dir(d).is_ok()) {
            directory = empty.parent();
        }
        // A name that comes back after a loss of power would lead to what is deleted since.
        let gone = directory.map_or(Ok(()), |d| fs::File::open(d)?.sync_data());
        match gone {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(NamesError::Io {
                path,
                source: error,
            }),
            _ => Ok(true),
        }
    }

    /// Returns the files of names that do not hold a digest.
    #[must_use]
    pub fn damaged(&self) -> Vec<PathBuf> {
        let files = WalkDir::new(self.store.path(self.space.directory())).into_iter();
        files
            .flatten()
            .filter(|entry| entry.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .filter(|path| matches!(read(path), Err(NamesError::Damaged { .. })))
            .collect()
    }

    /// Returns every name, sorted.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn list(&self) -> Result<Vec<Named>, NamesError> {
        let space = self.store.path(self.space.directory());
        let mut names = Vec::new();
        for entry in WalkDir::new(&space)
            .sort_by_file_name()
            .into_iter()
            .flatten()
        {
            if !entry.file_type().is_file() {
                continue;
            }
            let name = entry.path().strip_prefix(&space).ok().and_then(name_of);
            if let (Some(name), Some(manifest)) = (name, self.read(entry.path())?) {
                names.push(Named { name, manifest });
            }
        }
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// Returns the file of a name; none if the name has a digest, with or without a tag.
    fn path(&self, name: &TaggedRef) -> Option<PathBuf> {
        let tag = name.tag().filter(|_| name.digest().is_none())?;
        let space = self.store.path(self.space.directory());
        let repository = space.join(name.domain()).join(name.path());
        Some(repository.join("_tag").join(tag))
    }
}

fn name_of(path: &Path) -> Option<TaggedRef> {
    let (repository, tag) = path.to_str()?.split_once("/_tag/")?;
    repository.parse::<ImageRef>().ok()?.with_tag(tag).ok()
}

fn read(path: &Path) -> Result<Option<Sha256>, NamesError> {
    let bytes = match read_small(CWD, path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => {
            return Err(NamesError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let text = str::from_utf8(&bytes).unwrap_or_default();
    match text.trim().parse() {
        Ok(digest) => Ok(Some(digest)),
        Err(_) => Err(NamesError::Damaged {
            path: path.to_owned(),
        }),
    }
}

fn write(store: &Store, path: &Path, manifest: Sha256, space: Space) -> io::Result<()> {
    let temporary = store.work_file()?;
    let mut file = fs::File::create_new(&temporary)?;
    writeln!(file, "{manifest}")?;
    if space == Space::Tags {
        store.owe();
        store.settle()?;
    }
    let parent = path.parent().expect("names lie below the root");
    // Another kiln may remove the empty directory between the two calls.
    let mut attempts = 0;
    loop {
        fs::create_dir_all(parent)?;
        match fs::rename(&temporary, path) {
            Err(error) if error.kind() == ErrorKind::NotFound && attempts < 10 => attempts += 1,
            other => break other?,
        }
    }
    match space {
        Space::Tags => fs::File::open(parent)?.sync_data(),
        Space::Pins => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TaggedRef {
        text.parse().unwrap()
    }

    #[test]
    fn a_damaged_tag_is_an_error_and_a_damaged_pin_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let whole = format!("{}\n", Sha256::of(b"1"));
        for damage in ["", "sha256:", &whole[..40], "\0\0\0\0"] {
            for names in [ImageNames::tags(&store), ImageNames::pins(&store)] {
                names.set(&name("app"), Sha256::of(b"1")).unwrap();
                fs::write(names.path(&name("app")).unwrap(), damage).unwrap();
            }
            let error = ImageNames::tags(&store).get(&name("app")).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("refs/docker.io/library/app/_tag/latest")
            );
            assert!(ImageNames::tags(&store).list().is_err());
            assert_eq!(ImageNames::pins(&store).get(&name("app")).unwrap(), None);
            assert_eq!(ImageNames::pins(&store).list().unwrap(), []);
        }
        // Giving the name again makes it whole.
        ImageNames::tags(&store)
            .set(&name("app"), Sha256::of(b"2"))
            .unwrap();
        let found = ImageNames::tags(&store).get(&name("app")).unwrap();
        assert_eq!(found, Some(Sha256::of(b"2")));
    }

    #[test]
    fn files_of_damaged_names_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let tags = ImageNames::tags(&Store::open(directory.path()).unwrap());
        assert!(tags.damaged().is_empty());
        for text in ["app", "other"] {
            tags.set(&name(text), Sha256::of(b"1")).unwrap();
        }
        let path = tags.path(&name("app")).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(tags.damaged(), [path]);
    }

    #[test]
    fn a_name_with_a_digest_is_no_tag() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (one, two) = (Sha256::of(b"1"), Sha256::of(b"2"));
        for names in [ImageNames::tags(&store), ImageNames::pins(&store)] {
            names.set(&name("app"), one).unwrap();
            for text in [format!("app@{two}"), format!("app:latest@{two}")] {
                let with_digest = name(&text);
                let error = names.set(&with_digest, two).unwrap_err();
                assert!(matches!(error, NamesError::Digest(_)), "{error}");
                assert_eq!(names.get(&with_digest).unwrap(), None);
                assert!(!names.remove(&with_digest).unwrap());
            }
            assert_eq!(names.get(&name("app")).unwrap(), Some(one));
        }
    }

    #[test]
    fn names_move_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let tags = ImageNames::tags(&store);
        let (one, two) = (Sha256::of(b"1"), Sha256::of(b"2"));
        tags.set(&name("app"), one).unwrap();
        tags.set(&name("app:v1"), one).unwrap();
        tags.set(&name("app/sub:v1"), two).unwrap();
        tags.set(&name("app:latest"), two).unwrap();
        assert_eq!(tags.get(&name("app")).unwrap(), Some(two));
        assert_eq!(ImageNames::pins(&store).get(&name("app")).unwrap(), None);
        let listed: Vec<String> = tags
            .list()
            .unwrap()
            .iter()
            .map(|n| n.name.familiar())
            .collect();
        assert_eq!(listed, ["app/sub:v1", "app:latest", "app:v1"]);
        assert!(tags.remove(&name("app")).unwrap());
        assert!(!tags.remove(&name("app")).unwrap());
        assert_eq!(tags.get(&name("app:v1")).unwrap(), Some(one));
        tags.remove(&name("app:v1")).unwrap();
        tags.remove(&name("app/sub:v1")).unwrap();
        assert_eq!(
            fs::read_dir(directory.path().join("refs")).unwrap().count(),
            0
        );
    }
}
