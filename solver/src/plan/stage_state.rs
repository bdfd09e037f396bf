//! What a stage has come to so far.

use kiln_files::GuestPath;
use kiln_oci::{Image, ImageConfig, Platform, Sha256};
use kiln_parser::CommandLine;

use super::planned::{PlannedHistory, TargetImage};
use super::variables::Variables;
use super::windows;
use crate::graph::StepId;

/// What a stage has come to so far.
#[derive(Clone, Debug)]
pub(crate) struct StageState {
    pub(super) root: Option<StepId>,
    pub(super) base: Option<Sha256>,
    pub(super) config: ImageConfig,
    pub(super) history: Vec<PlannedHistory>,
    /// The environment of expansions and `RUN`s: the image's and the build arguments.
    pub(super) env: Variables,
    /// Every `ARG` declared, in order of first appearance.
    pub(super) arguments: Vec<String>,
    /// The values of those that no command sees.
    pub(super) for_builder: Variables,
    pub(super) platform: Platform,
    /// Whether this stage itself has set `Cmd`.
    pub(super) command_is_own: bool,
    /// Whether a `WORKDIR` of this file, relative or not, stands before.
    pub(super) directory_is_own: bool,
}

impl StageState {
    pub(super) fn scratch(platform: Platform) -> Self {
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

    pub(super) fn image(image: &Image, root: Option<StepId>, platform: Platform) -> Self {
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

    pub(super) fn working_dir(&self) -> GuestPath {
        let written = &self.config.config.working_dir;
        if windows::is_windows(&self.platform) {
            // What an image says stands as Windows writes it.
            GuestPath::new(windows::with_slashes(written).unwrap_or_default())
        } else {
            GuestPath::new(written)
        }
    }

    /// Returns the same as people wrote it: a slash may stand at its end.
    pub(super) fn directory_as_written(&self) -> String {
        match self.config.config.working_dir.as_str() {
            written if written.starts_with('/') => written.to_owned(),
            _ => self.working_dir().to_string(),
        }
    }

    pub(super) fn shell(&self) -> Vec<String> {
        match self.config.config.shell.as_slice() {
            [] => windows::default_shell(&self.config.os),
            shell => shell.to_vec(),
        }
    }

    /// Returns a command as `CMD` and `ENTRYPOINT` store it.
    pub(super) fn command(&self, command: &CommandLine) -> Vec<String> {
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
    pub(super) fn changed(&mut self, created_by: String) {
        self.history.push(PlannedHistory {
            created_by,
            step: None,
        });
    }
}
