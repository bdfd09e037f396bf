//! How far a long copy has got.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::progress::Vertex;

/// Fewer files are copied before anybody asks.
const MANY_FILES: usize = 20_000;
/// So are fewer bytes.
const MANY_BYTES: u64 = 512 << 20;
/// Between two reports.
const INTERVAL: Duration = Duration::from_millis(200);

/// Reports how many bytes of a copy were read, if there are many files or bytes.
#[derive(Debug)]
pub(super) struct CopyProgress<'a> {
    vertex: &'a Vertex<'a>,
    total_bytes: u64,
    /// What people read; none for a copy that is soon done.
    part: Option<String>,
    state: Mutex<CopyState>,
}

#[derive(Debug)]
struct CopyState {
    /// Bytes of the files that were begun.
    begun_bytes: u64,
    reported: Instant,
}

impl<'a> CopyProgress<'a> {
    pub(super) fn new(vertex: &'a Vertex<'a>, files: usize, total_bytes: u64) -> Self {
        let is_long = files >= MANY_FILES || total_bytes >= MANY_BYTES;
        let progress = Self {
            vertex,
            total_bytes,
            part: is_long.then(|| match files {
                1 => "copying a file".to_owned(),
                files => format!("copying {files} files"),
            }),
            state: Mutex::new(CopyState {
                begun_bytes: 0,
                reported: Instant::now(),
            }),
        };
        progress.report(0, false);
        progress
    }

    /// Notes that a file is read now.
    pub(super) fn begin(&self, size_bytes: u64) {
        if self.part.is_none() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.begun_bytes;
        state.begun_bytes += size_bytes;
        if state.reported.elapsed() >= INTERVAL {
            state.reported = Instant::now();
            // This one is not read yet.
            self.report(before, false);
        }
    }

    /// Notes that everything was read.
    pub(super) fn finish(&self) {
        self.report(self.total_bytes, true);
    }

    fn report(&self, bytes: u64, is_over: bool) {
        if let Some(part) = &self.part {
            let total = Some(self.total_bytes);
            let bytes = bytes.min(self.total_bytes);
            self.vertex.status(part, bytes, total, is_over);
        }
    }
}
