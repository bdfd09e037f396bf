//! Caches that are shared with other machines.

use std::fmt;
use std::path::PathBuf;

use kiln_exporter::MediaFamily;
pub use kiln_exporter::StaleBlobs;
use kiln_oci::{Compression, Sha256, TaggedRef};

use super::outputs::Transport;

/// Where results of other machines are looked for (`--cache-from`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheSource {
    /// A cache in a registry, or an image with one inside.
    Registry {
        /// Its name.
        name: TaggedRef,
        /// Whether the registry has to prove who it is.
        transport: Transport,
    },
    /// A layout on disk.
    Local {
        /// Its directory.
        directory: PathBuf,
        /// Which cache of it.
        entry: CacheName,
    },
}

/// Which cache of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheName {
    /// The one with this tag.
    Tag(String),
    /// The one with this digest.
    Digest(Sha256),
}

/// Where results go for other machines (`--cache-to`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTarget {
    /// Where.
    pub to: CacheDestination,
    /// Which results.
    pub mode: CacheMode,
    /// How layers are packed.
    pub compression: Compression,
    /// With how much work; none means the default.
    pub level: Option<u8>,
    /// Whether what cache mounts hold goes too.
    pub mounts: MountContents,
    /// `force-compression=`: layers that are packed otherwise elsewhere are packed anew.
    pub force: bool,
    /// Which kind of manifest.
    pub manifest: CacheManifest,
    /// Which family of media types an index has.
    pub media_types: MediaFamily,
    /// What becomes of the build if this fails.
    pub on_failure: OnFailure,
}

impl CacheTarget {
    /// Returns a target with everything else as it is by default.
    #[must_use]
    pub fn new(to: CacheDestination) -> Self {
        Self {
            to,
            mode: CacheMode::default(),
            compression: Compression::Gzip,
            level: None,
            mounts: MountContents::default(),
            force: false,
            manifest: CacheManifest::default(),
            media_types: MediaFamily::Oci,
            on_failure: OnFailure::default(),
        }
    }
}

/// Where a cache is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheDestination {
    /// A tag in a registry.
    Registry {
        /// Its name.
        name: TaggedRef,
        /// Whether the registry has to prove who it is.
        transport: Transport,
    },
    /// A layout on disk.
    Local {
        /// Its directory.
        directory: PathBuf,
        /// The cache's tag in it.
        tag: String,
        /// What becomes of blobs that nothing names any more.
        stale: StaleBlobs,
    },
    /// The image itself.
    Inline,
}

/// Which results are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those whose layers the result has.
    #[default]
    Min,
    /// Those of all steps.
    Max,
}

/// What becomes of what cache mounts hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountContents {
    /// It stays.
    #[default]
    Stay,
    /// It is exported (`mounts=true`): of every cache mount that a step of the build has.
    Exported,
}

/// What kind of manifest a cache in a registry or layout has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheManifest {
    /// That of an image.
    #[default]
    Image,
    /// An index (`image-manifest=false`).
    Index,
}

/// What a failed export means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The build has failed.
    #[default]
    Fail,
    /// The user is told (`ignore-error=true`).
    Warn,
}

impl fmt::Display for CacheSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { name, .. } => write!(f, "{name}"),
            Self::Local { directory, entry } => match entry {
                CacheName::Tag(tag) => write!(f, "{}:{tag}", directory.display()),
                CacheName::Digest(digest) => write!(f, "{}@{digest}", directory.display()),
            },
        }
    }
}

impl fmt::Display for CacheDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { name, .. } => write!(f, "{name}"),
            Self::Local { directory, tag, .. } => write!(f, "{}:{tag}", directory.display()),
            Self::Inline => f.write_str("the image"),
        }
    }
}
