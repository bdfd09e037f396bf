//! Steps for what instructions read: other stages, images, directories of the host, downloads.

use kiln_files::GuestPath;
use kiln_parser::Text;

use super::stage_plan::StagePlan;
use crate::graph::{
    Archives, ContextId, CopyLayout, CopyOp, CopyPart, FileSource, FromOp, Op, Remote, Step,
    StepId, StepPath, Wildcards,
};
use crate::plan::names::NamedSource;
use crate::plan::plan_error::PlanError;
use crate::plan::stages::{StageReader, StageSource};

impl StagePlan<'_, '_> {
    /// Resolves a `--from`; plans the stage or makes a step for the image. `text` is the
    /// instruction, for progress. None if an error was noted.
    pub(super) fn file_source(
        &mut self,
        from: &Text,
        reader: &StageReader,
        text: &str,
    ) -> Result<Option<FileSource>, PlanError> {
        let mut words = std::mem::take(&mut self.planner.words);
        let source = self.planner.source(self.index, from, reader, &mut words);
        self.planner.words = words;
        let Some(source) = source else {
            return Ok(None);
        };
        let step = match source {
            StageSource::Stage(stage) => {
                // Named by an ONBUILD trigger of the base, the stage may not be planned yet.
                if !self.planner.done.contains_key(&stage) {
                    self.planner.stage(stage)?;
                }
                self.planner.done[&stage].root
            }
            StageSource::Named(NamedSource::Image(source)) => {
                let platform = self.planner.platform.clone();
                let image = self.planner.image(source.clone(), platform, from)?;
                let manifest = image.descriptor.digest;
                let name = format!("FROM {}@{manifest} for {text}", source.name());
                Some(self.source_step(Op::From(FromOp { manifest }), name, from))
            }
            StageSource::Named(NamedSource::Directory(context)) => {
                return Ok(Some(FileSource::Context(context)));
            }
            StageSource::Named(source) => self.tree(&source, from),
        };
        Ok(Some(step.map_or(FileSource::Nothing, FileSource::Step)))
    }

    /// Makes a step of everything that a name stands for which is neither a stage nor an image;
    /// none for an empty root.
    pub(super) fn tree(&mut self, source: &NamedSource, from: &Text) -> Option<StepId> {
        match source {
            NamedSource::Scratch | NamedSource::Image(_) => None,
            NamedSource::Directory(context) => {
                let name = format!("[context {}] copy", from.raw);
                Some(self.context_step(*context, "/", name, from))
            }
            NamedSource::Remote(remote) => {
                let mut remote = remote.clone();
                if let Remote::Download(download) = &mut remote {
                    "context".clone_into(&mut download.file_name);
                }
                let name = format!("[context {}] {}", from.raw, remote.address());
                Some(self.source_step(Op::Remote(Box::new(remote)), name, from))
            }
        }
    }

    /// Returns a part of a source as the files of a step: what is mounted must not change while
    /// the command runs, and what the ignore file hides must not show.
    pub(super) fn part(&mut self, source: FileSource, path: &str, from: &Text) -> StepPath {
        let step = match source {
            FileSource::Nothing => None,
            FileSource::Step(step) => Some(step),
            FileSource::Context(context) => {
                let name = "[internal] copy build context for RUN --mount".to_owned();
                Some(self.context_step(context, path, name, from))
            }
        };
        StepPath {
            step,
            path: GuestPath::new(path),
        }
    }

    /// Copies a path of a context into an empty root, where it is again.
    fn context_step(
        &mut self,
        context: ContextId,
        path: &str,
        name: String,
        from: &Text,
    ) -> StepId {
        let op = CopyOp {
            parts: vec![CopyPart {
                source: FileSource::Context(context),
                paths: vec![GuestPath::new(path).to_string()],
                wildcards: Wildcards::Literal,
                archives: Archives::Keep,
            }],
            inline: Vec::new(),
            time: None,
            destination: GuestPath::ROOT,
            into_directory: true,
            owner: None,
            mode: None,
            excludes: Vec::new(),
            layout: CopyLayout::InPlace,
            link: true,
        };
        self.source_step(Op::Copy(Box::new(op)), name, from)
    }

    /// Adds a step that starts from nothing and is no instruction of its own.
    pub(super) fn source_step(&mut self, op: Op, name: String, from: &Text) -> StepId {
        let stage = super::stages::display_name(self.planner.dockerfile, self.index);
        self.planner.graph.add(Step {
            op,
            parent: None,
            name,
            span: from.span,
            stage,
            shared_with: Vec::new(),
        })
    }
}
