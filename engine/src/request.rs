//! What a build is asked for.

mod annotation; // what is attached to results
mod cache; // what is shared with other machines
mod outputs; // where its result goes, and how it is written

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_oci::{Descriptor, ImageId, Platform, Sha256, TaggedRef, Timestamp};
use kiln_runtime::{EtcFile, Resources, Ulimit};

pub use annotation::{Annotation, AnnotationPlace};
pub use cache::{
    CacheDestination, CacheManifest, CacheMode, CacheName, CacheSource, CacheTarget, MountContents,
    OnFailure, StaleBlobs,
};
pub use kiln_exporter::{MediaFamily, Stale};
pub use kiln_runtime::SecretBytes;
pub use kiln_solver::Reuse;
pub use outputs::{
    BaseLayers, DanglingName, DanglingWhen, Destination, FileTimes, FilesOptions, ImageOutput,
    LayoutForm, Output, PushAs, Split, Transport,
};

/// A build, as the command line describes it.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Where `COPY` and `ADD` find their files.
    pub context: ContextSource,
    /// Where the instructions are.
    pub dockerfile: DockerfileSource,
    /// `--build-context`: names and what they stand for.
    pub named_contexts: Vec<(String, NamedContext)>,
    /// `--target`.
    pub target: Option<String>,
    /// `--build-arg`, values present.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, in order.
    pub labels: Vec<(String, String)>,
    /// `--annotation`, in order.
    pub annotations: Vec<Annotation>,
    /// `--secret`: ids and values.
    pub secrets: Vec<(String, SecretBytes)>,
    /// `--ssh`.
    pub agents: Vec<AgentRequest>,
    /// `--allow`.
    pub allowed: Vec<BuildEntitlement>,
    /// `--platform`, in order; none means this machine's. With several the result is an index.
    pub platforms: Vec<Platform>,
    /// `--tag`.
    pub tags: Vec<TaggedRef>,
    /// `--pull`.
    pub pull: Pull,
    /// `--no-cache`, `--no-cache-filter`.
    pub reuse: Reuse,
    /// `--output`, `--push`, `--load`; the local store if empty.
    pub outputs: Vec<Output>,
    /// `--cache-from`.
    pub cache_from: Vec<CacheSource>,
    /// `--cache-to`.
    pub cache_to: Vec<CacheTarget>,
    /// `--jobs`: steps at the same time.
    pub jobs: usize,
    /// `--network` of `RUN`.
    pub network: kiln_runtime::JobNetwork,
    /// `--add-host`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// `--shm-size`, bytes.
    pub shm_size_bytes: u64,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--resource` and its aliases.
    pub resources: Resources,
    /// Where vendors describe devices, lowest precedence first.
    pub device_directories: Vec<PathBuf>,
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
    /// An archive on the input of the request ([`crate::Io`]), compressed or not. Its beginning was
    /// read to find out.
    Archive {
        /// What was read; the input goes on behind it.
        beginning: Vec<u8>,
    },
    /// A git repository, or an archive or a single Dockerfile behind a URL.
    Remote(String),
    /// Nowhere: there is a Dockerfile alone.
    Empty,
}

/// What a name of `--build-context` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// `docker-image://`.
    Image(TaggedRef),
    /// `docker-image://scratch`.
    Scratch,
    /// `oci-layout://PATH[:tag][@digest]`.
    Layout {
        /// The layout's directory.
        directory: PathBuf,
        /// Which image of it.
        tag: Option<String>,
        /// Which manifest or index of it; goes before the tag.
        digest: Option<Sha256>,
    },
    /// A git repository or a URL, as written.
    Remote(String),
    /// A directory of the host, with an ignore file of its own.
    Directory(PathBuf),
}

/// One `--ssh`: an agent that `RUN --mount=type=ssh` can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRequest {
    /// Its id, `default` unless said otherwise.
    pub id: String,
    /// Who answers.
    pub source: AgentSource,
}

/// Who answers behind an agent's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSource {
    /// The agent that listens on this socket.
    Socket(PathBuf),
    /// kiln itself, with these private keys.
    Keys(Vec<PathBuf>),
}

/// What a build may do only if it was said (`--allow`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEntitlement {
    /// `network.host`: `RUN --network=host`.
    NetworkHost,
    /// `security.insecure`: `RUN --security=insecure`.
    SecurityInsecure,
    /// `device`, or one device: `RUN --device`.
    Device(Option<String>),
    /// `buildx.local.delete`: outputs that remove stale files anywhere.
    LocalDelete,
}

/// Where the Dockerfile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfileSource {
    /// `Dockerfile`, or `dockerfile`, in the context.
    Default,
    /// A file of the host; for a remote context that has no such absolute path, a file of it.
    Path(PathBuf),
    /// A URL.
    Remote(String),
    /// Its text: a command reads it from standard input.
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

/// What a build came to.
#[derive(Clone, Debug)]
pub struct BuildResult {
    /// The image's id: the digest of its config, or of its index.
    pub id: ImageId,
    /// The manifest or index as it was pushed, else as it was archived, else as it is stored.
    pub descriptor: Descriptor,
    /// The config; none for an index.
    pub config: Option<Sha256>,
    /// The manifest of the cache that was exported, if one was.
    pub cache: Option<Descriptor>,
    /// Findings about the Dockerfile.
    pub warnings: Vec<kiln_parser::Diagnostic>,
    /// The Dockerfile, for showing the findings.
    pub source_text: crate::SourceText,
}
