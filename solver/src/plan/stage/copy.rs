//! `COPY` and `ADD`: where from, what, where to, with which flags.

use kiln_parser::{Add, Copy, Place, RemoteSource, Site, Text, chmod, remote_source};

use super::StagePlan;
use crate::graph::{self, Archives, CopySource, From, Mode, Op, Step};
use crate::plan::PlanError;
use crate::plan::stages::{self, ByIndex, Source};

impl StagePlan<'_, '_> {
    pub(super) fn copy(&mut self, copy: &Copy, site: &Site, text: &str) -> Result<(), PlanError> {
        let source = match &copy.from {
            None => CopySource::Context,
            Some(from) => match self.copy_source(from, text)? {
                Some(source) => source,
                None => return Ok(()),
            },
        };
        let mut op = self.copy_op(source, &copy.sources, &copy.destination, Archives::Keep);
        for path in &op.paths {
            if let Some(problem) = remote_kind(path) {
                let message = format!("source can't be {problem} for COPY");
                self.planner.words.error("remote-copy", site.span, message);
            }
        }
        self.copy_flags(&mut op, copy.chown.as_ref(), copy.chmod.as_ref());
        op.excludes = copy.excludes.iter().map(|text| text.raw.clone()).collect();
        op.parents = copy.parents;
        op.link = copy.link && copy.chmod.is_none();
        let created_by = copy_text("COPY", &op, &copy.destination, self);
        self.layer(Op::Copy(Box::new(op)), text, site.span, created_by);
        Ok(())
    }

    pub(super) fn add(&mut self, add: &Add, site: &Site, text: &str) {
        let archives = match add.unpack {
            Some(false) => Archives::Keep,
            Some(true) | None => Archives::Unpack,
        };
        let mut op = self.copy_op(
            CopySource::Context,
            &add.sources,
            &add.destination,
            archives,
        );
        for path in &op.paths {
            if let Some(kind) = remote_kind(path) {
                let message = format!("ADD of {kind} is not supported yet");
                self.planner.words.error("unsupported", site.span, message);
            }
        }
        if let Some(checksum) = &add.checksum {
            let message = "checksum requires HTTP(S) or Git sources";
            self.error("checksum", checksum.span, message);
        }
        self.copy_flags(&mut op, add.chown.as_ref(), add.chmod.as_ref());
        op.excludes = add.excludes.iter().map(|text| text.raw.clone()).collect();
        op.link = add.link && add.chmod.is_none();
        let created_by = copy_text("ADD", &op, &add.destination, self);
        self.layer(Op::Copy(Box::new(op)), text, site.span, created_by);
    }

    /// Resolves `--from`; plans the stage or makes a step for the image.
    fn copy_source(&mut self, from: &Text, text: &str) -> Result<Option<CopySource>, PlanError> {
        let dockerfile = self.planner.dockerfile;
        let words = &mut self.planner.words;
        let source = stages::source(dockerfile, self.index, from, ByIndex::Allowed, words);
        let Some(source) = source else {
            return Ok(None);
        };
        Ok(Some(match source {
            Source::Scratch => CopySource::Nothing,
            Source::Stage(stage) => {
                // Named by an ONBUILD trigger of the base, the stage may not be planned yet.
                if !self.planner.done.contains_key(&stage) {
                    self.planner.stage(stage)?;
                }
                match self.planner.done[&stage].root {
                    Some(step) => CopySource::Step(step),
                    None => CopySource::Nothing,
                }
            }
            Source::Image(name) => {
                let platform = self.planner.platform.clone();
                let image = self.planner.image(name.clone(), platform, from)?;
                let manifest = image.descriptor.digest;
                let stage = stages::display_name(dockerfile, self.index);
                let step = self.planner.graph.add(Step {
                    op: Op::From(From { manifest }),
                    parent: None,
                    name: format!("FROM {name}@{manifest} for {text}"),
                    span: from.span,
                    stage,
                });
                CopySource::Step(step)
            }
        }))
    }

    fn copy_op(
        &mut self,
        source: CopySource,
        sources: &[kiln_parser::Source],
        destination: &Text,
        archives: Archives,
    ) -> graph::Copy {
        let mut paths = Vec::new();
        let mut inline = Vec::new();
        for source in sources {
            match source {
                kiln_parser::Source::Path(text) => paths.push(self.expand(text)),
                kiln_parser::Source::Heredoc(heredoc) => {
                    let body = self.planner.words.expand_body(heredoc, &self.state.env);
                    inline.push((heredoc.name.clone(), body));
                }
            }
        }
        let written = self.expand(destination);
        let last = written.rsplit('/').next().unwrap_or("");
        graph::Copy {
            source: match paths.is_empty() {
                true => CopySource::Nothing,
                false => source,
            },
            paths,
            inline,
            destination: self.state.working_dir().join(&written),
            into_directory: matches!(last, "" | "."),
            owner: None,
            mode: None,
            archives,
            excludes: Vec::new(),
            parents: false,
            link: false,
        }
    }

    fn copy_flags(&mut self, op: &mut graph::Copy, chown: Option<&Text>, mode: Option<&Text>) {
        op.owner = chown
            .map(|text| self.expand(text))
            .filter(|owner| !owner.is_empty());
        op.mode = mode.and_then(|text| {
            let value = self.expand(text);
            match chmod::parse(&value) {
                Ok(chmod) => Some(Mode { text: value, chmod }),
                Err(error) => {
                    self.error("invalid-chmod", text.span, error.to_string());
                    None
                }
            }
        });
    }
}

/// Returns `COPY [--parents] [--chown=…] [--chmod=…] src… dest # buildkit`, words expanded.
fn copy_text(
    keyword: &str,
    op: &graph::Copy,
    destination: &Text,
    planning: &mut StagePlan<'_, '_>,
) -> String {
    let mut text = keyword.to_owned();
    if op.parents {
        text.push_str(" --parents");
    }
    if let Some(owner) = &op.owner {
        text.push_str(&format!(" --chown={owner}"));
    }
    if let Some(mode) = &op.mode {
        text.push_str(&format!(" --chmod={}", mode.text));
    }
    for path in &op.paths {
        text.push_str(&format!(" {path}"));
    }
    for (name, _) in &op.inline {
        text.push_str(&format!(" <<{name}"));
    }
    let destination = planning.expand(destination);
    format!("{text} {destination} # buildkit")
}

/// Says what a source is that is no path but something to fetch.
fn remote_kind(path: &str) -> Option<&'static str> {
    Some(match remote_source(path, Place::Instruction)? {
        Ok(RemoteSource::Http(_)) => "a URL",
        Ok(RemoteSource::Git(_)) | Err(_) => "a git ref",
    })
}
