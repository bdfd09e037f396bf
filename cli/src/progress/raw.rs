//! One JSON object a line, for programs: the members of BuildKit's `SolveStatus`.

use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_engine::{ProgressEvent, Stream, VertexEnd, VertexId};
use kiln_oci::{Sha256, Timestamp};
use kiln_parser::lint::Rule;
use serde_json::{Value, json};

use super::build_state::{BuildState, VertexState};
use super::renderer::Renderer;
use crate::clean;

/// Writes raw JSON progress.
pub(crate) struct RawJson<W> {
    out: W,
    /// When the build began.
    epoch: Timestamp,
}

impl<W: Write + Send> RawJson<W> {
    pub(crate) fn new(out: W, epoch: Timestamp) -> Self {
        Self { out, epoch }
    }

    fn time(&self, at: Duration) -> String {
        let nanoseconds = u64::from(self.epoch.nanoseconds) + u64::from(at.subsec_nanos());
        let seconds = at.as_secs() + nanoseconds / 1_000_000_000;
        let time = Timestamp {
            seconds: self.epoch.seconds.saturating_add_unsigned(seconds),
            nanoseconds: u32::try_from(nanoseconds % 1_000_000_000).unwrap_or_default(),
        };
        time.to_string()
    }

    fn vertex(&self, vertex: &VertexState, at: Duration) -> Value {
        let mut value = json!({
            "digest": digest(vertex.id),
            "name": vertex.name,
            "started": self.time(vertex.begun),
        });
        if let Some((end, _)) = &vertex.end {
            value["completed"] = self.time(at).into();
            match end {
                VertexEnd::Cached => value["cached"] = true.into(),
                VertexEnd::Failed(message) => value["error"] = message.as_str().into(),
                VertexEnd::Cancelled => value["error"] = "context canceled".into(),
                VertexEnd::Done => {}
            }
        }
        value
    }
}

/// BuildKit names vertices by digests of their definitions; here it is enough that they differ.
fn digest(id: VertexId) -> String {
    Sha256::of(format!("vertex {}", id.0).as_bytes()).to_string()
}

impl<W: Write + Send> Renderer for RawJson<W> {
    fn event(&mut self, build: &BuildState, event: &ProgressEvent, at: Duration) {
        let status = match event {
            ProgressEvent::Started { vertex, .. } | ProgressEvent::Finished { vertex, .. } => {
                match build.vertex(*vertex) {
                    Some(vertex) => json!({ "vertexes": [self.vertex(vertex, at)] }),
                    None => return,
                }
            }
            ProgressEvent::Log {
                vertex,
                stream,
                bytes,
            } => json!({ "logs": [{
                "vertex": digest(*vertex),
                "stream": match stream { Stream::Stdout => 1, Stream::Stderr => 2 },
                "data": STANDARD.encode(bytes),
                "timestamp": self.time(at),
            }]}),
            ProgressEvent::Status {
                vertex,
                part,
                current,
                total,
                finished,
            } => {
                let mut value = json!({
                    "id": part,
                    "vertex": digest(*vertex),
                    "name": part,
                    "current": current,
                    "timestamp": self.time(at),
                });
                if let Some(total) = total {
                    value["total"] = (*total).into();
                }
                if *finished {
                    value["completed"] = self.time(at).into();
                }
                json!({ "statuses": [value] })
            }
            ProgressEvent::Finding { finding, line } => {
                let short = format!("{}: {} (line {line})", finding.code, finding.message);
                let mut value = json!({ "level": 1, "short": STANDARD.encode(short) });
                if let Some(url) = Rule::from_name(finding.code).and_then(Rule::url) {
                    value["url"] = url.into();
                }
                json!({ "warnings": [value] })
            }
            ProgressEvent::Warning { message } => json!({ "warnings": [{
                "level": 1,
                "short": STANDARD.encode(message),
            }]}),
        };
        // A failure to write progress cannot be shown either.
        let _ = writeln!(self.out, "{}", clean::text(&status.to_string()))
            .and_then(|()| self.out.flush());
    }

    fn tick(&mut self, _: &BuildState, _: Duration) {}

    fn finish(&mut self, _: &BuildState, _: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_one_line_each() {
        let mut raw = RawJson::new(Vec::new(), Timestamp::EPOCH);
        let mut build = BuildState::default();
        let vertex = VertexId(1);
        let events = [
            ProgressEvent::Started {
                vertex,
                name: "RUN x".to_owned(),
            },
            ProgressEvent::Log {
                vertex,
                stream: Stream::Stderr,
                bytes: b"\xff\n".to_vec(),
            },
            ProgressEvent::Finished {
                vertex,
                end: VertexEnd::Cached,
                took: Duration::ZERO,
            },
        ];
        for (second, event) in events.into_iter().enumerate() {
            let at = Duration::from_secs(second as u64);
            build.take(&event, at);
            raw.event(&build, &event, at);
        }
        let text = String::from_utf8(raw.out).unwrap();
        let text = text.replace(&digest(vertex), "[DIGEST]");
        insta::assert_snapshot!(text, @r#"
        {"vertexes":[{"digest":"[DIGEST]","name":"RUN x","started":"1970-01-01T00:00:00Z"}]}
        {"logs":[{"vertex":"[DIGEST]","stream":2,"data":"/wo=","timestamp":"1970-01-01T00:00:01Z"}]}
        {"vertexes":[{"digest":"[DIGEST]","name":"RUN x","started":"1970-01-01T00:00:00Z","completed":"1970-01-01T00:00:02Z","cached":true}]}
        "#);
    }
}
