//! Takes down what a build tells.

use std::collections::HashMap;
use std::sync::Mutex;

use kiln_solver::{Progress, ProgressEvent, VertexId};

/// Takes down events, a line each.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    names: HashMap<VertexId, String>,
    lines: Vec<String>,
}

impl Told {
    pub(super) fn lines(self) -> Vec<String> {
        self.0.into_inner().unwrap().lines
    }
}

impl Progress for Told {
    fn event(&self, event: ProgressEvent) {
        let mut told = self.0.lock().unwrap();
        let line = match event {
            ProgressEvent::Started { vertex, name } => {
                let line = format!("{name} started");
                told.names.insert(vertex, name);
                line
            }
            ProgressEvent::Log { vertex, bytes, .. } => {
                let text = String::from_utf8(bytes).unwrap();
                format!("{} wrote {text}", told.names[&vertex])
            }
            ProgressEvent::Finished { vertex, end, .. } => {
                format!("{} ended: {end:?}", told.names[&vertex])
            }
            ProgressEvent::Warning { message } => message,
            other => format!("{other:?}"),
        };
        told.lines.push(line);
    }
}
