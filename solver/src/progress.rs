//! What a build tells while it runs.
//!
//! Libraries never print: they report vertices (steps and the engine's own jobs) to a
//! [`Progress`], and the command line draws them.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kiln_parser::Diagnostic;
use kiln_runtime::Stream;

/// Names a vertex within one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexId(pub u32);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum ProgressEvent {
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
        stream: Stream,
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
    /// Something that the user should know and that stops nothing.
    Warning {
        /// One line.
        message: String,
    },
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
    /// It was stopped because something else failed or the user asked for it.
    Cancelled,
}

/// Takes events, from any thread.
pub trait Progress: Sync {
    /// Takes one event.
    fn event(&self, event: ProgressEvent);
}

/// Takes events and drops them.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: ProgressEvent) {}
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
        let vertex = self.announce(name);
        vertex.begin();
        vertex
    }

    /// Returns a vertex that has yet to begin: what it needs may have to be fetched first.
    pub fn announce(&self, name: &str) -> Vertex<'_> {
        Vertex {
            sink: self.sink,
            id: VertexId(self.next.fetch_add(1, Ordering::Relaxed)),
            name: name.to_owned(),
            begun: OnceLock::new(),
            ended: false,
        }
    }

    /// Tells what a lint rule says about a line.
    pub fn finding(&self, finding: Diagnostic, line: u32) {
        let finding = Box::new(finding);
        self.sink.event(ProgressEvent::Finding { finding, line });
    }

    /// Tells something that stops nothing.
    pub fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        self.sink.event(ProgressEvent::Warning { message });
    }
}

/// A vertex. It begins with the first event that is reported for it, if not before; for one that
/// was cancelled before it began no event is reported. Dropped without an end, it was cancelled.
pub struct Vertex<'a> {
    sink: &'a dyn Progress,
    id: VertexId,
    name: String,
    begun: OnceLock<Instant>,
    ended: bool,
}

impl fmt::Debug for Vertex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vertex").field(&self.id).finish()
    }
}

impl Vertex<'_> {
    /// Begins, unless it has, and returns when it did.
    pub fn begin(&self) -> Instant {
        *self.begun.get_or_init(|| {
            self.sink.event(ProgressEvent::Started {
                vertex: self.id,
                name: self.name.clone(),
            });
            Instant::now()
        })
    }

    /// Passes on what a process wrote.
    pub fn log(&self, stream: Stream, bytes: &[u8]) {
        self.begin();
        self.sink.event(ProgressEvent::Log {
            vertex: self.id,
            stream,
            bytes: bytes.to_vec(),
        });
    }

    /// Tells something that stops nothing.
    pub fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        self.sink.event(ProgressEvent::Warning { message });
    }

    /// Reports how far a part has got.
    pub fn status(&self, part: &str, current: u64, total: Option<u64>, finished: bool) {
        self.begin();
        self.sink.event(ProgressEvent::Status {
            vertex: self.id,
            part: part.to_owned(),
            current,
            total,
            finished,
        });
    }

    /// Returns how long ago the vertex began; begins it unless it has.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begin().elapsed()
    }

    /// Ends the vertex.
    pub fn end(mut self, end: VertexEnd) {
        self.finish(end);
    }

    fn finish(&mut self, end: VertexEnd) {
        self.ended = true;
        if matches!(end, VertexEnd::Cancelled) && self.begun.get().is_none() {
            return;
        }
        let took = self.elapsed();
        self.sink.event(ProgressEvent::Finished {
            vertex: self.id,
            end,
            took,
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Progress for Kept {
        fn event(&self, event: ProgressEvent) {
            let words = match event {
                ProgressEvent::Started { name, .. } => format!("started {name}"),
                ProgressEvent::Finished { end, .. } => format!("finished {end:?}"),
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push(words);
        }
    }

    #[test]
    fn vertex_that_never_began_is_reported_only_if_it_ends() {
        let kept = Kept::default();
        let reporter = Reporter::new(&kept);
        drop(reporter.announce("waits"));
        reporter.announce("gives up").end(VertexEnd::Cancelled);
        reporter.announce("is there").end(VertexEnd::Cached);
        let first = reporter.announce("has a base to fetch");
        drop(reporter.start("base"));
        first.begin();
        first.begin();
        drop(first);
        assert_eq!(
            *kept.0.lock().unwrap(),
            [
                "started is there",
                "finished Cached",
                "started base",
                "finished Cancelled",
                "started has a base to fetch",
                "finished Cancelled",
            ]
        );
    }
}
