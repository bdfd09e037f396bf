//! What a build tells while it runs.
//!
//! Libraries never print: they report vertices (steps and the engine's own jobs) to a
//! [`Progress`], and the command line draws them.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kiln_parser::Diagnostic;

/// Names a vertex within one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexId(pub u32);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A vertex began, or was found to need nothing.
    Started {
        /// Which.
        vertex: VertexId,
        /// What it is called, e.g. `[build 2/5] RUN make`.
        name: String,
    },
    /// A vertex's process wrote something.
    Log {
        /// Which.
        vertex: VertexId,
        /// Where it wrote.
        stream: LogStream,
        /// What: any bytes, lines cut anywhere.
        bytes: Vec<u8>,
    },
    /// Part of a vertex got on: a download, an upload, a transfer.
    Status {
        /// Which.
        vertex: VertexId,
        /// The part, e.g. a digest.
        part: String,
        /// Bytes done.
        current: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
        /// Whether the part is finished.
        finished: bool,
    },
    /// A vertex ended.
    Finished {
        /// Which.
        vertex: VertexId,
        /// How.
        end: VertexEnd,
        /// How long it took.
        took: Duration,
    },
    /// Something that a lint rule says about the Dockerfile.
    Finding {
        /// What it says.
        finding: Box<Diagnostic>,
        /// The line it is about, counted from 1.
        line: u32,
    },
    /// Something that the person should know and that stops nothing.
    Warning {
        /// One line.
        message: String,
    },
}

/// Where a process wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a vertex ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VertexEnd {
    /// It ran.
    Done,
    /// Its result was there already.
    Cached,
    /// It failed.
    Failed(String),
    /// It was stopped because something else failed or the person asked for it.
    Cancelled,
}

/// Takes events, from any thread.
pub trait Progress: Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// Takes events and drops them.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}

/// Hands out vertices.
pub struct Reporter<'a> {
    sink: &'a dyn Progress,
    next: AtomicU32,
}

impl fmt::Debug for Reporter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

impl<'a> Reporter<'a> {
    /// Reports to `sink`.
    #[must_use]
    pub fn new(sink: &'a dyn Progress) -> Self {
        Self {
            sink,
            next: AtomicU32::new(0),
        }
    }

    /// Begins a vertex.
    pub fn start(&self, name: &str) -> Vertex<'_> {
        let id = VertexId(self.next.fetch_add(1, Ordering::Relaxed));
        self.sink.event(Event::Started {
            vertex: id,
            name: name.to_owned(),
        });
        Vertex {
            sink: self.sink,
            id,
            begun: Instant::now(),
            ended: false,
        }
    }

    /// Tells what a lint rule says about a line.
    pub fn finding(&self, finding: Diagnostic, line: u32) {
        let finding = Box::new(finding);
        self.sink.event(Event::Finding { finding, line });
    }

    /// Tells something that stops nothing.
    pub fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        self.sink.event(Event::Warning { message });
    }
}

/// A vertex that has begun. Dropped without an end, it was cancelled.
pub struct Vertex<'a> {
    sink: &'a dyn Progress,
    id: VertexId,
    begun: Instant,
    ended: bool,
}

impl fmt::Debug for Vertex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vertex").field(&self.id).finish()
    }
}

impl Vertex<'_> {
    /// Passes on what a process wrote.
    pub fn log(&self, stream: LogStream, bytes: &[u8]) {
        self.sink.event(Event::Log {
            vertex: self.id,
            stream,
            bytes: bytes.to_vec(),
        });
    }

    /// Reports how far a part has got.
    pub fn status(&self, part: &str, current: u64, total: Option<u64>, finished: bool) {
        self.sink.event(Event::Status {
            vertex: self.id,
            part: part.to_owned(),
            current,
            total,
            finished,
        });
    }

    /// Returns how long ago the vertex began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends the vertex.
    pub fn end(mut self, end: VertexEnd) {
        self.finish(end);
    }

    fn finish(&mut self, end: VertexEnd) {
        self.ended = true;
        self.sink.event(Event::Finished {
            vertex: self.id,
            end,
            took: self.begun.elapsed(),
        });
    }
}

impl Drop for Vertex<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(VertexEnd::Cancelled);
        }
    }
}
