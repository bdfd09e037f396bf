//! `COPY` and `ADD`: where from, what, where to, with which flags.

use kiln_parser::{
    Add, Copy, CopyFlags, RemoteSource, Site, Source, SourcePlace, Span, Text, chmod, remote_source,
};

use super::shown::without_password;
use super::stage_plan::StagePlan;
use crate::graph::{
    self, Archives, ChmodValue, ContextId, CopyLayout, CopyPart, FileSource, Op, Remote, Wildcards,
};
use crate::plan::names::added_remote;
use crate::plan::plan_error::PlanError;
use crate::plan::stages::StageReader;

impl StagePlan<'_, '_> {
    pub(super) fn copy(&mut self, copy: &Copy, site: &Site, text: &str) -> Result<(), PlanError> {
        let source = match &copy.from {
            None => FileSource::Context(ContextId::MAIN),
            Some(from) => match self.file_source(from, &StageReader::Copy, text)? {
                Some(source) => source,
                None => return Ok(()),
            },
        };
        let mut op = self.copy_op(&copy.sources, &copy.destination);
        let mut paths = Vec::new();
        for path in self.paths(&copy.sources) {
            let what = match remote_source(&path.value, SourcePlace::Instruction) {
                Some(Ok(RemoteSource::Http(_))) => "URL",
                Some(_) => "git ref",
                None => "",
            };
            if !what.is_empty() {
                let message = format!("source can't be a {what} for COPY");
                self.error("remote-copy", path.span, message);
            }
            if copy.from.is_none() {
                self.note_read("Copy", &path.value, path.span);
            }
            paths.push(path.value);
        }
        if copy.parents {
            op.layout = CopyLayout::Parents;
        }
        let keyword = if copy.parents {
            "COPY --parents"
        } else {
            "COPY"
        };
        let flags = self.copy_flags(&mut op, &copy.flags);
        let created_by = format!("{keyword}{flags}");
        let created_by = copy_text(created_by, &paths, &op, &self.expand(&copy.destination));
        if !paths.is_empty() {
            op.parts.push(CopyPart {
                source,
                paths,
                wildcards: Wildcards::Expanded,
                archives: Archives::Keep,
            });
        }
        self.layer(Op::Copy(Box::new(op)), text, site.span, created_by);
        Ok(())
    }

    pub(super) fn add(&mut self, add: &Add, site: &Site, text: &str) {
        let mut op = self.copy_op(&add.sources, &add.destination);
        let checksum = add.checksum.as_ref().map(|text| self.expand(text));
        if let (Some(text), true) = (&add.checksum, add.sources.len() > 1) {
            let message = "checksum can't be specified for multiple sources";
            self.error("checksum", text.span, message);
        }
        let mut shown = Vec::new();
        for path in self.paths(&add.sources) {
            let part = match remote_source(&path.value, SourcePlace::Instruction) {
                Some(Ok(remote)) => self.remote_part(remote, add, checksum.as_deref(), &path),
                Some(Err(error)) => {
                    self.error("remote-source", path.span, error.to_string());
                    continue;
                }
                None => {
                    if let Some(checksum) = &add.checksum {
                        let message = "checksum requires HTTP(S) or Git sources";
                        self.error("checksum", checksum.span, message);
                    }
                    self.note_read("Add", &path.value, path.span);
                    local_part(&path, add)
                }
            };
            match op.parts.last_mut() {
                // Paths of the context that stand side by side are looked up together.
                Some(last) if last.source == part.source && last.archives == part.archives => {
                    last.paths.extend(part.paths);
                }
                _ => op.parts.push(part),
            }
            shown.push(without_password(&path.value));
        }
        let created_by = format!("ADD{}", self.copy_flags(&mut op, &add.flags));
        let created_by = copy_text(created_by, &shown, &op, &self.expand(&add.destination));
        self.layer(Op::Copy(Box::new(op)), text, site.span, created_by);
    }

    /// Returns the source arguments that are no heredocs, expanded.
    fn paths(&mut self, sources: &[Source]) -> Vec<Expanded> {
        let mut paths = Vec::new();
        for source in sources {
            if let Source::Path(text) = source {
                paths.push(Expanded {
                    value: self.expand(text),
                    span: text.span,
                });
            }
        }
        paths
    }

    /// Makes a step of a download or a repository and returns what is copied of it.
    fn remote_part(
        &mut self,
        remote: RemoteSource,
        add: &Add,
        checksum: Option<&str>,
        path: &Expanded,
    ) -> CopyPart {
        let remote = added_remote(remote, add, checksum);
        let paths = match &remote {
            Remote::Download(download) => vec![download.file_name.clone()],
            Remote::Repository(_) => vec!["/".to_owned()],
        };
        let archives = match (&remote, add.unpack) {
            (Remote::Download(_), Some(true)) => Archives::Unpack,
            _ => Archives::Keep,
        };
        let from = Text {
            raw: path.value.clone(),
            span: path.span,
        };
        let name = remote.address();
        let step = self.source_step(Op::Remote(Box::new(remote)), name, &from);
        CopyPart {
            source: FileSource::Step(step),
            paths,
            wildcards: Wildcards::Literal,
            archives,
        }
    }

    /// Describes a copy without sources of its own: destination and what stands in the Dockerfile.
    fn copy_op(&mut self, sources: &[Source], destination: &Text) -> graph::CopyOp {
        let mut inline = Vec::new();
        for source in sources {
            if let Source::Heredoc(heredoc) = source {
                let state = &self.state;
                let words = &mut self.planner.words;
                let body = words.expand_body(heredoc, &state.env, &state.arguments);
                inline.push((heredoc.name.clone(), body));
            }
        }
        let written = self.path(destination);
        let last = written.rsplit('/').next().unwrap_or("");
        graph::CopyOp {
            parts: Vec::new(),
            time: if inline.is_empty() {
                None
            } else {
                self.planner.options.epoch
            },
            inline,
            destination: self.state.working_dir().join(&written),
            into_directory: matches!(last, "" | "."),
            owner: None,
            mode: None,
            excludes: Vec::new(),
            layout: CopyLayout::Contents,
            link: false,
        }
    }

    /// Takes the flags over that `COPY` and `ADD` have in common; returns those of the history entry.
    fn copy_flags(&mut self, op: &mut graph::CopyOp, flags: &CopyFlags) -> String {
        let CopyFlags {
            chown,
            chmod: mode,
            link,
            excludes,
        } = flags;
        let mut text = String::new();
        op.excludes = excludes.iter().map(|text| text.raw.clone()).collect();
        op.link = *link && mode.is_none();
        op.owner = chown
            .as_ref()
            .map(|text| self.expand(text))
            .filter(|owner| !owner.is_empty());
        op.mode = mode.as_ref().and_then(|text| {
            let value = self.expand(text);
            match chmod::parse(&value) {
                Ok(chmod) => Some(ChmodValue { text: value, chmod }),
                Err(error) => {
                    self.error("invalid-chmod", text.span, error.to_string());
                    let note = "modes are octal, such as 0644, or symbolic, such as u=rwX,go-w";
                    self.planner.words.note(note.to_owned());
                    None
                }
            }
        });
        if let Some(owner) = &op.owner {
            text.push_str(&format!(" --chown={owner}"));
        }
        if let Some(mode) = &op.mode {
            text.push_str(&format!(" --chmod={}", mode.text));
        }
        text
    }
}

/// A source argument.
struct Expanded {
    value: String,
    span: Span,
}

fn local_part(path: &Expanded, add: &Add) -> CopyPart {
    CopyPart {
        source: FileSource::Context(ContextId::MAIN),
        paths: vec![path.value.clone()],
        wildcards: Wildcards::Expanded,
        archives: match add.unpack {
            Some(false) => Archives::Keep,
            Some(true) | None => Archives::Unpack,
        },
    }
}

/// Returns `COPY [--parents] [--chown=…] [--chmod=…] src… dest # buildkit`, words expanded.
fn copy_text(mut text: String, paths: &[String], op: &graph::CopyOp, destination: &str) -> String {
    for path in paths {
        text.push_str(&format!(" {path}"));
    }
    for (name, _) in &op.inline {
        text.push_str(&format!(" <<{name}"));
    }
    format!("{text} {destination} # buildkit")
}
