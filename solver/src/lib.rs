//! Turns a syntax tree into a graph, keys it, and executes what is missing.
//!
//! The route: [`plan`] folds a Dockerfile into a [`Graph`] of steps that touch files; every step
//! gets keys; [`solve`] looks for results from the target back and executes what is missing. This
//! crate knows no HTTP and no image formats beyond the config: what an image name stands for and
//! how its layers come to the disk, it asks through [`Bases`] and [`Layers`]; processes are run by a
//! [`Runner`].

mod graph; // steps and what they are made from
mod plan; // what a Dockerfile means

mod agent; // how commands reach ssh agents
mod cache_mounts; // how cache mounts are called, and begin
mod context; // the build context
mod fault; // whose fault an error is
mod files; // looking things up in any tree of files
mod layers; // how layers come to the disk
mod progress; // what a build tells
mod remote_sources; // how downloads and repositories come in

mod journal; // what the last builds did
mod precompute; // layers made ready while later steps run
mod reason; // reasons why a step ran, as values
mod reuse; // which earlier results count
mod sandbox_context; // what every sandbox gets
mod solve_error; // why there is no solution
mod step_error; // why a step failed
mod waiting; // for another kiln that runs the same step

mod deps; // what solving needs
mod runner; // the seam through which processes are run
mod step_trees; // the trees that a step reads

mod buildkit_transfer; // what BuildKit would transfer of a context
mod copy; // COPY and ADD
mod keys; // cache keys of steps
mod source_facts; // digests of contexts and downloads, known before keys are made

mod execute; // one step
mod file_steps; // COPY, ADD and WORKDIR, executed
mod inputs; // what a step starts from
mod local_runner; // RUN, in a sandbox of this machine
mod mounted; // the files that RUN finds mounted

mod account; // what became of each step
mod board; // which steps are ready to run
mod forecast; // what would become of each step
mod probe; // which steps must run: the cache looked up
mod solve; // all steps, side by side
mod why; // why a step runs: now compared with the build before

pub use account::StepAccount;
pub use agent::{AgentSocket, Agents};
pub use cache_mounts::{BegunCaches, CacheMounts, InitialContent, used_cache_mounts};
pub use context::{Context, Lifetime, PathRead, ScannedContext, context_reads};
pub use copy::{CopySelectError, PlaceError, Suggestion, WriteError};
pub use deps::Deps;
pub use fault::Fault;
pub use files::{Files, UnresolvedPath};
pub use forecast::{Expected, Forecast, forecast};
pub use graph::{
    Access, Archives, ChmodValue, ContextId, CopyLayout, CopyOp, CopyPart, FileSource, FromOp,
    GitDirectory, Graph, Network, Op, Presence, Remote, RemoteFile, Repository, RunDevice,
    RunMount, RunMountKind, RunOp, SecretVariable, Security, Step, StepId, StepPath, Submodules,
    Wildcards, WorkdirOp,
};
pub use journal::{Build, BuildDefinition, BuildEnd, BuiltStep, Fate, Journal};
pub use layers::{LayerFetchError, Layers, LayersError};
pub use local_runner::LocalRunner;
pub use plan::{
    BaseError, BaseRequest, Bases, ContextRead, DeclaredArgument, Entitlement, ImageSource,
    NamedSource, Plan, PlanError, PlanOptions, PlannedHistory, StageScope, Survey, TargetImage,
    context_name, epoch_stage, epoch_text, plan, survey,
};
pub use precompute::{LayerUse, Precompute, PrepareLayer};
pub use progress::{Progress, ProgressEvent, Reporter, Silent, Vertex, VertexEnd, VertexId};
pub use reason::{ChangedFile, FileDifference, FilesFrom, Reason};
pub use remote_sources::{RemoteError, RemoteIdentity, Remotes};
pub use reuse::Reuse;
pub use runner::{Chain, ChainError, ChainProcess, RunEvents, Runner};
pub use sandbox_context::{AllowedDevices, SandboxContext};
pub use solve::{Solution, solve};
pub use solve_error::SolveError;
pub use step_error::StepError;
