//! From a syntax tree to a graph: what the Dockerfile means.
//!
//! Pure but for one question: what an image name stands for, asked through [`Bases`]. Only the
//! stages that the target needs are planned; the others are checked as far as their `FROM` goes.
//!
//! spec/dockerfile.md sections 4, 5, 6, 9 and 11.

mod arguments; // build arguments
mod cycles; // stages that wait for each other
mod findings; // lint rules that need values
mod history; // `created_by` texts
mod names; // what names stand for
mod stage; // one stage, instruction by instruction
mod stages; // which stages there are
mod variables; // environments
mod words; // expansion

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_cache::{Image, ImageConfig, ImageRef, Platform, Timestamp};
use kiln_parser::{Diagnostic, Dockerfile, Instruction, Span, Text};

use crate::graph::{Graph, Network, StepId};
use arguments::Arguments;
use stage::StageState;
use stages::{Reader, Source};
use words::Words;

pub use arguments::DeclaredArgument;
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
    pub bases: HashMap<kiln_cache::Sha256, (ImageRef, Image)>,
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
    pub base: Option<kiln_cache::Sha256>,
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
        canonical: ImageRef,
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

/// What is known while planning.
struct Planner<'a> {
    dockerfile: &'a Dockerfile,
    options: &'a PlanOptions,
    /// The platform that is planned for now.
    platform: Platform,
    /// Build arguments, of which some tell the platform.
    arguments: Arguments,
    words: Words,
    graph: Graph,
    resolver: &'a dyn Bases,
    images: HashMap<BaseRequest, Image>,
    /// The stages that are planned for this platform.
    done: HashMap<usize, StageState>,
    /// The stages that were planned for any.
    planned: BTreeSet<usize>,
    /// What they read of the build context.
    reads: Vec<ContextRead>,
    /// The arguments they declare, and those above all stages.
    declared: Vec<DeclaredArgument>,
}

impl<'a> Planner<'a> {
    fn plan(&mut self, extent: Extent) -> Result<Plan, PlanError> {
        let (dockerfile, options) = (self.dockerfile, self.options);
        arguments::check_names(options).map_err(|error| PlanError::Input(vec![error]))?;
        let named = options.target.as_deref();
        let Some(target) = stages::target(dockerfile, named, &mut self.words) else {
            if self.words.errors.is_empty() {
                let message = "dockerfile contains no stages to build";
                self.words.error("no-stages", Span::default(), message);
            }
            return Err(PlanError::Input(std::mem::take(&mut self.words.errors)));
        };
        let target_stage = match named {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => stages::name(&dockerfile.stages[target]).unwrap_or_else(|| "default".to_owned()),
        };
        let looked_at: Vec<usize> = match extent {
            Extent::Target => vec![target],
            Extent::EveryStage => (0..dockerfile.stages.len()).collect(),
        };
        cycles::refuse(dockerfile, &mut self.words);
        let mut wanted = Vec::new();
        for platform in &options.platforms {
            self.turn_to(platform, &target_stage);
            self.check_defaults(platform, &target_stage);
            wanted.extend(self.wanted_images(&looked_at));
        }
        self.stop_on_errors()?;
        self.resolve(wanted)?;
        let mut targets = Vec::with_capacity(options.platforms.len());
        for platform in &options.platforms {
            self.turn_to(platform, &target_stage);
            for stage in &looked_at {
                self.stage(*stage)?;
            }
            self.stop_on_errors()?;
            targets.push(self.take_target(target));
        }
        Ok(self.finish(targets))
    }

    /// Begins anew for another platform. Steps and images that platforms share stay.
    fn turn_to(&mut self, platform: &Platform, target_stage: &str) {
        self.platform = platform.clone();
        self.arguments = Arguments::new(
            self.dockerfile,
            self.options,
            platform,
            target_stage,
            &mut self.words,
        );
        let global = self.arguments.global_names();
        self.words.global = global.map(str::to_owned).collect();
        let declared = self.arguments.declared.iter().cloned();
        self.declared.extend(declared);
        self.done.clear();
    }

    /// Returns every image that the stages can be seen to need, so that all are asked for at once.
    fn wanted_images(&mut self, stages: &[usize]) -> Vec<(BaseRequest, Text)> {
        let mut bases = Vec::new();
        for index in 0..self.dockerfile.stages.len() {
            bases.push(self.base(index));
            self.stage_platform(index);
        }
        let mut wanted: Vec<(BaseRequest, Text)> = Vec::new();
        let mut seen = vec![false; self.dockerfile.stages.len()];
        let mut pending = stages.to_vec();
        while let Some(index) = pending.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let stage = &self.dockerfile.stages[index];
            let platform = self.stage_platform(index);
            match &bases[index] {
                Some(Source::Stage(stage)) => pending.push(*stage),
                Some(Source::Named(NamedSource::Image(source))) => {
                    let source = source.clone();
                    wanted.push((BaseRequest { source, platform }, stage.from.image.clone()));
                }
                Some(Source::Named(_)) | None => {}
            }
            for instruction in self.instructions(index) {
                for (from, reader) in stages::sources_of(instruction) {
                    // Errors are reported when the instruction itself is planned.
                    let mut silent = Words::new(self.dockerfile.directives.escape);
                    match self.source(index, &from, &reader, &mut silent) {
                        Some(Source::Stage(stage)) => pending.push(stage),
                        Some(Source::Named(NamedSource::Image(source))) => {
                            let platform = self.platform.clone();
                            wanted.push((BaseRequest { source, platform }, from));
                        }
                        Some(Source::Named(_)) | None => {}
                    }
                }
            }
        }
        wanted
    }

    fn resolve(&mut self, wanted: Vec<(BaseRequest, Text)>) -> Result<(), PlanError> {
        let mut requests: Vec<BaseRequest> = Vec::new();
        let mut sites = Vec::new();
        for (request, site) in wanted {
            if !self.images.contains_key(&request) && !requests.contains(&request) {
                requests.push(request);
                sites.push(site);
            }
        }
        if requests.is_empty() {
            return Ok(());
        }
        let images = self.resolver.resolve(&requests);
        for ((request, site), image) in requests.into_iter().zip(sites).zip(images) {
            match image {
                Ok(image) => {
                    self.images.insert(request, image);
                }
                Err(source) => {
                    return Err(PlanError::Base {
                        name: site.raw,
                        canonical: request.source.name().clone(),
                        span: site.span,
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Returns an image, asking for it if an `ONBUILD` trigger mentions it for the first time.
    fn image(
        &mut self,
        source: ImageSource,
        platform: Platform,
        site: &Text,
    ) -> Result<Image, PlanError> {
        let request = BaseRequest { source, platform };
        if !self.images.contains_key(&request) {
            self.resolve(vec![(request.clone(), site.clone())])?;
        }
        Ok(self.images[&request].clone())
    }

    /// Returns what a stage runs on: `--platform` of its `FROM`, or the target platform.
    fn stage_platform(&mut self, index: usize) -> Platform {
        let Some(text) = &self.dockerfile.stages[index].from.platform else {
            return self.platform.clone();
        };
        let errors = self.words.errors.len();
        let value = self.words.expand_in_from(text, &self.arguments);
        if self.words.errors.len() > errors {
            return self.platform.clone();
        }
        if value.is_empty() {
            let message = format!("empty platform value from expression {}", text.raw);
            let error = words::error("empty-platform", text.span, message);
            let closest = findings::closest_argument(text, &self.arguments);
            self.words.errors.push(error.suggest(closest.as_deref()));
            return self.platform.clone();
        }
        match value.parse() {
            Ok(platform) => platform,
            Err(error) => {
                let message = format!("failed to parse platform {value}: {error}");
                self.words.error("invalid-platform", text.span, message);
                self.platform.clone()
            }
        }
    }

    /// Plans a stage, and first those it needs.
    fn stage(&mut self, index: usize) -> Result<(), PlanError> {
        // Stages only look back, so this ends; but a file may chain thousands of them, and a stack
        // would not take that.
        let mut pending = vec![index];
        while let Some(&index) = pending.last() {
            if self.done.contains_key(&index) {
                pending.pop();
                continue;
            }
            let missing: Vec<usize> = self
                .stage_dependencies(index)
                .into_iter()
                .filter(|stage| !self.done.contains_key(stage))
                .collect();
            if missing.is_empty() {
                self.planned.insert(index);
                let state = stage::plan_stage(self, index)?;
                self.done.insert(index, state);
                pending.pop();
            }
            pending.extend(missing);
        }
        Ok(())
    }

    /// Returns the stages that a stage names itself. Those of its base's triggers are found while
    /// it is planned.
    fn stage_dependencies(&mut self, index: usize) -> Vec<usize> {
        let mut silent = Words::new(self.dockerfile.directives.escape);
        let contexts = &self.options.contexts;
        let arguments = &self.arguments;
        let base = stages::base(self.dockerfile, index, contexts, arguments, &mut silent);
        let mut found = Vec::new();
        if let Some(Source::Stage(stage)) = base {
            found.push(stage);
        }
        for instruction in self.instructions(index) {
            for (from, reader) in stages::sources_of(instruction) {
                let source = self.source(index, &from, &reader, &mut silent);
                if let Some(Source::Stage(stage)) = source {
                    found.push(stage);
                }
            }
        }
        found
    }

    /// Returns what a stage does; nothing if `--build-context` replaces it.
    fn instructions(&self, index: usize) -> &'a [Instruction] {
        match stages::replacement(self.dockerfile, index, &self.options.contexts) {
            Some(_) => &[],
            None => &self.dockerfile.stages[index].instructions,
        }
    }

    /// Resolves what `FROM` of a stage means.
    fn base(&mut self, index: usize) -> Option<Source> {
        let contexts = &self.options.contexts;
        let arguments = &self.arguments;
        stages::base(self.dockerfile, index, contexts, arguments, &mut self.words)
    }

    /// Resolves a `--from` in a stage; errors go to `words`.
    fn source(
        &self,
        index: usize,
        from: &Text,
        reader: &Reader,
        words: &mut Words,
    ) -> Option<Source> {
        let contexts = &self.options.contexts;
        stages::source(self.dockerfile, index, from, reader, contexts, words)
    }

    fn stop_on_errors(&mut self) -> Result<(), PlanError> {
        if self.words.errors.is_empty() {
            return Ok(());
        }
        let mut errors = std::mem::take(&mut self.words.errors);
        errors.sort_by_key(|error| error.span.start);
        errors.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        Err(PlanError::Input(errors))
    }

    /// Returns the image of the target stage, which is planned.
    fn take_target(&mut self, target: usize) -> TargetImage {
        let state = self.done.remove(&target);
        let state = state.expect("the target stage was planned");
        let mut target = state.into_target(self.platform.clone());
        let labels = &mut target.config.config.labels;
        labels.extend(self.options.labels.iter().cloned());
        target
    }

    fn finish(&mut self, targets: Vec<TargetImage>) -> Plan {
        let bases = std::mem::take(&mut self.images)
            .into_iter()
            .map(|(request, image)| {
                let name = request.source.name().clone();
                (image.descriptor.digest, (name, image))
            })
            .collect();
        Plan {
            graph: std::mem::take(&mut self.graph),
            targets,
            bases,
            epoch: self.options.epoch,
            proxies: self.arguments.proxies(),
        }
    }
}
