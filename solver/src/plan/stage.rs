//! One stage, instruction by instruction.

mod config; // what changes only the config
mod copy; // COPY and ADD
mod run; // RUN and its mounts
mod shown; // how progress calls steps
mod trees; // steps for what instructions read

use kiln_files::GuestPath;
use kiln_oci::{Image, ImageConfig, Platform, Sha256};
use kiln_parser::lint::rules;
use kiln_parser::{CommandLine, Instruction, Kind, Quoting, Site, Span, Text, parse_instruction};

pub(super) use copy::added_remote;

use super::names::{ImageSource, NamedSource};
use super::stages::{self, Source};
use super::variables::Variables;
use super::{PlanError, PlannedHistory, Planner, TargetImage, history, windows};
use crate::graph::{From, Op, Step, StepId, Workdir};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage has come to so far.
#[derive(Clone, Debug)]
pub(crate) struct StageState {
    root: Option<StepId>,
    base: Option<Sha256>,
    config: ImageConfig,
    history: Vec<PlannedHistory>,
    /// The environment of expansions and `RUN`s: the image's and the build arguments.
    env: Variables,
    /// Every `ARG` declared, in order of first appearance.
    arguments: Vec<String>,
    /// The values of those that no command sees.
    for_builder: Variables,
    platform: Platform,
    /// Whether this stage itself has set `Cmd`.
    command_is_own: bool,
    /// Whether a `WORKDIR` of this file, relative or not, stands before.
    directory_is_own: bool,
}

impl StageState {
    fn scratch(platform: Platform) -> Self {
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        config.config.working_dir = "/".to_owned();
        Self {
            root: None,
            base: None,
            config,
            history: Vec::new(),
            env: Variables::default(),
            arguments: Vec::new(),
            for_builder: Variables::default(),
            platform,
            command_is_own: false,
            directory_is_own: false,
        }
    }

    fn image(image: &Image, root: Option<StepId>, platform: Platform) -> Self {
        let mut config = image.config.clone();
        config.created = None;
        Self {
            root,
            base: Some(image.descriptor.digest),
            history: Vec::new(),
            env: Variables::from_env(&config.config.env),
            config,
            arguments: Vec::new(),
            for_builder: Variables::default(),
            platform,
            command_is_own: false,
            directory_is_own: false,
        }
    }

    /// Returns the image this stage would make.
    pub(crate) fn into_target(self, platform: Platform) -> TargetImage {
        TargetImage {
            platform,
            root: self.root,
            config: self.config,
            base: self.base,
            history: self.history,
        }
    }

    fn working_dir(&self) -> GuestPath {
        let written = &self.config.config.working_dir;
        match windows::is_windows(&self.platform) {
            // What an image says stands as Windows writes it.
            true => GuestPath::new(windows::with_slashes(written).unwrap_or_default()),
            false => GuestPath::new(written),
        }
    }

    /// Returns the same as people wrote it: a slash may stand at its end.
    fn directory_as_written(&self) -> String {
        match self.config.config.working_dir.as_str() {
            written if written.starts_with('/') => written.to_owned(),
            _ => self.working_dir().to_string(),
        }
    }

    fn shell(&self) -> Vec<String> {
        match self.config.config.shell.as_slice() {
            [] => windows::default_shell(&self.config.os),
            shell => shell.to_vec(),
        }
    }

    /// Returns a command as `CMD` and `ENTRYPOINT` store it.
    fn command(&self, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => {
                let mut words = self.shell();
                words.push(text.raw.clone());
                words
            }
        }
    }

    /// Notes an instruction that changed only the config.
    fn changed(&mut self, created_by: String) {
        self.history.push(PlannedHistory {
            created_by,
            step: None,
        });
    }
}

/// The files that a stage starts from, where there are any besides another stage's.
enum BaseFiles {
    None,
    Image(ImageSource, Box<Image>),
    Tree(NamedSource),
}

/// Plans stage `index`; the stages it names are planned.
pub(crate) fn plan_stage(planner: &mut Planner<'_>, index: usize) -> Result<StageState, PlanError> {
    let dockerfile = planner.dockerfile;
    let stage = &dockerfile.stages[index];
    let platform = planner.stage_platform(index);
    let (mut state, base) = match planner.base(index) {
        None => return Err(planner.stop_on_errors().expect_err("base noted an error")),
        Some(Source::Stage(parent)) => {
            let mut state = planner.done[&parent].clone();
            state.command_is_own = false;
            (state, BaseFiles::None)
        }
        Some(Source::Named(NamedSource::Image(source))) => {
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
            match image.config.rootfs.diff_ids.is_empty() {
                true => (state, BaseFiles::None),
                false => (state, BaseFiles::Image(source, Box::new(image))),
            }
        }
        Some(Source::Named(source)) => (StageState::scratch(platform), BaseFiles::Tree(source)),
    };
    // Windows knows its own.
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
            planning.state.root = Some(planning.step(Op::From(From { manifest }), &text, span));
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
        // Places in a trigger's text are none of this file's.
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
        Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_)
    )
}

pub(super) struct StagePlan<'a, 'b> {
    pub(super) planner: &'a mut Planner<'b>,
    state: StageState,
    index: usize,
    /// The stage's name and a blank, if there are several stages.
    prefix: String,
    /// How many of this stage's instructions make steps.
    total: usize,
    /// How many of them have been met.
    number: usize,
}

impl StagePlan<'_, '_> {
    fn instruction(&mut self, instruction: &Instruction, prefix: &str) -> Result<(), PlanError> {
        let site = &instruction.site;
        let text = format!("{prefix}{}", self.shown(instruction));
        match &instruction.kind {
            Kind::Run(run) => return self.run(run, site, &text),
            Kind::Copy(copy) => return self.copy(copy, site, &text),
            Kind::Add(add) => self.add(add, site, &text),
            Kind::Workdir(path) => self.workdir(path, site, &text),
            Kind::Env(pairs) => self.env(pairs),
            Kind::Label(pairs) => self.label(pairs),
            Kind::Arg(arg) => self.arg(arg),
            Kind::Cmd(command) => self.cmd(command, site),
            Kind::Entrypoint(command) => self.entrypoint(command, site),
            Kind::Expose(words) => self.expose(words),
            Kind::User(user) => self.user(user),
            Kind::Volume(paths) => self.volume(paths),
            Kind::StopSignal(signal) => self.stop_signal(signal),
            Kind::Shell(shell) => {
                self.state.config.config.shell.clone_from(shell);
                let text = format!("SHELL {}", history::plain_list(shell));
                self.state.changed(text);
            }
            Kind::Healthcheck(check) => self.healthcheck(check),
            Kind::Onbuild(onbuild) => {
                let triggers = &mut self.state.config.config.on_build;
                triggers.push(onbuild.trigger.clone());
            }
            Kind::Maintainer(author) => {
                self.state.config.author = Some(author.raw.clone());
                self.state.changed(format!("MAINTAINER {}", author.raw));
            }
        }
        Ok(())
    }

    /// Adds a step on top of the stage's root.
    fn step(&mut self, op: Op, text: &str, span: Span) -> StepId {
        self.number += 1;
        let width = self.total.to_string().len();
        let name = format!(
            "[{}{:>width$}/{}] {text}",
            self.prefix, self.number, self.total
        );
        let stage = stages::display_name(self.planner.dockerfile, self.index);
        self.planner.graph.add(Step {
            op,
            parent: self.state.root,
            name,
            span,
            stage,
            shared_with: Vec::new(),
        })
    }

    /// Adds a step and its history entry.
    fn layer(&mut self, op: Op, text: &str, span: Span, created_by: String) {
        let step = self.step(op, text, span);
        self.state.root = Some(step);
        self.state.history.push(PlannedHistory {
            created_by,
            step: Some(step),
        });
    }

    fn expand(&mut self, text: &Text) -> String {
        let state = &self.state;
        let words = &mut self.planner.words;
        words.expand_in_stage(text, Quoting::Word, &state.env, &state.arguments)
    }

    /// Expands a path in the image, and takes off what only Windows knows.
    fn path(&mut self, text: &Text) -> String {
        let path = self.expand(text);
        if !windows::is_windows(&self.state.platform) {
            return path;
        }
        windows::with_slashes(&path).unwrap_or_else(|message| {
            self.error("windows-path", text.span, message);
            String::new()
        })
    }

    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.planner.words.error(code, span, message);
    }

    fn workdir(&mut self, path: &Text, site: &Site, text: &str) {
        let written = path;
        let before = self.planner.words.errors.len();
        let path = self.path(path);
        if self.planner.words.errors.len() > before {
            return;
        }
        let is_relative = !path.starts_with('/');
        if !self.state.directory_is_own && is_relative {
            let finding = rules::workdir_relative_path(written.span, &path);
            self.planner.words.warnings.push(finding);
        }
        self.state.directory_is_own = true;
        let directory = self.state.working_dir().join(&path);
        // moby parity: buildkit's util/system/path.go leaves an absolute path as it is written, be
        // it with a slash at its end; only what is joined is cleaned.
        let shown = match (is_relative, path.is_empty()) {
            (false, _) if windows::is_windows(&self.state.platform) => directory.to_string(),
            (false, _) => path,
            (true, false) => directory.to_string(),
            (true, true) => self.state.directory_as_written(),
        };
        let created_by = format!("WORKDIR {shown}");
        let makes_layer = shown != "/";
        self.state.config.config.working_dir = match windows::is_windows(&self.state.platform) {
            true => windows::with_backslashes(&shown),
            false => shown,
        };
        if !makes_layer {
            self.number += 1;
            self.state.changed(created_by);
            return;
        }
        let op = Op::Workdir(Workdir {
            path: directory,
            user: self.state.config.config.user.clone(),
            time: self.planner.options.epoch,
        });
        self.layer(op, text, site.span, created_by);
    }
}
