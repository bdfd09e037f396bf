//! Where the result of a build goes, and how it is written there.

use std::path::PathBuf;

use kiln_exporter::{MediaFamily, Stale};
use kiln_oci::{Compression, ImageRef, TaggedRef, Timestamp};

use super::annotation::Annotation;

/// Where the result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The local store.
    Store(ImageOutput),
    /// A registry.
    Push(ImageOutput),
    /// An OCI image layout.
    Oci {
        /// Where.
        to: Destination,
        /// One archive, or a directory.
        form: LayoutForm,
        /// How the image is written.
        image: ImageOutput,
    },
    /// An archive for `docker load`.
    Docker {
        /// Where.
        to: Destination,
        /// One archive, or a directory.
        form: LayoutForm,
        /// How the image is written.
        image: ImageOutput,
    },
    /// The files of the target as a directory.
    Local {
        /// Where.
        directory: PathBuf,
        /// How files are written.
        files: FilesOptions,
        /// What happens to files that the target does not have.
        stale: Stale,
    },
    /// The files of the target as a tar.
    Tar {
        /// Where.
        to: Destination,
        /// How files are written.
        files: FilesOptions,
    },
    /// Nowhere: only the cache is filled.
    CacheOnly,
}

impl Output {
    /// Returns how the image is written, if it is one.
    #[must_use]
    pub fn image(&self) -> Option<&ImageOutput> {
        match self {
            Self::Store(image)
            | Self::Push(image)
            | Self::Oci { image, .. }
            | Self::Docker { image, .. } => Some(image),
            Self::Local { .. } | Self::Tar { .. } | Self::CacheOnly => None,
        }
    }

    /// As [`Output::image`], to be changed.
    pub fn image_mut(&mut self) -> Option<&mut ImageOutput> {
        match self {
            Self::Store(image)
            | Self::Push(image)
            | Self::Oci { image, .. }
            | Self::Docker { image, .. } => Some(image),
            Self::Local { .. } | Self::Tar { .. } | Self::CacheOnly => None,
        }
    }
}

/// How the files of a target are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesOptions {
    /// `platform-split=`.
    pub split: Split,
    /// `source-date-epoch=`: goes before that of the request.
    pub epoch: Option<Timestamp>,
}

/// Whether each platform's files get a directory of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// If there are several platforms.
    #[default]
    Several,
    /// In any case.
    Always,
    /// Never: they share one directory and must not overlap.
    Never,
}

/// Where an archive goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file or directory of the host.
    Path(PathBuf),
    /// The output of the request ([`crate::Io`]): standard output, for a command.
    Stream,
}

/// The form of an image layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutForm {
    /// One tar.
    Archive,
    /// A directory (`tar=false`).
    Directory,
}

/// How an image is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOutput {
    /// `compression=`.
    pub compression: Compression,
    /// `compression-level=`.
    pub level: Option<u8>,
    /// `force-compression=`.
    pub force: bool,
    /// `oci-mediatypes=`.
    pub media_types: MediaFamily,
    /// `name=`: tags for this output alone.
    pub names: Vec<TaggedRef>,
    /// `dangling-name-prefix=`: a repository in which the image goes by its digest.
    pub dangling: Option<DanglingName>,
    /// `push-by-digest=`.
    pub push_as: PushAs,
    /// `registry.insecure=`. The client of the request has to allow it for the names' registries.
    pub transport: Transport,
    /// `unpack=`.
    pub base_layers: BaseLayers,
    /// `rewrite-timestamp=`.
    pub file_times: FileTimes,
    /// `source-date-epoch=`: goes before that of the request.
    pub epoch: Option<Timestamp>,
    /// `annotation…`: besides those of the request.
    pub annotations: Vec<Annotation>,
}

impl Default for ImageOutput {
    fn default() -> Self {
        Self {
            compression: Compression::Gzip,
            level: None,
            force: false,
            media_types: MediaFamily::Oci,
            names: Vec::new(),
            dangling: None,
            push_as: PushAs::Tags,
            transport: Transport::Secure,
            base_layers: BaseLayers::WhenNeeded,
            file_times: FileTimes::Keep,
            epoch: None,
            annotations: Vec::new(),
        }
    }
}

/// A name that an image has by its digest alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DanglingName {
    /// The repository.
    pub repository: ImageRef,
    /// When the image has this name.
    pub when: DanglingWhen,
}

/// When an image gets a name by its digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DanglingWhen {
    /// Besides its other names.
    #[default]
    Always,
    /// If it has no other name.
    Unnamed,
}

/// What a pushed image is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PushAs {
    /// By its tags.
    #[default]
    Tags,
    /// By its digest alone.
    Digest,
}

/// How far a registry has to prove who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// With a certificate.
    #[default]
    Secure,
    /// Not at all.
    Insecure,
}

/// When layers of the base come to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BaseLayers {
    /// When something needs their files.
    #[default]
    WhenNeeded,
    /// With the image.
    Now,
}

/// What happens to modification times in new layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileTimes {
    /// They are what they are.
    #[default]
    Keep,
    /// None is later than the epoch, if there is one.
    Clamp,
}
