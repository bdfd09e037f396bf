//! Line after line, in the shapes of BuildKit's plain progress.
//!
//! Steps run side by side, but people read one after the other. So one step is *open* at a time:
//! its lines appear at once, those of others wait until it ends or they have waited long enough.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::time::Duration;

use kiln_engine::{ProgressEvent, VertexEnd, VertexId};

use super::build_state::{BuildState, Part, VertexState};
use super::renderer::{Renderer, StepNames};
use crate::clean;

/// How long lines wait while another step is open. BuildKit's `antiFlicker`.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an unfinished transfer of the open step is mentioned.
const TRANSFER_INTERVAL: Duration = Duration::from_secs(5);
/// Lines closer to each other than this go out together.
const QUICK: Duration = Duration::from_millis(20);
/// BuildKit's limit for cut names.
const CUT_WIDTH: usize = 72;

/// Writes plain progress.
pub(crate) struct Plain<W> {
    out: W,
    names: StepNames,
    open: Option<VertexId>,
    shown: HashMap<VertexId, Shown>,
    /// When lines went out last.
    flushed: Duration,
}

/// What has been written of a step.
#[derive(Debug)]
struct Shown {
    number: usize,
    lines: u64,
    /// Finished transfers that have been mentioned.
    parts: HashSet<String>,
    /// When an unfinished transfer was last mentioned.
    mentioned: Duration,
    /// Since when lines have been waiting.
    waiting: Option<Duration>,
}

impl<W: Write + Send> Plain<W> {
    pub(crate) fn new(out: W, names: StepNames) -> Self {
        Self {
            out,
            names,
            open: None,
            shown: HashMap::new(),
            flushed: Duration::ZERO,
        }
    }

    /// Writes a line of kiln's own words and foreign names.
    fn line(&mut self, line: &str) {
        self.cleaned_line(&clean::line(line));
    }

    fn cleaned_line(&mut self, line: &str) {
        // A failure to write progress cannot be shown either.
        let _ = writeln!(self.out, "{line}");
    }

    fn flush(&mut self, at: Duration) {
        self.flushed = at;
        let _ = self.out.flush();
    }

    fn shown(&mut self, id: VertexId) -> &mut Shown {
        let number = self.shown.len() + 1;
        self.shown.entry(id).or_insert_with(|| Shown {
            number,
            lines: 0,
            parts: HashSet::new(),
            mentioned: Duration::ZERO,
            waiting: None,
        })
    }

    /// Opens a step, leaving the one that is open.
    fn open(&mut self, vertex: &VertexState) {
        if self.open == Some(vertex.id) {
            return;
        }
        if let Some(left) = self.open.take() {
            let number = self.shown(left).number;
            self.line(&format!("#{number} ..."));
            self.line("");
        }
        self.open = Some(vertex.id);
        let number = self.shown(vertex.id).number;
        let name = match self.names {
            StepNames::Whole => clean::shorten(&vertex.name, clean::LONGEST_NAME),
            StepNames::Cut => clean::shorten(&vertex.name, CUT_WIDTH),
        };
        self.line(&format!("#{number} {name}"));
    }

    /// Writes what is new about a step; closes it if it has ended.
    fn show(&mut self, vertex: &VertexState, at: Duration) {
        self.open(vertex);
        let shown = self.shown(vertex.id);
        shown.waiting = None;
        let number = shown.number;
        let seen = std::mem::replace(&mut shown.lines, vertex.log.count());
        if vertex.log.dropped() > seen {
            let lost = vertex.log.dropped() - seen;
            self.line(&format!("#{number} [{lost} lines left out]"));
        }
        for line in vertex.log.since(seen) {
            let seconds = line.at.as_secs_f64();
            let text = clean::output(&line.text);
            self.cleaned_line(&format!("#{number} {seconds:.3} {text}"));
        }
        self.show_parts(vertex, number, at);
        let end = match &vertex.end {
            None => return,
            Some((VertexEnd::Done, took)) => format!("DONE {:.1}s", took.as_secs_f64()),
            Some((VertexEnd::Cached, _)) => "CACHED".to_owned(),
            Some((VertexEnd::Failed(message), _)) => format!("ERROR: {message}"),
            Some((VertexEnd::Cancelled, _)) => "CANCELED".to_owned(),
        };
        self.line(&format!("#{number} {end}"));
        self.line("");
        self.open = None;
    }

    fn show_parts(&mut self, vertex: &VertexState, number: usize, at: Duration) {
        for part in &vertex.parts {
            if part.took.is_some() && self.shown(vertex.id).parts.insert(part.name.clone()) {
                self.line(&format!("#{number} {}", describe(part, at)));
            }
        }
        let shown = self.shown(vertex.id);
        if vertex.end.is_none() && at.saturating_sub(shown.mentioned) >= TRANSFER_INTERVAL {
            shown.mentioned = at;
            let old = |part: &&Part| {
                part.took.is_none() && at.saturating_sub(part.begun) >= TRANSFER_INTERVAL
            };
            for part in vertex.parts.iter().filter(old) {
                self.line(&format!("#{number} {}", describe(part, at)));
            }
        }
    }

    /// Opens the step whose lines have waited longest.
    fn show_next(&mut self, build: &BuildState, at: Duration) {
        let next = self
            .shown
            .iter()
            .filter_map(|(id, shown)| Some((shown.waiting?, shown.number, *id)))
            .min()
            .map(|(_, _, id)| id);
        if let Some(vertex) = next.and_then(|id| build.vertex(id)) {
            self.show(vertex, at);
        }
    }

    /// Shows what an event changed.
    fn take(&mut self, build: &BuildState, event: &ProgressEvent, at: Duration) {
        let id = match event {
            ProgressEvent::Started { vertex, .. }
            | ProgressEvent::Log { vertex, .. }
            | ProgressEvent::Status { vertex, .. }
            | ProgressEvent::Finished { vertex, .. } => *vertex,
            // They are listed once, when all is over.
            ProgressEvent::Finding { .. } => return,
            ProgressEvent::Warning { message } => {
                self.line(&format!("WARNING: {message}"));
                return;
            }
        };
        let Some(vertex) = build.vertex(id) else {
            return;
        };
        let has_ended = vertex.end.is_some();
        if has_ended || self.open.is_none() || self.open == Some(id) {
            self.show(vertex, at);
        } else if !matches!(event, ProgressEvent::Started { .. }) {
            self.shown(id).waiting.get_or_insert(at);
        }
        if self.open.is_none() {
            self.show_next(build, at);
        }
    }

    /// Shows what waited long enough.
    fn go_on(&mut self, build: &BuildState, at: Duration) {
        let is_overdue = |shown: &Shown| {
            shown
                .waiting
                .is_some_and(|since| at.saturating_sub(since) >= PATIENCE)
        };
        if self.shown.values().any(is_overdue) {
            self.show_next(build, at);
        } else if let Some(vertex) = self.open.and_then(|id| build.vertex(id)) {
            self.show(vertex, at);
        }
    }

    /// Shows what still waits.
    fn show_rest(&mut self, build: &BuildState, at: Duration) {
        let unshown: Vec<&VertexState> = build
            .vertices()
            .iter()
            .filter(|vertex| {
                self.shown
                    .get(&vertex.id)
                    .is_some_and(|s| s.waiting.is_some())
            })
            .collect();
        for vertex in unshown {
            self.show(vertex, at);
        }
    }
}

/// Lines that come quickly go out together, at the latest with the next tick: a write for each would
/// be most of what a build costs that finds nothing to do. What a command says goes out at once.
impl<W: Write + Send> Renderer for Plain<W> {
    fn event(&mut self, build: &BuildState, event: &ProgressEvent, at: Duration) {
        self.take(build, event, at);
        let is_urgent = matches!(
            event,
            ProgressEvent::Log { .. } | ProgressEvent::Warning { .. }
        );
        if is_urgent || at.saturating_sub(self.flushed) >= QUICK {
            self.flush(at);
        }
    }

    fn tick(&mut self, build: &BuildState, at: Duration) {
        self.go_on(build, at);
        self.flush(at);
    }

    fn finish(&mut self, build: &BuildState, at: Duration) {
        self.show_rest(build, at);
        self.flush(at);
    }
}

fn describe(part: &Part, at: Duration) -> String {
    let took = part.took.unwrap_or(at.saturating_sub(part.begun));
    let done = match part.took {
        Some(_) => " done",
        None => "",
    };
    format!("{} {:.1}s{done}", part.describe(), took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kiln_engine::Stream;

    use super::*;

    /// A build in milliseconds.
    struct Script {
        build: BuildState,
        plain: Plain<Vec<u8>>,
        begun: HashMap<u32, u64>,
    }

    impl Script {
        fn new(names: StepNames) -> Self {
            Self {
                build: BuildState::default(),
                plain: Plain::new(Vec::new(), names),
                begun: HashMap::new(),
            }
        }

        fn event(&mut self, at: u64, event: ProgressEvent) -> &mut Self {
            let at = Duration::from_millis(at);
            self.build.take(&event, at);
            self.plain.event(&self.build, &event, at);
            self
        }

        fn start(&mut self, at: u64, id: u32, name: &str) -> &mut Self {
            self.begun.insert(id, at);
            let name = name.to_owned();
            let vertex = VertexId(id);
            self.event(at, ProgressEvent::Started { vertex, name })
        }

        fn log(&mut self, at: u64, id: u32, text: &str) -> &mut Self {
            let event = ProgressEvent::Log {
                vertex: VertexId(id),
                stream: Stream::Stdout,
                bytes: text.as_bytes().to_vec(),
            };
            self.event(at, event)
        }

        fn status(&mut self, at: u64, id: u32, bytes: u64, finished: bool) -> &mut Self {
            let event = ProgressEvent::Status {
                vertex: VertexId(id),
                part: "sha256:0123".to_owned(),
                current: bytes,
                total: Some(2_000_000),
                finished,
            };
            self.event(at, event)
        }

        fn end(&mut self, at: u64, id: u32, end: VertexEnd) -> &mut Self {
            let took = Duration::from_millis(at - self.begun[&id]);
            let vertex = VertexId(id);
            self.event(at, ProgressEvent::Finished { vertex, end, took })
        }

        fn tick(&mut self, at: u64) -> &mut Self {
            self.plain.tick(&self.build, Duration::from_millis(at));
            self
        }

        fn text(&mut self, at: u64) -> String {
            self.plain.finish(&self.build, Duration::from_millis(at));
            String::from_utf8(self.plain.out.clone()).unwrap()
        }
    }

    #[test]
    fn one_step_after_the_other() {
        let text = Script::new(StepNames::Whole)
            .start(0, 0, "[internal] load build definition from Dockerfile")
            .end(10, 0, VertexEnd::Done)
            .start(20, 1, "[1/3] FROM docker.io/library/busybox")
            .status(120, 1, 1_000_000, false)
            .status(220, 1, 2_000_000, true)
            .end(240, 1, VertexEnd::Done)
            .start(240, 2, "[2/3] WORKDIR /x")
            .end(240, 2, VertexEnd::Cached)
            .start(250, 3, "[3/3] RUN echo hello; exit 3")
            .log(373, 3, "hel")
            .log(400, 3, "lo\nhalf")
            .end(550, 3, VertexEnd::Failed("exit code: 3".to_owned()))
            .text(600);
        assert_snapshot!(text, @r"
        #1 [internal] load build definition from Dockerfile
        #1 DONE 0.0s

        #2 [1/3] FROM docker.io/library/busybox
        #2 sha256:0123 2MB / 2MB 0.1s done
        #2 DONE 0.2s

        #3 [2/3] WORKDIR /x
        #3 CACHED

        #4 [3/3] RUN echo hello; exit 3
        #4 0.150 hello
        #4 0.300 half
        #4 ERROR: exit code: 3
        ");
    }

    #[test]
    fn steps_side_by_side_take_turns() {
        let text = Script::new(StepNames::Cut)
            .start(0, 0, "[a 1/1] RUN first")
            .start(0, 1, &format!("[b 1/1] RUN second {}", "x".repeat(80)))
            .log(1000, 1, "waits\n")
            .log(2000, 0, "at once\n")
            .tick(3000)
            .tick(6000)
            .log(7000, 0, "waits too\n")
            .end(8000, 0, VertexEnd::Cancelled)
            .end(9000, 1, VertexEnd::Done)
            .text(9000);
        assert_snapshot!(text, @r"
        #1 [a 1/1] RUN first
        #1 2.000 at once
        #1 ...

        #2 [b 1/1] RUN second xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
        #2 1.000 waits
        #2 ...

        #1 [a 1/1] RUN first
        #1 7.000 waits too
        #1 CANCELED

        #2 [b 1/1] RUN second xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
        #2 DONE 9.0s
        ");
    }

    #[test]
    fn a_long_transfer_is_mentioned() {
        let text = Script::new(StepNames::Whole)
            .start(0, 0, "pull")
            .status(100, 0, 500_000, false)
            .tick(4000)
            .tick(6000)
            .tick(6100)
            .text(6200);
        assert_snapshot!(text, @r"
        #1 pull
        #1 sha256:0123 500kB / 2MB 5.9s
        ");
    }
}
