//! From stages to a plan, for one platform after the other.

use std::collections::BTreeSet;

use kiln_parser::{Diagnostic, Dockerfile, Span, Text};

use super::arguments::{self, DeclaredArgument};
use super::bases::{BaseRequest, Bases};
use super::context_read::ContextRead;
use super::cycles;
use super::names::NamedSource;
use super::options::PlanOptions;
use super::plan_error::PlanError;
use super::planned::{Plan, TargetImage};
use super::planner::Planner;
use super::stages::{self, StageSource};
use super::words::Words;

/// Which stages are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageScope {
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
/// When the Dockerfile asks for what cannot be, or an image cannot be found.
pub fn plan(
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    bases: &dyn Bases,
) -> Result<Plan, PlanError> {
    survey(dockerfile, options, StageScope::Target, bases).plan
}

/// Plans a build and keeps what is worth knowing about the file.
#[must_use]
pub fn survey(
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    extent: StageScope,
    bases: &dyn Bases,
) -> Survey {
    let mut planner = Planner::new(dockerfile, options, bases);
    Survey {
        plan: planner.plan(extent),
        findings: planner.words.warnings,
        reads: planner.reads,
        arguments: planner.declared,
        stages: planner.planned,
    }
}

impl Planner<'_> {
    fn plan(&mut self, extent: StageScope) -> Result<Plan, PlanError> {
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
            StageScope::Target => vec![target],
            StageScope::EveryStage => (0..dockerfile.stages.len()).collect(),
        };
        cycles::refuse(dockerfile, &mut self.words);
        let mut wanted = Vec::new();
        let mut scopes = Vec::with_capacity(options.platforms.len());
        for platform in &options.platforms {
            // Before evaluation, since findings of one line are told in the order of their discovery.
            self.check_defaults(platform, &target_stage);
            self.evaluate(platform, &target_stage);
            wanted.extend(self.wanted_images(&looked_at));
            scopes.push(self.take_scope());
        }
        self.stop_on_errors()?;
        self.resolve(wanted)?;
        let mut targets = Vec::with_capacity(options.platforms.len());
        for scope in scopes {
            self.turn_to(scope, target);
            for stage in &looked_at {
                self.stage(*stage)?;
            }
            self.stop_on_errors()?;
            targets.push(self.take_target(target));
        }
        Ok(self.finish(targets))
    }

    /// Returns every image that the stages can be seen to need, so that all are asked for at once.
    fn wanted_images(&self, stages: &[usize]) -> Vec<(BaseRequest, Text)> {
        let mut wanted: Vec<(BaseRequest, Text)> = Vec::new();
        let mut seen = vec![false; self.dockerfile.stages.len()];
        let mut pending = stages.to_vec();
        while let Some(index) = pending.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let stage = &self.dockerfile.stages[index];
            let base = &self.bases[index];
            match &base.source {
                Some(StageSource::Stage(stage)) => pending.push(*stage),
                Some(StageSource::Named(NamedSource::Image(source))) => {
                    let (source, platform) = (source.clone(), base.platform.clone());
                    wanted.push((BaseRequest { source, platform }, stage.from.image.clone()));
                }
                Some(StageSource::Named(_)) | None => {}
            }
            for instruction in self.instructions(index) {
                for (from, reader) in stages::sources_of(instruction) {
                    // Errors are reported when the instruction itself is planned.
                    let mut silent = Words::new(self.dockerfile.directives.escape);
                    match self.source(index, &from, &reader, &mut silent) {
                        Some(StageSource::Stage(stage)) => pending.push(stage),
                        Some(StageSource::Named(NamedSource::Image(source))) => {
                            let platform = self.platform.clone();
                            wanted.push((BaseRequest { source, platform }, from));
                        }
                        Some(StageSource::Named(_)) | None => {}
                    }
                }
            }
        }
        wanted
    }

    /// Returns the image of the target stage, which is planned.
    fn take_target(&mut self, target: usize) -> TargetImage {
        let state = self.inherit(target);
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
