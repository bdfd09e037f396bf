//! kiln as a library: one function per verb, all wiring, no terminal.
//!
//! [`Engine`] joins the crates below into what a person asks for: build, pull, push, run. It never
//! prints and never reads the environment; progress goes to a [`Progress`], answers are values.

mod engine; // an open state directory
mod error; // every failure, sorted

mod base_layers; // fetched when a step needs files
mod bases; // what image names stand for
mod build; // from a request to an image
mod check; // findings about a Dockerfile
mod containers; // from an image to a container
mod definition; // Dockerfile and ignore file
mod epoch; // SOURCE_DATE_EPOCH
mod images; // the local store
mod layout_context; // images of layouts on disk
mod outline; // what a build can be given
mod output; // where results go
mod remote; // downloads and repositories
mod request; // what a build is asked for
mod sandbox; // prepared when the first command runs
mod ship; // pull, push, save, load, login
mod targets; // what can be built

pub use check::CheckResult;
pub use containers::{Bind, RunRequest};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, ErrorClass, SourceText};
pub use images::{HistoryRow, ImageSummary, Removal};
pub use kiln_exporter::LoadSource;
pub use kiln_solver::{Event, LogStream, Progress, Silent, VertexEnd, VertexId};
pub use outline::{Outline, OutlinedArgument, OutlinedNeed};
pub use request::{
    AgentRequest, AgentSource, Annotation, AnnotationPlace, BuildRequest, BuildResult,
    ContextSource, Destination, DockerfileSource, Entitlement, ImageOptions, LayoutForm,
    MediaTypes, NamedContext, Output, Pull, Reuse, SecretValue,
};
pub use ship::Pulled;
pub use targets::{Target, Targets};
