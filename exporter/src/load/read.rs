//! Images out of archives and layouts that others wrote.
//!
//! Read are OCI layouts, as a directory or tar, and docker archives of both ages: those that are a
//! layout too, and those with a directory per layer and symbolic links between equal ones. Members
//! come in any order, so a tar is read by position; what is compressed or comes from a pipe is put
//! into a file of the store's `work/` first. Nothing is ever unpacked by the name it has in the
//! archive: names are looked up in a table, so no name leads anywhere.
//!
//! Every digest is verified: of blobs, and the diff id of every layer. Manifests of a layout are
//! kept byte for byte; an image of an old docker archive gets a new one.

mod contents; // members by name
mod docker; // manifest.json
mod layer; // verified on the way into the store
mod layout;
mod sniff; // what archives and layers are packed with // index.json

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kiln_cache::{BlobError, Blobs, ImageError, Store};
use kiln_oci::{
    Descriptor, DiffId, Image, ImageRef, InvalidDocument, InvalidImageRef, Platform, Sha256,
};
use kiln_snapshotter::{TarError, UnpackLimit};

use contents::Contents;

/// Where images come from.
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

/// An image that is in the store now, without names as yet.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the archive calls it.
    pub names: Vec<ImageRef>,
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

/// What of an index is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platforms<'a> {
    /// The index with all its images that are there.
    All,
    /// The image for this platform.
    Only(&'a Platform),
}

impl Loaded {
    /// Says whether an image with this config came.
    fn has_config(&self, config: Sha256) -> bool {
        match &self.index {
            None => self.image.manifest.config.digest == config,
            Some(index) => index.configs.contains(&config),
        }
    }

    /// Returns the digest of what a name of it stands for.
    fn top(&self) -> Sha256 {
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

/// Why images could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no tar.
    #[error("the input is not an archive")]
    NotAnArchive(#[source] io::Error),
    /// They are no tar that kiln reads.
    #[error("the input is not an archive")]
    Tar(#[source] TarError),
    /// A tar of something else: maybe a root file system, which is for `import`.
    #[error("the archive holds no images: it has neither manifest.json nor index.json")]
    NoImages,
    /// Something that is referred to is not there.
    #[error("{0} is missing")]
    MissingMember(String),
    /// A link leads nowhere, or around in circles.
    #[error("{0} is a link that leads nowhere")]
    DeadLink(String),
    /// A member is not the JSON that it should be.
    #[error("{path} is not valid")]
    Json {
        /// The member.
        path: String,
        /// What the JSON parser says.
        source: serde_json::Error,
    },
    /// A member is neither a manifest nor an index.
    #[error("{path} is not valid")]
    Document {
        /// The member.
        path: String,
        /// What is wrong with it.
        source: InvalidDocument,
    },
    /// A member that should be an index is a manifest.
    #[error("{0} is a manifest, not an index")]
    NoIndex(String),
    /// A member that should be JSON is far too long for it.
    #[error("{path} has {size_bytes} bytes, too many for a description of an image")]
    TooLong {
        /// The member.
        path: String,
        /// Its length.
        size_bytes: u64,
    },
    /// A name is not one.
    #[error("image name {name:?}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: InvalidImageRef,
    },
    /// The layer is not the one that the config means.
    #[error("layer {layer} has diff id {actual} instead of {expected}")]
    WrongDiffId {
        /// The layer.
        layer: String,
        /// By the config.
        expected: DiffId,
        /// By its bytes.
        actual: DiffId,
    },
    /// The layer cannot be decompressed.
    #[error("layer {layer} cannot be decompressed")]
    Layer {
        /// The layer.
        layer: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The layer is packed in a way that no media type stands for.
    #[error("layer {0} is packed in a way that images do not know")]
    UnknownPacking(String),
    /// Config and list of layers do not fit together.
    #[error("{config} lists {diff_ids} diff ids for {layers} layers")]
    LayerCount {
        /// The config.
        config: String,
        /// Number of layers in `manifest.json`.
        layers: usize,
        /// Number of diff ids in the config.
        diff_ids: usize,
    },
    /// A layout has no image of this tag.
    #[error("there is no tag {tag}; {}", listed(.known))]
    NoTag {
        /// What was looked for.
        tag: String,
        /// The tags that there are.
        known: Vec<String>,
    },
    /// An index without an image for this platform.
    #[error("no match for platform {platform} in manifest {digest}: not found")]
    NoPlatform {
        /// The index.
        digest: Sha256,
        /// What was looked for.
        platform: Platform,
    },
    /// A manifest or config is not an image's.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A blob is not what its name says, or cannot be stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A file cannot be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: String,
        /// What went wrong.
        source: io::Error,
    },
}

impl From<TarError> for LoadError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Read(error) => Self::NotAnArchive(error),
            error => Self::Tar(error),
        }
    }
}

fn listed(tags: &[String]) -> String {
    match tags {
        [] => "no image of it has a tag".to_owned(),
        tags => format!("there is {}", tags.join(", ")),
    }
}

/// Brings one image of a layout into the store, blobs and layers verified. Of an index, that is the
/// image for `platform`.
///
/// # Errors
/// See [`LoadError`].
pub fn load_from_layout(
    directory: &Path,
    wanted: LayoutEntry<'_>,
    store: &Store,
    blobs: &Blobs,
    platform: &Platform,
    limit: UnpackLimit,
) -> Result<Image, LoadError> {
    let contents = Contents::open(LoadSource::Directory(directory.to_owned()), store, limit)?;
    layout::load_one(&contents, wanted, blobs, platform)
}

/// Brings the images of an archive or layout into the store, or of an index what is wanted of it. The
/// archive, and each of its layers, may unpack to what `limit` says.
///
/// # Errors
/// See [`LoadError`]; images before the one that fails may be in the store then, without names.
pub fn load(
    source: LoadSource<'_>,
    store: &Store,
    blobs: &Blobs,
    wanted: Platforms<'_>,
    limit: UnpackLimit,
) -> Result<Vec<Loaded>, LoadError> {
    let contents = Contents::open(source, store, limit)?;
    let mut loaded = match contents.document("index.json")? {
        Some(index) if contents.find("oci-layout")?.is_some() => {
            layout::load(&contents, &index, blobs, wanted)?
        }
        index => match (contents.find("manifest.json")?, index) {
            (None, Some(index)) => layout::load(&contents, &index, blobs, wanted)?,
            (None, None) => return Err(LoadError::NoImages),
            (Some(_), _) => Vec::new(),
        },
    };
    if let Some(manifest) = contents.document("manifest.json")? {
        docker::load(&contents, &manifest, blobs, &mut loaded)?;
    }
    Ok(loaded)
}
