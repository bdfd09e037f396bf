//! Downloads that go on where a connection broke: ranges, and how often that may happen.

use reqwest::header::{CONTENT_RANGE, HeaderValue};

use crate::answer::HttpAnswer;
use crate::error::Error;
use crate::notice::Notice;
use crate::session::RegistrySession;

/// Bytes. A connection that carried this much before it broke may break again as often as before.
const WORTHWHILE: u64 = 1 << 20;

/// How often a transfer broke since a connection last was worthwhile.
#[derive(Debug, Default)]
pub(crate) struct Setbacks {
    count: usize,
    offset_at_last: u64,
}

impl Setbacks {
    /// Waits before the next connection, or returns `error` if there were too many.
    pub(crate) fn wait(
        &mut self,
        session: &RegistrySession,
        offset: u64,
        error: Error,
    ) -> Result<(), Error> {
        if offset - self.offset_at_last >= WORTHWHILE {
            self.count = 0;
        }
        let Some(&delay) = session.retry.delays.get(self.count) else {
            return Err(error);
        };
        self.count += 1;
        self.offset_at_last = offset;
        (session.notice)(Notice::Retrying {
            host: String::new(),
            reason: error.to_string(),
            delay,
        });
        session.transport.sleep(delay)
    }
}

/// Returns the range from `offset` to the end.
pub(crate) fn range_from(offset: u64) -> HeaderValue {
    let range = HeaderValue::from_str(&format!("bytes={offset}-"));
    range.expect("a number fits into a header")
}

/// Says whether a part of something begins at `offset`.
pub(crate) fn begins_at(answer: &HttpAnswer, offset: u64) -> bool {
    let range = answer.header(CONTENT_RANGE);
    let start = range
        .and_then(|range| range.strip_prefix("bytes "))
        .and_then(|range| range.split('-').next());
    start.and_then(|start| start.trim().parse().ok()) == Some(offset)
}
