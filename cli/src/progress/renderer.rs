//! What each way to show a build does, and how it is set.

use std::time::Duration;

use kiln_engine::ProgressEvent;

use super::build_state::BuildState;
use super::palette::Palette;
use crate::environment::Environment;

/// How a build is shown.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Colours for terminals.
    pub(crate) palette: Palette,
    /// Lines of output shown below a running step.
    pub(crate) log_lines: usize,
    /// Whether step names are cut in plain mode.
    pub(crate) names: StepNames,
}

/// Whether long step names are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepNames {
    /// Shown as they are.
    Whole,
    /// Cut to 72 characters.
    Cut,
}

impl Settings {
    /// Reads the settings from the environment.
    pub(crate) fn of(environment: &Environment) -> Self {
        let log_lines = environment
            .text("BUILDKIT_TTY_LOG_LINES")
            .and_then(|text| text.parse().ok());
        Self {
            palette: Palette::of_stderr(environment),
            log_lines: log_lines.unwrap_or(6),
            names: match environment.text("PROGRESS_NO_TRUNC").as_deref() {
                Some("0") => StepNames::Cut,
                _ => StepNames::Whole,
            },
        }
    }
}

/// One way to show a build. Times are counted from the start of the build.
pub(super) trait Renderer: Send {
    /// Shows what `event` changed; `build` has it already.
    fn event(&mut self, build: &BuildState, event: &ProgressEvent, at: Duration);

    /// Shows what changed with time alone.
    fn tick(&mut self, build: &BuildState, at: Duration);

    /// Shows everything for the last time.
    fn finish(&mut self, build: &BuildState, at: Duration);
}
