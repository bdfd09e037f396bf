//! One stage, instruction by instruction.

mod config; // what changes only the config
mod copy; // COPY and ADD
mod run; // RUN and its mounts
mod shown; // how progress calls steps
mod stage_plan; // what planning changes
mod trees; // steps for what instructions read
mod workdir; // WORKDIR

use kiln_oci::{Image, Platform};
use kiln_parser::{Instruction, InstructionKind, Span, parse_instruction};
use kiln_runtime::DEFAULT_PATH;

use super::history;
use super::names::{ImageSource, NamedSource};
use super::plan_error::PlanError;
use super::planned::PlannedHistory;
use super::planner::{Planner, StageBase};
use super::stage_state::StageState;
use super::stages::{self, StageSource};
use super::windows;
use super::words::Words;
use crate::graph::{FromOp, Op};
use stage_plan::StagePlan;

/// The files that a stage starts from, where there are any besides another stage's.
enum BaseFiles {
    None,
    Image(ImageSource, Box<Image>),
    Tree(NamedSource),
}

impl Planner<'_> {
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
                let state = plan_stage(self, index)?;
                self.finish_stage(index, state);
                pending.pop();
            }
            pending.extend(missing);
        }
        Ok(())
    }

    /// Returns the stages that a stage names itself. Those of its base's triggers are found while
    /// it is planned.
    fn stage_dependencies(&self, index: usize) -> Vec<usize> {
        let mut silent = Words::new(self.dockerfile.directives.escape);
        let mut found = Vec::new();
        if let Some(StageSource::Stage(stage)) = &self.bases[index].source {
            found.push(*stage);
        }
        for instruction in self.instructions(index) {
            for (from, reader) in stages::sources_of(instruction) {
                let source = self.source(index, &from, &reader, &mut silent);
                if let Some(StageSource::Stage(stage)) = source {
                    found.push(stage);
                }
            }
        }
        found
    }
}

/// Plans stage `index`; the stages it names are planned.
fn plan_stage(planner: &mut Planner<'_>, index: usize) -> Result<StageState, PlanError> {
    let dockerfile = planner.dockerfile;
    let stage = &dockerfile.stages[index];
    let StageBase { platform, source } = &planner.bases[index];
    let (platform, source) = (platform.clone(), source.clone());
    let (mut state, base) = match source.expect("errors in FROM lines end planning before") {
        StageSource::Stage(parent) => {
            let mut state = planner.inherit(parent);
            state.command_is_own = false;
            (state, BaseFiles::None)
        }
        StageSource::Named(NamedSource::Image(source)) => {
            let image = planner.image(source.clone(), platform.clone(), &stage.from.image)?;
            planner.check_platform(index, &image, &platform);
            let state = StageState::image(&image, None, platform);
            let has_layers = !image.config.rootfs.diff_ids.is_empty();
            if image.config.os == "windows" && has_layers {
                let message = format!(
                    "{} is a Windows image, whose layers cannot be used: kiln makes images for \
                     Linux",
                    stage.from.image.raw
                );
                planner
                    .words
                    .error("windows", stage.from.image.span, message);
            }
            if image.config.rootfs.diff_ids.is_empty() {
                (state, BaseFiles::None)
            } else {
                (state, BaseFiles::Image(source, Box::new(image)))
            }
        }
        StageSource::Named(source) => (StageState::scratch(platform), BaseFiles::Tree(source)),
    };
    // Windows sets its own PATH.
    if state.env.get("PATH").is_none() && !windows::is_windows(&state.platform) {
        state.env.set("PATH", DEFAULT_PATH);
        let config = &mut state.config.config;
        config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
    let triggers = parse_triggers(planner, &mut state, stage.from.site.span)?;
    let instructions = planner.instructions(index);
    let steps = triggers
        .iter()
        .chain(instructions)
        .filter(|instruction| makes_step(instruction))
        .count();
    let mut planning = StagePlan {
        index,
        prefix: prefix(planner, index, &state.platform),
        total: steps + usize::from(matches!(base, BaseFiles::Image(..))),
        number: 0,
        planner,
        state,
    };
    let span = stage.from.site.span;
    match base {
        BaseFiles::None => {}
        BaseFiles::Image(source, image) => {
            let manifest = image.descriptor.digest;
            let text = format!("FROM {}@{manifest}", source.name());
            planning.state.root = Some(planning.step(Op::From(FromOp { manifest }), &text, span));
        }
        BaseFiles::Tree(source) => {
            planning.state.root = planning.tree(&source, &stage.from.image);
            if let Some(step) = planning.state.root {
                planning.state.history.push(PlannedHistory {
                    created_by: format!("FROM {}", stage.from.image.raw),
                    step: Some(step),
                });
            }
        }
    }
    for trigger in &triggers {
        let before = planning.planner.words.marks();
        let planned = planning.instruction(trigger, "ONBUILD ");
        // Positions in a trigger's text are not positions in this file.
        let span = stage.from.site.span;
        let note = format!("in the trigger ONBUILD {}", trigger.site.line);
        planning.planner.words.move_all(before, span, &note);
        planned.map_err(|error| error.moved(span))?;
    }
    for instruction in instructions {
        planning.instruction(instruction, "")?;
    }
    Ok(planning.state)
}

/// Returns what stands in front of a step's number: for which platform, in which stage.
fn prefix(planner: &Planner<'_>, index: usize, platform: &Platform) -> String {
    let mut prefix = String::new();
    if planner.options.platforms.len() > 1 {
        prefix = platform.to_string();
        if *platform != planner.platform {
            // `linux/amd64->arm64`: runs here, builds for there.
            let target = planner.platform.to_string();
            let (_, architecture) = target.split_once('/').unwrap_or(("", &target));
            prefix.push_str(&format!("->{architecture}"));
        }
        prefix.push(' ');
    }
    if planner.dockerfile.stages.len() > 1 {
        prefix.push_str(&stages::display_name(planner.dockerfile, index));
        prefix.push(' ');
    }
    prefix
}

/// Takes the triggers out of the base's config and parses them.
fn parse_triggers(
    planner: &mut Planner<'_>,
    state: &mut StageState,
    span: Span,
) -> Result<Vec<Instruction>, PlanError> {
    let escape = planner.dockerfile.directives.escape;
    let mut triggers = Vec::new();
    for trigger in std::mem::take(&mut state.config.config.on_build) {
        match parse_instruction(&trigger, escape) {
            Ok(instruction) => triggers.push(at(instruction, span)),
            Err(error) => {
                let message = format!("ONBUILD trigger `{trigger}`: {}", error.message);
                planner.words.error(error.code, span, message);
            }
        }
    }
    planner.stop_on_errors()?;
    Ok(triggers)
}

/// Moves a trigger to the `FROM` line that fires it: its own text is in another file.
fn at(mut instruction: Instruction, span: Span) -> Instruction {
    instruction.site.span = span;
    instruction
}

fn makes_step(instruction: &Instruction) -> bool {
    matches!(
        instruction.kind,
        InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Workdir(_)
    )
}

impl StagePlan<'_, '_> {
    /// Plans an instruction.
    fn instruction(&mut self, instruction: &Instruction, prefix: &str) -> Result<(), PlanError> {
        let site = &instruction.site;
        let text = format!("{prefix}{}", self.shown(instruction));
        match &instruction.kind {
            InstructionKind::Run(run) => return self.run(run, site, &text),
            InstructionKind::Copy(copy) => return self.copy(copy, site, &text),
            InstructionKind::Add(add) => self.add(add, site, &text),
            InstructionKind::Workdir(path) => self.workdir(path, site, &text),
            InstructionKind::Env(pairs) => self.env(pairs),
            InstructionKind::Label(pairs) => self.label(pairs),
            InstructionKind::Arg(arg) => self.arg(arg),
            InstructionKind::Cmd(command) => self.cmd(command, site),
            InstructionKind::Entrypoint(command) => self.entrypoint(command, site),
            InstructionKind::Expose(words) => self.expose(words),
            InstructionKind::User(user) => self.user(user),
            InstructionKind::Volume(paths) => self.volume(paths),
            InstructionKind::StopSignal(signal) => self.stop_signal(signal),
            InstructionKind::Shell(shell) => {
                self.state.config.config.shell.clone_from(shell);
                let text = format!("SHELL {}", history::plain_list(shell));
                self.state.changed(text);
            }
            InstructionKind::Healthcheck(check) => self.healthcheck(check),
            InstructionKind::Onbuild(onbuild) => {
                let triggers = &mut self.state.config.config.on_build;
                triggers.push(onbuild.trigger.clone());
            }
            InstructionKind::Maintainer(author) => {
                self.state.config.author = Some(author.raw.clone());
                self.state.changed(format!("MAINTAINER {}", author.raw));
            }
        }
        Ok(())
    }
}
