//! kiln as a library: one function per verb, all wiring, no terminal.
//!
//! [`verbs`] are what a user asks for: build, pull, push, run. Each works on [`Stores`], an open state
//! directory, and takes as arguments which registries one request may reach and how ([`Outside`]),
//! what is asked for, and where progress goes. Answers are values.
//!
//! This crate knows no terminal, no flags and no exit codes: a verb never prints and never reads the
//! environment or standard input. Modules below the verbs are shared by them.

pub mod verbs; // what a user asks for

mod error; // every failure, sorted
mod io; // the standard input and the progress of a verb
mod outside; // registries, programs and credentials of one request
mod request; // what a build is asked for
mod stores; // an open state directory

// Building
mod agents; // ssh agents of a build
mod building; // the route of a build: plan, solve, deliver
mod checks; // findings about a Dockerfile
mod definition; // Dockerfile, context, ignore file
mod epoch; // SOURCE_DATE_EPOCH
mod precompute; // what exporters will want of layers
mod remote_sources; // downloads and repositories
mod sandbox; // prepared when the first command runs

// Base images
mod base_layers; // fetched when a step needs files
mod bases; // what image names stand for
mod layout_context; // images of layouts on disk
mod origins; // the registries that blobs came from

// Results and where they go
mod annotations; // what is attached to results
mod assembly; // results as images of the local store
mod built; // a target with its result
mod files; // results as plain files
mod output; // images, archives, directories, pushes
mod packing; // how layers are packed
mod shared_cache; // results that machines share

// Images and containers of a state directory
mod containers; // all containers
mod images; // images and their names
mod local_image; // one platform or several
mod resolvers; // /etc/resolv.conf of containers
mod sizes; // what images are said to take

// Keeping
mod repair; // blobs that are damaged
mod storage; // what is kept, and what of it is garbage

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
pub use storage::roots::UnnamedImages;
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
