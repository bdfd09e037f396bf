//! From a syntax tree to a graph: what the Dockerfile means.
//!
//! Pure but for one question: what an image name stands for, asked through [`Bases`]. Only the
//! stages that the target needs are planned; the others are checked as far as their `FROM` goes.
//!
//! docs/spec/dockerfile.md 4, 5, 6, 9 and 11.

mod arguments; // build arguments
mod cycles; // stages that wait for each other
mod epoch; // what a build says of its time
mod findings; // lint rules that need values
mod history; // `created_by` texts
mod names; // what names stand for
mod planner; // from stages to steps
mod stage; // one stage, instruction by instruction
mod stages; // which stages there are
mod variables; // environments
mod windows; // images that are not for Linux
mod words; // expansion

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_oci::{Image, ImageConfig, Platform, TaggedRef, Timestamp};
use kiln_parser::{Diagnostic, Dockerfile, Span};

use crate::graph::{Graph, Network, StepId};
use arguments::Arguments;
use planner::Planner;
use words::Words;

pub use arguments::DeclaredArgument;
pub use epoch::{epoch_stage, epoch_text};
pub use findings::ContextRead;
pub use names::{ImageSource, NamedSource, context_name};

/// What a build is asked for besides the Dockerfile.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// `--target`; the last stage if absent.
    pub target: Option<String>,
    /// `--build-arg`, values present.
    pub build_args: BTreeMap<String, String>,
    /// What the images are to run on; at least one.
    pub platforms: Vec<Platform>,
    /// What the build runs on.
    pub build_platform: Platform,
    /// `--label`, in order.
    pub labels: Vec<(String, String)>,
    /// What a `RUN` can reach that does not say so itself.
    pub network: Network,
    /// Names that `--add-host` makes known; what they stand for is no part of a step.
    pub extra_hosts: Vec<String>,
    /// `--build-context`, by [`context_name`].
    pub contexts: BTreeMap<String, NamedSource>,
    /// The time of what `WORKDIR` makes (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<Timestamp>,
    /// `--allow`.
    pub allowed: Vec<Entitlement>,
}

/// What a `RUN` may do only if the person who builds says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// `--network=host`
    NetworkHost,
    /// `--security=insecure`
    SecurityInsecure,
}

/// Finds out what image names stand for.
pub trait Bases {
    /// Returns the image for each request, in order. Only manifests and configs are needed; no
    /// layer is fetched.
    fn resolve(&self, requests: &[BaseRequest]) -> Vec<Result<Image, BaseError>>;
}

/// An image that a Dockerfile mentions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseRequest {
    /// Where it is.
    pub source: ImageSource,
    /// What it is to run on.
    pub platform: Platform,
}

/// Why an image name stands for nothing.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BaseError {
    /// The whole story, on one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whose fault it is.
    pub fault: Fault,
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The user's files or arguments.
    Input,
    /// Kernel, disk or network.
    Environment,
}

/// What is to be built.
#[derive(Debug)]
pub struct Plan {
    /// Every step that the targets need, and no other.
    pub graph: Graph,
    /// The images that are to come out, one for each platform, in the order asked for.
    pub targets: Vec<TargetImage>,
    /// The images it starts from and copies from, by manifest.
    pub bases: HashMap<kiln_oci::Sha256, (TaggedRef, Image)>,
    /// The time that everything new gets, if the build says.
    pub epoch: Option<Timestamp>,
    /// Proxies for every `RUN`; they are in no key and no image.
    pub proxies: Vec<(String, String)>,
}

/// An image that a plan leads to, layers still missing.
#[derive(Clone, Debug)]
pub struct TargetImage {
    /// What it was asked to run on. Its config may say otherwise: a `FROM --platform` decides that.
    pub platform: Platform,
    /// The last step; none if the image is empty.
    pub root: Option<StepId>,
    /// The config without history and layers.
    pub config: ImageConfig,
    /// The base's manifest, if there is a base.
    pub base: Option<kiln_oci::Sha256>,
    /// History beyond the base's, in order.
    pub history: Vec<PlannedHistory>,
}

/// A history entry that still needs its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHistory {
    /// The instruction.
    pub created_by: String,
    /// The step whose layer it is; none for a change of the config.
    pub step: Option<StepId>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The Dockerfile or the arguments are wrong, in one or more places.
    #[error("{}", first_message(.0))]
    Input(Vec<Diagnostic>),
    /// An image could not be found.
    #[error("{name}: failed to resolve source metadata for {canonical}")]
    Base {
        /// As written.
        name: String,
        /// In full.
        canonical: TaggedRef,
        /// Where it is written.
        span: Span,
        /// Why.
        source: BaseError,
    },
}

impl PlanError {
    /// Says that an image is mentioned elsewhere.
    fn moved(mut self, to: Span) -> Self {
        if let Self::Base { span, .. } = &mut self {
            *span = to;
        }
        self
    }
}

fn first_message(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .first()
        .map_or_else(String::new, Diagnostic::full_message)
}

/// Which stages are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The target and what it needs.
    Target,
    /// All of them, as far as they can be planned: a file is checked, not built.
    EveryStage,
}

/// A plan, if there is one, and what was found on the way to it.
#[derive(Debug)]
pub struct Survey {
    /// The plan of the target.
    pub plan: Result<Plan, PlanError>,
    /// What the lint rules say, whether or not there is a plan.
    pub findings: Vec<Diagnostic>,
    /// What they read of the build context.
    pub reads: Vec<ContextRead>,
    /// The build arguments they declare, and those above all stages. Several platforms repeat them.
    pub arguments: Vec<DeclaredArgument>,
    /// The stages that were looked at, by index.
    pub stages: BTreeSet<usize>,
}

/// Plans a build.
///
/// # Errors
/// When the Dockerfile asks for what cannot be, or an image is not to be had.
pub fn plan(
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    bases: &dyn Bases,
) -> Result<Plan, PlanError> {
    survey(dockerfile, options, Extent::Target, bases).plan
}

/// Plans a build and keeps what is worth knowing about the file.
#[must_use]
pub fn survey(
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    extent: Extent,
    bases: &dyn Bases,
) -> Survey {
    let mut planner = Planner {
        dockerfile,
        options,
        platform: options.build_platform.clone(),
        arguments: Arguments::default(),
        words: Words::new(dockerfile.directives.escape),
        graph: Graph::default(),
        resolver: bases,
        images: HashMap::new(),
        done: HashMap::new(),
        planned: BTreeSet::new(),
        reads: Vec::new(),
        declared: Vec::new(),
    };
    Survey {
        plan: planner.plan(extent),
        findings: planner.words.warnings,
        reads: planner.reads,
        arguments: planner.declared,
        stages: planner.planned,
    }
}
