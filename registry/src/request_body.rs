//! The body of a request on its way from the thread that reads it to the network thread.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};

/// Bytes. Large enough that waking the other thread costs little beside the copy.
const UPLOAD_CHUNK: usize = 64 << 10;

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
