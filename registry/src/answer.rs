//! Answers of servers, and their bodies on the way from the network thread to whom they are for.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use reqwest::header::{AsHeaderName, HeaderMap};
use reqwest::{StatusCode, Url};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::failure::{TransportError, dropped, no_data, timed_out, transport_error};
use crate::refusal::{Action, RegistryRefusal};
use crate::url_text::{ShownUrl, authority};

/// Bytes. What has to come while nothing else is waited for, or the answer is as good as none: some
/// 270 bytes in a second with the usual idle time. A server that sends a byte now and then would
/// otherwise be waited for without end.
const LEAST: usize = 16 << 10;

/// Bytes. More than any registry's error, less than a joke.
const LONGEST_REFUSAL: usize = 64 << 10;

/// How long the body of an answer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the next [`LEAST`] bytes.
    pub(crate) idle: Duration,
    /// For all of it, if there is a limit.
    pub(crate) whole: Option<Duration>,
}

/// An answer whose body is still on its way.
pub(crate) struct HttpAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
    /// Where it came from, after redirects.
    pub(crate) url: Url,
}

impl HttpAnswer {
    /// Returns a header's value if it is text.
    pub(crate) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the length that the answer announces.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(reqwest::header::CONTENT_LENGTH)?.parse().ok()
    }

    /// Reads the rest of an answer that says no.
    pub(crate) fn into_refusal(mut self, action: Action) -> Box<RegistryRefusal> {
        let body = self.body.read_up_to(LONGEST_REFUSAL).unwrap_or_default();
        let (host, status) = (authority(&self.url), self.status.as_u16());
        Box::new(RegistryRefusal::new(action, host, status, &body))
    }
}

/// The body of an answer. Dropping it abandons the rest.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    chunks: mpsc::Receiver<Result<Bytes, TransportError>>,
    current: Bytes,
    /// The empty chunk came that stands for the end. A channel that closes without it was cut off.
    ended: bool,
    place: String,
}

impl AnswerBody {
    pub(crate) fn new(chunks: mpsc::Receiver<Result<Bytes, TransportError>>, url: &Url) -> Self {
        Self {
            chunks,
            current: Bytes::new(),
            ended: false,
            place: ShownUrl(url).to_string(),
        }
    }

    /// Copies some bytes to `buffer`; 0 at the end.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Ok(chunk)) => {
                    self.ended = chunk.is_empty();
                    self.current = chunk;
                }
                Some(Err(error)) => return Err(error),
                None => return Err(dropped(&self.place)),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }

    /// Reads at most `limit` bytes.
    pub(crate) fn read_up_to(&mut self, limit: usize) -> Result<Vec<u8>, TransportError> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; limit.min(16 << 10)];
        while bytes.len() < limit {
            let room = buffer.len().min(limit - bytes.len());
            match self.receive(&mut buffer[..room])? {
                0 => break,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(bytes)
    }
}

impl Read for AnswerBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer)
            .map_err(|error| Error::from(error).into_io())
    }
}

/// Passes the chunks of a response on until it ends, breaks, or the thread that reads them is gone.
pub(crate) async fn receive(
    mut response: reqwest::Response,
    url: &Url,
    patience: Patience,
    chunks: &mpsc::Sender<Result<Bytes, TransportError>>,
) {
    let begun = Instant::now();
    // Only waiting for the server counts, not waiting for the thread that takes the chunks.
    let mut left = patience.idle;
    let mut count = 0;
    loop {
        let whole = patience.whole;
        let left_of_whole = whole.map(|whole| whole.saturating_sub(begun.elapsed()));
        let limit = left_of_whole.map_or(left, |whole| whole.min(left));
        let is_last_chance = limit < left;
        let waiting = Instant::now();
        let outcome = tokio::time::timeout(limit, response.chunk()).await;
        left = left.saturating_sub(waiting.elapsed());
        let item = match outcome {
            Ok(Ok(Some(chunk))) if chunk.is_empty() => continue,
            Ok(Ok(Some(chunk))) => {
                count += chunk.len();
                if count >= LEAST {
                    (count, left) = (0, patience.idle);
                }
                Ok(chunk)
            }
            Ok(Ok(None)) => Ok(Bytes::new()),
            Ok(Err(error)) => Err(transport_error(&error, url)),
            Err(_) => Err(timed_out(
                url,
                match whole {
                    Some(whole) if is_last_chance => {
                        format!("not complete after {} s", whole.as_secs_f32())
                    }
                    _ if count > 0 => format!(
                        "no more than {count} bytes in {} s",
                        patience.idle.as_secs_f32()
                    ),
                    _ => no_data(patience.idle),
                },
            )),
        };
        let last = item.as_ref().map_or(true, Bytes::is_empty);
        if chunks.send(item).await.is_err() || last {
            return;
        }
    }
}
