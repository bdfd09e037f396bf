//! What planning a stage changes: its state, its steps and its history.

use kiln_parser::{Quoting, Span, Text};

use crate::graph::{Op, Step, StepId};
use crate::plan::context_read::ContextRead;
use crate::plan::planned::PlannedHistory;
use crate::plan::planner::Planner;
use crate::plan::stage_state::StageState;
use crate::plan::{stages, windows};

/// A stage while it is planned.
pub(super) struct StagePlan<'a, 'b> {
    pub(super) planner: &'a mut Planner<'b>,
    pub(super) state: StageState,
    pub(super) index: usize,
    /// The stage's name and a blank, if there are several stages.
    pub(super) prefix: String,
    /// How many of this stage's instructions make steps.
    pub(super) total: usize,
    /// How many of them have been met.
    pub(super) number: usize,
}

impl StagePlan<'_, '_> {
    /// Adds a step on top of the stage's root.
    pub(super) fn step(&mut self, op: Op, text: &str, span: Span) -> StepId {
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
    pub(super) fn layer(&mut self, op: Op, text: &str, span: Span, created_by: String) {
        let step = self.step(op, text, span);
        self.state.root = Some(step);
        self.state.history.push(PlannedHistory {
            created_by,
            step: Some(step),
        });
    }

    pub(super) fn expand(&mut self, text: &Text) -> String {
        let state = &self.state;
        let words = &mut self.planner.words;
        words.expand_in_stage(text, Quoting::Word, &state.env, &state.arguments)
    }

    /// Expands a path in the image, and takes off what only Windows knows.
    pub(super) fn path(&mut self, text: &Text) -> String {
        let path = self.expand(text);
        if !windows::is_windows(&self.state.platform) {
            return path;
        }
        windows::with_slashes(&path).unwrap_or_else(|message| {
            self.error("windows-path", text.span, message);
            String::new()
        })
    }

    pub(super) fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.planner.words.error(code, span, message);
    }

    /// Notes that a path of the context is read.
    pub(super) fn note_read(&mut self, verb: &'static str, path: &str, span: Span) {
        self.planner.reads.push(ContextRead {
            verb,
            path: path.to_owned(),
            span,
        });
    }
}
