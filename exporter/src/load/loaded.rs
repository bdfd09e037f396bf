//! Sources of images that are loaded, the platforms wanted, and the result.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use kiln_oci::{Descriptor, Image, Platform, Sha256, TaggedRef};

use super::error::LoadError;

/// A source of images.
pub enum LoadSource<'a> {
    /// An OCI layout.
    Directory(PathBuf),
    /// A file that holds an archive, be it a pipe.
    File(File),
    /// A stream with an archive.
    Stream(&'a mut (dyn Read + Send)),
}

impl std::fmt::Debug for LoadSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
            Self::Stream(_) => f.debug_tuple("Stream").finish_non_exhaustive(),
        }
    }
}

/// Reads the name of an image; none if it has a digest: such a name is no tag, and the image is
/// found by the digest alone. containerd exports images so that were pulled by digest.
pub(crate) fn parse_tag(name: &str) -> Result<Option<TaggedRef>, LoadError> {
    match name.parse::<TaggedRef>() {
        Ok(parsed) => Ok(Some(parsed).filter(|parsed| parsed.digest().is_none())),
        Err(source) => Err(LoadError::Name {
            name: name.to_owned(),
            source,
        }),
    }
}

/// An image that is in the store now, without names as yet.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the archive calls it.
    pub names: Vec<TaggedRef>,
    /// The image; of an index that came whole, the first one.
    pub image: Image,
    /// The index, if it came whole.
    pub index: Option<LoadedIndex>,
}

/// An index that is in the store now.
#[derive(Clone, Debug)]
pub struct LoadedIndex {
    /// Type, digest and length.
    pub descriptor: Descriptor,
    /// The configs of the images that came with it.
    pub(crate) configs: Vec<Sha256>,
}

/// The platforms of an index that are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platforms<'a> {
    /// The index with all its images that are there.
    All,
    /// The image for this platform.
    Only(&'a Platform),
}

impl Loaded {
    /// Says whether an image with this config came.
    pub(super) fn has_config(&self, config: Sha256) -> bool {
        match &self.index {
            None => self.image.manifest.config.digest == config,
            Some(index) => index.configs.contains(&config),
        }
    }

    /// Returns the digest of what a name of it stands for.
    pub(super) fn top(&self) -> Sha256 {
        match &self.index {
            None => self.image.descriptor.digest,
            Some(index) => index.descriptor.digest,
        }
    }
}

/// Which image of a layout is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutEntry<'a> {
    /// The one with this tag in `index.json`.
    Tag(&'a str),
    /// The manifest or index with this digest, listed or not.
    Digest(Sha256),
}
