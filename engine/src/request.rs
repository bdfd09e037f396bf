//! What a build is asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_cache::{Compression, ImageId, ImageRef, Platform, Sha256, Timestamp};
use kiln_runtime::{EtcFile, Resources, Ulimit};

pub use kiln_solver::Reuse;

/// A build, as the command line describes it.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Where `COPY` and `ADD` find their files.
    pub context: ContextSource,
    /// Where the instructions are.
    pub dockerfile: DockerfileSource,
    /// `--target`.
    pub target: Option<String>,
    /// `--build-arg`, values present.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, in order.
    pub labels: Vec<(String, String)>,
    /// `--platform`; this machine's if absent.
    pub platform: Option<Platform>,
    /// `--tag`.
    pub tags: Vec<ImageRef>,
    /// `--pull`.
    pub pull: Pull,
    /// `--no-cache`, `--no-cache-filter`.
    pub reuse: Reuse,
    /// `--output`, `--push`, `--load`; the local store if empty.
    pub outputs: Vec<Output>,
    /// `--jobs`: steps at the same time.
    pub jobs: usize,
    /// `--network` of `RUN`.
    pub network: kiln_runtime::Network,
    /// `--add-host`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// `--shm-size`, bytes.
    pub shm_size_bytes: u64,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--resource` and its aliases.
    pub resources: Resources,
    /// What `RUN` finds at `/etc/resolv.conf`.
    pub resolv_conf: EtcFile,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: Option<Timestamp>,
}

/// Where the build context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory of the host.
    Directory(PathBuf),
    /// Nowhere: the Dockerfile came from standard input alone.
    Empty,
}

/// Where the Dockerfile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfileSource {
    /// `Dockerfile`, or `dockerfile`, in the context.
    Default,
    /// A file of the host.
    Path(PathBuf),
    /// Text that was read from standard input.
    Text(Vec<u8>),
}

/// Whether base images are looked up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// Only names that are not known here.
    #[default]
    Missing,
    /// Every name (`--pull`).
    Always,
    /// None: what is not here is an error.
    Never,
}

/// Where the result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The local store, under the build's tags.
    Store,
    /// A registry, under the build's tags.
    Push(ImageOptions),
    /// An OCI image layout.
    Oci {
        /// Where.
        to: Destination,
        /// One archive, or a directory.
        form: LayoutForm,
        /// How layers are packed.
        image: ImageOptions,
    },
    /// An archive for `docker load`.
    Docker {
        /// Where.
        to: Destination,
        /// One archive, or a directory.
        form: LayoutForm,
        /// How layers are packed.
        image: ImageOptions,
    },
    /// The files of the target as a directory.
    Local(PathBuf),
    /// The files of the target as a tar.
    Tar(Destination),
    /// Nowhere: only the cache is filled.
    CacheOnly,
}

/// Where an archive goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file or directory of the host.
    Path(PathBuf),
    /// Standard output.
    Stdout,
}

/// The form of an image layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutForm {
    /// One tar.
    Archive,
    /// A directory (`tar=false`).
    Directory,
}

/// How an image's parts are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOptions {
    /// `compression=`.
    pub compression: Compression,
    /// `compression-level=`.
    pub level: Option<u8>,
    /// `force-compression=`.
    pub force: bool,
    /// `oci-mediatypes=`.
    pub media_types: MediaTypes,
    /// `name=`: tags for this output alone.
    pub names: Vec<ImageRef>,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self {
            compression: Compression::Gzip,
            level: None,
            force: false,
            media_types: MediaTypes::Oci,
            names: Vec::new(),
        }
    }
}

/// A family of media types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaTypes {
    /// OCI.
    #[default]
    Oci,
    /// Docker schema 2.
    Docker,
}

/// What a build came to.
#[derive(Clone, Debug)]
pub struct BuildResult {
    /// The image's id: the digest of its config.
    pub image: ImageId,
    /// The digest of the manifest in the local store.
    pub manifest: Sha256,
    /// Findings about the Dockerfile.
    pub warnings: Vec<kiln_parser::Diagnostic>,
    /// The Dockerfile, for showing the findings.
    pub source_text: crate::SourceText,
}
