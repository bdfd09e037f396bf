//! kiln as a library: one function per verb, all wiring, no terminal.
//!
//! [`verbs`] are what a user asks for: build, pull, push, run. Each works on [`Stores`], an open state
//! directory, and takes what is the matter of one request as arguments: which registries it may reach
//! and how ([`Outside`]), what is asked for, where progress goes. A verb never prints and never reads
//! the environment or standard input; answers are values. Below the verbs lie the rooms that they
//! share.

mod error;
mod outside; // what is the matter of one request
mod stores; // an open state directory // every failure, sorted

mod agents; // ssh agents of a build
mod ahead; // what exporters will want of layers
mod annotations; // what is attached to results
mod assembly; // results as images of the local store
mod base_layers; // fetched when a step needs files
mod bases; // what image names stand for
mod building; // from a request to an image
mod check; // findings about a Dockerfile
mod compare; // two layers, two configs
mod containers; // from an image to a container
mod definition; // Dockerfile, context, ignore file
mod epoch; // SOURCE_DATE_EPOCH
mod files; // results as plain files
mod images; // the local store
mod layout_context; // images of layouts on disk
mod local_image; // one platform or several
mod mend; // blobs that are damaged
mod outline; // what a build can be given
mod output; // where results go
mod remote; // downloads and repositories
mod request; // what a build is asked for
mod sandbox; // prepared when the first command runs
mod ship; // pull, push, save, load, login
mod sizes; // what images are said to take
mod storage; // what is kept, and what of it can go
mod targets; // what can be built
mod transfer; // results that machines share
mod twice; // the same build twice
mod why; // what builds did

pub mod verbs; // what a user asks for

pub use base_layers::{LayerProgress, LayerWork};
pub use building::{BuildForecast, Prospect, StepForecast};
pub use check::CheckResult;
pub use compare::{ConfigDifference, FileChange, FileDifference, FileKind, compare_layers};
pub use containers::{Bind, RunRequest};
pub use error::{Error, ErrorClass, SourceText};
pub use images::{HistoryRow, ImageSummary, Removal};
pub use kiln_exporter::{LoadSource, PackProgress};
pub use kiln_snapshotter::{Packed, UnpackLimit};
pub use kiln_solver::{Event, LogStream, Progress, Silent, VertexEnd, VertexId};
pub use local_image::LocalImage;
pub use outline::{Outline, OutlinedArgument, OutlinedNeed};
pub use outside::{Outside, Programs};
pub use request::{
    AgentRequest, AgentSource, Annotation, AnnotationPlace, BaseLayers, BuildRequest, BuildResult,
    CacheDestination, CacheManifest, CacheMode, CacheName, CacheSource, CacheTarget, ContextSource,
    DanglingName, DanglingWhen, Destination, DockerfileSource, Entitlement, FileTimes,
    FilesOptions, ImageOptions, LayoutForm, MediaTypes, MountContents, NamedContext, OnFailure,
    Output, Pull, PushAs, Reuse, SecretBytes, Split, Stale, StaleBlobs, Transport,
};
pub use ship::Pulled;
pub use storage::{
    Amount, CacheEntry, CacheSettings, CacheUsage, Collection, ContainerUsage, Damage,
    DamagedThing, EntryKind, Extent, ImageUsage, Lost, Outcome, PruneRequest, Pruned, Repair,
    Sharing, StorageSummary, Turn, Unneeded, Usability, Verification,
};
pub use stores::{Purpose, Stores, StoresOptions};
pub use targets::{Target, Targets};
pub use twice::{Cause, Comparison, StepDifference, Verdict};
pub use why::WhichBuild;
