//! kiln as a library: one function per verb, all wiring, no terminal.
//!
//! [`verbs`] are what a user asks for: build, pull, push, run. Each works on [`Stores`], an open state
//! directory, and takes what is the matter of one request as arguments: which registries it may reach
//! and how ([`Outside`]), what is asked for, where progress goes. A verb never prints and never reads
//! the environment or standard input; answers are values. Below the verbs lie the rooms that they
//! share.

pub mod verbs; // what a user asks for

mod error; // every failure, sorted
mod io; // what a verb is connected to
mod outside; // what is the matter of one request
mod request; // what a build is asked for
mod stores; // an open state directory

mod agents; // ssh agents of a build
mod annotations; // what is attached to results
mod assembly; // results as images of the local store
mod base_layers; // fetched when a step needs files
mod bases; // what image names stand for
mod building; // from a request to an image
mod built; // what a build has come to
mod checks; // findings about a Dockerfile
mod containers; // those of a state directory
mod definition; // Dockerfile, context, ignore file
mod epoch; // SOURCE_DATE_EPOCH
mod files; // results as plain files
mod images; // those of the local store, and their names
mod layout_context; // images of layouts on disk
mod local_image; // one platform or several
mod origins; // where blobs came from
mod output; // where results go
mod packing; // how layers are packed
mod precompute; // what exporters will want of layers
mod remote; // downloads and repositories
mod repair; // blobs that are damaged
mod resolvers; // /etc/resolv.conf of containers
mod sandbox; // prepared when the first command runs
mod shared_cache; // results that machines share
mod sizes; // what images are said to take
mod storage; // what is kept, and what of it can go

pub use base_layers::{LayerProgress, LayerWork};
pub use error::{Cause as ErrorCause, Error, ErrorKind, Explanation, SourceText};
pub use io::Io;
pub use kiln_exporter::{LoadSource, OptionError, PackProgress};
pub use kiln_runtime::Stream;
pub use kiln_snapshotter::{ArchiveCompression, UnpackLimit};
pub use kiln_solver::{Progress, ProgressEvent, Silent, VertexEnd, VertexId};
pub use local_image::LocalImage;
pub use outside::{Outside, Programs};
pub use request::{
    AgentRequest, AgentSource, Annotation, AnnotationPlace, BaseLayers, BuildEntitlement,
    BuildRequest, BuildResult, CacheDestination, CacheManifest, CacheMode, CacheName, CacheSource,
    CacheTarget, ContextSource, DanglingName, DanglingWhen, Destination, DockerfileSource,
    FileTimes, FilesOptions, ImageOutput, LayoutForm, MediaFamily, MountContents, NamedContext,
    OnFailure, Output, Pull, PushAs, Reuse, SecretBytes, Split, Stale, StaleBlobs, Transport,
};
pub use storage::damage::{Damage, DamagedObject, RepairOutcome};
pub use storage::entry::{CacheEntry, CacheUsage, EntryKind, EntrySharing, Usability};
pub use stores::{Stores, StoresOptions, StoresPurpose};
pub use verbs::check::CheckResult;
pub use verbs::collect::{Amount, CacheSettings, Collection};
pub use verbs::compare::{ConfigDifference, DifferentFile, FileChange, FileKind};
pub use verbs::forecast::{BuildForecast, Prospect, StepForecast};
pub use verbs::history::HistoryEntry;
pub use verbs::images::ImageSummary;
pub use verbs::inspect::InspectedImage;
pub use verbs::outline::{Outline, OutlinedArgument, OutlinedNeed};
pub use verbs::prune::{PruneExtent, PruneRequest, PruneTurn, Pruned};
pub use verbs::prune_images::Unneeded;
pub use verbs::pull::Pulled;
pub use verbs::remove::ImageRemoval;
pub use verbs::reproducibility::{Comparison, DifferenceCause, ImageVerdict, StepDifference};
pub use verbs::run::{Bind, RunRequest};
pub use verbs::targets::{Target, Targets};
pub use verbs::usage::{ContainerDiskUsage, ImageDiskUsage, StorageSummary};
pub use verbs::verify::{Lost, Repair, Verification};
pub use verbs::why::WhichBuild;
