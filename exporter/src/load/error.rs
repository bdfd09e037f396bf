//! Why images could not be loaded.

use std::io;

use kiln_cache::{BlobError, ImageError};
use kiln_oci::{DiffId, InvalidDocument, InvalidImageRef, Platform, Sha256};
use kiln_snapshotter::TarError;

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
    /// A config or layer has not the size that its descriptor says (OCI image specification,
    /// descriptors: such content must not be trusted).
    #[error("{member} has {actual_bytes} bytes, but its descriptor says {expected_bytes}")]
    WrongSize {
        /// Its place in the archive.
        member: String,
        /// By the manifest.
        expected_bytes: u64,
        /// By its bytes.
        actual_bytes: u64,
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
