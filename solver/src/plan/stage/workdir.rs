//! `WORKDIR`.

use kiln_parser::lint::rules;
use kiln_parser::{Site, Text};

use super::stage_plan::StagePlan;
use crate::graph::{Op, WorkdirOp};
use crate::plan::windows;

impl StagePlan<'_, '_> {
    /// Sets the working directory, and makes it.
    pub(super) fn workdir(&mut self, path: &Text, site: &Site, text: &str) {
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
        self.state.config.config.working_dir = if windows::is_windows(&self.state.platform) {
            windows::with_backslashes(&shown)
        } else {
            shown
        };
        if !makes_layer {
            self.number += 1;
            self.state.changed(created_by);
            return;
        }
        let op = Op::Workdir(WorkdirOp {
            path: directory,
            user: self.state.config.config.user.clone(),
            time: self.planner.options.epoch,
        });
        self.layer(op, text, site.span, created_by);
    }
}
