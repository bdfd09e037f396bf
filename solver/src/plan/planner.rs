//! What is known while planning, for one platform after the other.

use std::collections::{BTreeSet, HashMap};

use kiln_oci::{Image, Platform};
use kiln_parser::{Dockerfile, Instruction, Text, hint};

use super::arguments::{Arguments, DeclaredArgument};
use super::bases::{BaseRequest, Bases};
use super::context_read::ContextRead;
use super::expansion::closest_argument;
use super::names::ImageSource;
use super::options::PlanOptions;
use super::plan_error::PlanError;
use super::stage_state::StageState;
use super::stages::{self, StageReader, StageSource};
use super::words::Words;
use crate::graph::{Graph, StepId};

/// What `FROM` of a stage means.
pub(super) struct StageBase {
    /// What the stage runs on: `--platform`, or the target platform.
    pub(super) platform: Platform,
    /// What it starts from; none if that cannot be told, and then there is an error.
    pub(super) source: Option<StageSource>,
}

/// What a Dockerfile says for one platform before and between its stages.
pub(super) struct PlatformScope {
    platform: Platform,
    arguments: Arguments,
    bases: Vec<StageBase>,
}

/// A stage that is planned.
pub(super) struct PlannedStage {
    /// Its last step; none if it has no files.
    pub(super) root: Option<StepId>,
    /// What it has come to, until the last that begins from it takes it over: a chain of thousands of
    /// stages would else keep as many copies of a growing history.
    state: Option<StageState>,
}

/// What is known while planning.
pub(super) struct Planner<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) options: &'a PlanOptions,
    /// The platform that is planned for now.
    pub(super) platform: Platform,
    /// Build arguments, of which some tell the platform.
    pub(super) arguments: Arguments,
    /// What each stage starts from.
    pub(super) bases: Vec<StageBase>,
    pub(super) words: Words,
    pub(super) graph: Graph,
    pub(super) resolver: &'a dyn Bases,
    pub(super) images: HashMap<BaseRequest, Image>,
    /// The stages that are planned for this platform.
    pub(super) done: HashMap<usize, PlannedStage>,
    /// How often each stage is yet to be begun from, or to become an image.
    heirs: Vec<usize>,
    /// The stages that were planned for any.
    pub(super) planned: BTreeSet<usize>,
    /// What they read of the build context.
    pub(super) reads: Vec<ContextRead>,
    /// The arguments they declare, and those above all stages.
    pub(super) declared: Vec<DeclaredArgument>,
}

impl<'a> Planner<'a> {
    /// Evaluates the arguments above the stages and every `FROM`, for a platform.
    pub(super) fn evaluate(&mut self, platform: &Platform, target_stage: &str) {
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
        let stages = 0..self.dockerfile.stages.len();
        self.bases = stages
            .map(|index| StageBase {
                source: self.base(index),
                platform: self.stage_platform(index),
            })
            .collect();
    }

    /// Takes out what was evaluated, to go on with another platform.
    pub(super) fn take_scope(&mut self) -> PlatformScope {
        PlatformScope {
            platform: self.platform.clone(),
            arguments: std::mem::take(&mut self.arguments),
            bases: std::mem::take(&mut self.bases),
        }
    }

    /// Returns what knows nothing yet.
    pub(super) fn new(
        dockerfile: &'a Dockerfile,
        options: &'a PlanOptions,
        resolver: &'a dyn Bases,
    ) -> Self {
        Self {
            dockerfile,
            options,
            platform: options.build_platform.clone(),
            arguments: Arguments::default(),
            bases: Vec::new(),
            words: Words::new(dockerfile.directives.escape),
            graph: Graph::default(),
            resolver,
            images: HashMap::new(),
            done: HashMap::new(),
            heirs: Vec::new(),
            planned: BTreeSet::new(),
            reads: Vec::new(),
            declared: Vec::new(),
        }
    }

    /// Begins to plan an image of a stage for a platform. Steps and images that platforms share stay.
    pub(super) fn turn_to(&mut self, scope: PlatformScope, target: usize) {
        self.platform = scope.platform;
        self.arguments = scope.arguments;
        self.bases = scope.bases;
        self.done.clear();
        self.heirs = vec![0; self.bases.len()];
        self.heirs[target] = 1;
        for base in &self.bases {
            if let Some(StageSource::Stage(stage)) = &base.source {
                self.heirs[*stage] += 1;
            }
        }
    }

    /// Notes that a stage is planned.
    pub(super) fn finish_stage(&mut self, index: usize, state: StageState) {
        let stage = PlannedStage {
            root: state.root,
            state: Some(state),
        };
        self.done.insert(index, stage);
    }

    /// Returns what a planned stage has come to, for a stage that begins from it or for its image.
    ///
    /// # Panics
    /// When it was not planned, or asked for more often than there are `FROM` lines that name it.
    pub(super) fn inherit(&mut self, index: usize) -> StageState {
        self.heirs[index] -= 1;
        let stage = self.done.get_mut(&index).expect("the stage was planned");
        let state = match self.heirs[index] {
            0 => stage.state.take(),
            _ => stage.state.clone(),
        };
        state.expect("a state is taken over last")
    }

    pub(super) fn resolve(&mut self, wanted: Vec<(BaseRequest, Text)>) -> Result<(), PlanError> {
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
    pub(super) fn image(
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
            let hint = hint(closest_argument(text, &self.arguments).as_deref());
            let message = format!("empty platform value from expression {}{hint}", text.raw);
            self.words.error("empty-platform", text.span, message);
            return self.platform.clone();
        }
        match value.parse() {
            Ok(platform) => platform,
            Err(error) => {
                let hint = hint(closest_argument(text, &self.arguments).as_deref());
                let message = format!("failed to parse platform {}: {error}{hint}", text.raw);
                self.words.error("invalid-platform", text.span, message);
                self.platform.clone()
            }
        }
    }

    /// Returns what a stage does; nothing if `--build-context` replaces it.
    pub(super) fn instructions(&self, index: usize) -> &'a [Instruction] {
        match stages::replacement(self.dockerfile, index, &self.options.contexts) {
            Some(_) => &[],
            None => &self.dockerfile.stages[index].instructions,
        }
    }

    /// Resolves what `FROM` of a stage means.
    fn base(&mut self, index: usize) -> Option<StageSource> {
        let contexts = &self.options.contexts;
        let arguments = &self.arguments;
        stages::base(self.dockerfile, index, contexts, arguments, &mut self.words)
    }

    /// Resolves a `--from` in a stage; errors go to `words`.
    pub(super) fn source(
        &self,
        index: usize,
        from: &Text,
        reader: &StageReader,
        words: &mut Words,
    ) -> Option<StageSource> {
        let contexts = &self.options.contexts;
        stages::source(self.dockerfile, index, from, reader, contexts, words)
    }

    pub(super) fn stop_on_errors(&mut self) -> Result<(), PlanError> {
        if self.words.errors.is_empty() {
            return Ok(());
        }
        let mut errors = std::mem::take(&mut self.words.errors);
        errors.sort_by_key(|error| error.span.start);
        errors.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        Err(PlanError::Input(errors))
    }
}
