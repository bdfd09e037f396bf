//! From stages to steps, for one platform after the other.

use std::collections::{BTreeSet, HashMap};

use kiln_oci::{Image, Platform};
use kiln_parser::{Dockerfile, Instruction, Span, Text, hint};

use super::arguments::{self, Arguments, DeclaredArgument};
use super::findings::{self, ContextRead};
use super::names::{ImageSource, NamedSource};
use super::stage::{self, StageState};
use super::stages::{self, Reader, Source};
use super::words::Words;
use super::{BaseRequest, Bases, Extent, Plan, PlanError, PlanOptions, TargetImage, cycles};
use crate::graph::Graph;

/// What is known while planning.
pub(super) struct Planner<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) options: &'a PlanOptions,
    /// The platform that is planned for now.
    pub(super) platform: Platform,
    /// Build arguments, of which some tell the platform.
    pub(super) arguments: Arguments,
    pub(super) words: Words,
    pub(super) graph: Graph,
    pub(super) resolver: &'a dyn Bases,
    pub(super) images: HashMap<BaseRequest, Image>,
    /// The stages that are planned for this platform.
    pub(super) done: HashMap<usize, StageState>,
    /// The stages that were planned for any.
    pub(super) planned: BTreeSet<usize>,
    /// What they read of the build context.
    pub(super) reads: Vec<ContextRead>,
    /// The arguments they declare, and those above all stages.
    pub(super) declared: Vec<DeclaredArgument>,
}

impl<'a> Planner<'a> {
    pub(super) fn plan(&mut self, extent: Extent) -> Result<Plan, PlanError> {
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
        let target_stage = stages::target_name(dockerfile, named);
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
    pub(super) fn stage_platform(&mut self, index: usize) -> Platform {
        let Some(text) = &self.dockerfile.stages[index].from.platform else {
            return self.platform.clone();
        };
        let errors = self.words.errors.len();
        let value = self.words.expand_in_from(text, &self.arguments);
        if self.words.errors.len() > errors {
            return self.platform.clone();
        }
        if value.is_empty() {
            let hint = hint(findings::closest_argument(text, &self.arguments).as_deref());
            let message = format!("empty platform value from expression {}{hint}", text.raw);
            self.words.error("empty-platform", text.span, message);
            return self.platform.clone();
        }
        match value.parse() {
            Ok(platform) => platform,
            Err(error) => {
                let hint = hint(findings::closest_argument(text, &self.arguments).as_deref());
                let message = format!("failed to parse platform {}: {error}{hint}", text.raw);
                self.words.error("invalid-platform", text.span, message);
                self.platform.clone()
            }
        }
    }

    /// Plans a stage, and first those it needs.
    pub(super) fn stage(&mut self, index: usize) -> Result<(), PlanError> {
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
    pub(super) fn instructions(&self, index: usize) -> &'a [Instruction] {
        match stages::replacement(self.dockerfile, index, &self.options.contexts) {
            Some(_) => &[],
            None => &self.dockerfile.stages[index].instructions,
        }
    }

    /// Resolves what `FROM` of a stage means.
    pub(super) fn base(&mut self, index: usize) -> Option<Source> {
        let contexts = &self.options.contexts;
        let arguments = &self.arguments;
        stages::base(self.dockerfile, index, contexts, arguments, &mut self.words)
    }

    /// Resolves a `--from` in a stage; errors go to `words`.
    pub(super) fn source(
        &self,
        index: usize,
        from: &Text,
        reader: &Reader,
        words: &mut Words,
    ) -> Option<Source> {
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
