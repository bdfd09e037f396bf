//! What has happened so far.

use std::collections::HashMap;
use std::time::Duration;

use kiln_engine::{ProgressEvent, VertexEnd, VertexId};
use kiln_parser::Diagnostic;

use super::log::Log;

/// Everything a build told, ordered by when it began.
#[derive(Debug, Default)]
pub(crate) struct BuildState {
    vertices: Vec<VertexState>,
    positions: HashMap<VertexId, usize>,
    findings: Vec<LintFinding>,
}

/// What a lint rule says about a line.
#[derive(Debug)]
pub(crate) struct LintFinding {
    /// What it says.
    pub(crate) finding: Diagnostic,
    /// The line, counted from 1.
    pub(crate) line: u32,
}

/// A step, or one of the engine's own jobs.
#[derive(Debug)]
pub(crate) struct VertexState {
    /// Which.
    pub(crate) id: VertexId,
    /// Its name.
    pub(crate) name: String,
    /// When it began, counted from the start of the build.
    pub(crate) begun: Duration,
    /// How it ended and how long it took, once it has.
    pub(crate) end: Option<(VertexEnd, Duration)>,
    /// What its process wrote.
    pub(crate) log: Log,
    /// Its transfers, ordered by when they began.
    pub(crate) parts: Vec<Part>,
}

/// A download, upload or other transfer within a vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// What is transferred.
    pub(crate) name: String,
    /// Bytes so far.
    pub(crate) current: u64,
    /// Bytes in all, if known.
    pub(crate) total: Option<u64>,
    /// When it was first heard of, counted from the start of the build.
    pub(crate) begun: Duration,
    /// How long it took, once it is over.
    pub(crate) took: Option<Duration>,
}

impl BuildState {
    /// Enters an event that happened `at` this time, counted from the start of the build.
    pub(crate) fn take(&mut self, event: &ProgressEvent, at: Duration) {
        match event {
            ProgressEvent::Started { vertex, name } => {
                self.positions.insert(*vertex, self.vertices.len());
                self.vertices.push(VertexState {
                    id: *vertex,
                    name: name.clone(),
                    begun: at,
                    end: None,
                    log: Log::default(),
                    parts: Vec::new(),
                });
            }
            ProgressEvent::Log {
                vertex,
                stream,
                bytes,
            } => {
                if let Some(vertex) = self.vertex_mut(*vertex) {
                    let at = at.saturating_sub(vertex.begun);
                    vertex.log.add(*stream, bytes, at);
                }
            }
            ProgressEvent::Status {
                vertex,
                part,
                current,
                total,
                finished,
            } => {
                if let Some(vertex) = self.vertex_mut(*vertex) {
                    let part = vertex.part(part, at);
                    part.current = *current;
                    part.total = *total;
                    part.took = finished.then(|| at.saturating_sub(part.begun));
                }
            }
            ProgressEvent::Finished { vertex, end, took } => {
                if let Some(vertex) = self.vertex_mut(*vertex) {
                    vertex.log.end(at.saturating_sub(vertex.begun));
                    vertex.end = Some((end.clone(), *took));
                }
            }
            ProgressEvent::Finding { finding, line } => self.findings.push(LintFinding {
                finding: (**finding).clone(),
                line: *line,
            }),
            ProgressEvent::Warning { .. } => {}
        }
    }

    /// Returns the vertices, ordered by when they began.
    pub(crate) fn vertices(&self) -> &[VertexState] {
        &self.vertices
    }

    /// Returns what lint rules say, in file order.
    pub(crate) fn findings(&self) -> &[LintFinding] {
        &self.findings
    }

    /// Returns a vertex.
    pub(crate) fn vertex(&self, id: VertexId) -> Option<&VertexState> {
        self.vertices.get(*self.positions.get(&id)?)
    }

    fn vertex_mut(&mut self, id: VertexId) -> Option<&mut VertexState> {
        self.vertices.get_mut(*self.positions.get(&id)?)
    }

    /// Returns the step that failed.
    pub(crate) fn failed(&self) -> Option<&VertexState> {
        self.vertices
            .iter()
            .find(|vertex| matches!(vertex.end, Some((VertexEnd::Failed(_), _))))
    }
}

impl VertexState {
    /// Returns how long it took, or has taken `now`.
    pub(crate) fn duration(&self, now: Duration) -> Duration {
        match self.end {
            Some((_, took)) => took,
            None => now.saturating_sub(self.begun),
        }
    }

    fn part(&mut self, name: &str, at: Duration) -> &mut Part {
        let position = self.parts.iter().position(|part| part.name == name);
        let position = position.unwrap_or_else(|| {
            self.parts.push(Part {
                name: name.to_owned(),
                current: 0,
                total: None,
                begun: at,
                took: None,
            });
            self.parts.len() - 1
        });
        &mut self.parts[position]
    }
}

impl Part {
    /// Returns name and sizes: `sha256:… 1.05MB / 3.4MB`.
    pub(crate) fn describe(&self) -> String {
        match self.amount() {
            Some(amount) => format!("{} {amount}", self.name),
            None => self.name.clone(),
        }
    }

    /// Says how far it has got, if there is something to count.
    pub(crate) fn amount(&self) -> Option<String> {
        let current = kiln_docker::units::size(self.current);
        match self.total {
            Some(total) => Some(format!("{current} / {}", kiln_docker::units::size(total))),
            None if self.current > 0 => Some(current),
            None => None,
        }
    }
}
