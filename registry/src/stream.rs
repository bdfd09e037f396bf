//! Bytes between the network thread and the threads that hash and store them.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use reqwest::header::{AsHeaderName, HeaderMap};
use reqwest::{StatusCode, Url};
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::error::{Shown, TransportError, TransportKind};
use crate::failure::transport_error;
use crate::transport::{no_data, timed_out};

/// Bytes. Large enough that waking the other thread costs little beside the copy.
const UPLOAD_CHUNK: usize = 64 << 10;
/// Bytes. What has to come while nothing else is waited for, or the answer is as good as none: some
/// 270 bytes in a second with the usual idle time. A server that sends a byte now and then would
/// otherwise be waited for without end.
const LEAST: usize = 16 << 10;

/// How long the body of an answer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the next [`LEAST`] bytes.
    pub(crate) idle: Duration,
    /// For all of it, if there is a limit.
    pub(crate) whole: Option<Duration>,
}

/// An answer whose body is still on its way.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
    /// Where it came from, after redirects.
    pub(crate) url: Url,
}

impl Answer {
    /// Returns a header's value if it is text.
    pub(crate) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the length that the answer announces.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(reqwest::header::CONTENT_LENGTH)?.parse().ok()
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
            place: Shown(url).to_string(),
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

/// The error of a request that the network thread let go of without a word.
pub(crate) fn dropped(place: &str) -> TransportError {
    TransportError {
        kind: TransportKind::Interrupted,
        place: place.to_owned(),
        reason: "the request was dropped".to_owned(),
    }
}

/// Passes the chunks of a response on until it ends, breaks, or nobody listens any more.
pub(crate) async fn receive(
    mut response: reqwest::Response,
    url: &Url,
    patience: Patience,
    chunks: &mpsc::Sender<Result<Bytes, TransportError>>,
) {
    let begun = Instant::now();
    // Only waiting for the server counts, not waiting for whoever takes the chunks.
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

/// The network thread's end of an upload, which it can close while the body is in hyper's hands.
#[derive(Debug)]
pub(crate) struct UploadSlot {
    chunks: Mutex<Option<mpsc::Receiver<Vec<u8>>>>,
    taken: AtomicU64,
}

impl UploadSlot {
    /// Lets the reading thread go: nothing more will be sent.
    pub(crate) fn close(&self) {
        self.chunks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Returns how many bytes hyper took.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// The body of an upload as hyper sees it.
struct UploadBody(Arc<UploadSlot>);

impl futures_core::Stream for UploadBody {
    type Item = Result<Vec<u8>, io::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut chunks = self.0.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        // Once the answer is here the rest of the body is of no use. Ending or failing the stream
        // would tear the connection down with the answer's body unread, so it just goes silent.
        let Some(receiver) = &mut *chunks else {
            return Poll::Pending;
        };
        let item = std::task::ready!(receiver.poll_recv(context));
        if let Some(chunk) = &item {
            self.0
                .taken
                .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(item.map(Ok))
    }
}

/// The reading thread's end of an upload.
pub(crate) struct UploadFeed(mpsc::Sender<Vec<u8>>);

/// Makes the two ends of an upload and its body.
pub(crate) fn upload() -> (Arc<UploadSlot>, UploadFeed, reqwest::Body) {
    let (sender, receiver) = mpsc::channel(4);
    let slot = Arc::new(UploadSlot {
        chunks: Mutex::new(Some(receiver)),
        taken: AtomicU64::new(0),
    });
    let body = reqwest::Body::wrap_stream(UploadBody(Arc::clone(&slot)));
    (slot, UploadFeed(sender), body)
}

impl UploadFeed {
    /// Reads everything and hands it over. Returns the answer if it comes before the end.
    ///
    /// Fails if there are more or fewer bytes than `size_bytes`: the request has announced them.
    pub(crate) fn pump<T>(
        &mut self,
        mut reader: Box<dyn Read + Send>,
        size_bytes: u64,
        sent: &dyn Fn(u64),
        answer: &mut oneshot::Receiver<T>,
    ) -> io::Result<Option<T>> {
        let mut total = 0;
        loop {
            if let Ok(early) = answer.try_recv() {
                return Ok(Some(early));
            }
            let mut chunk = Vec::with_capacity(UPLOAD_CHUNK);
            let count = reader
                .by_ref()
                .take(UPLOAD_CHUNK as u64)
                .read_to_end(&mut chunk)?;
            total += count as u64;
            if total > size_bytes || (count == 0 && total < size_bytes) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("its length is not {size_bytes} bytes"),
                ));
            }
            // A closed channel means that the answer, or the failure, is waiting.
            if count == 0 || self.0.blocking_send(chunk).is_err() {
                return Ok(None);
            }
            sent(total);
        }
    }
}
