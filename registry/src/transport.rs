//! The one asynchronous place: sends one request and brings back one answer.
//!
//! A thread of its own runs a current-thread tokio runtime; both are made by the first request.
//! That thread only moves bytes between sockets and bounded channels. Hashing, files and every
//! decision happen on the caller's thread, which blocks on those channels: so the rest of the crate
//! is ordinary sequential code, and a slow disk holds up one transfer, not all of them.
//!
//! Cancelling ends the runtime. Every request in flight is dropped with it, its channels close, and
//! the threads that wait on them see [`Error::Cancelled`].

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_threads::Stop;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tokio::sync::{mpsc, oneshot};

use crate::answer::{AnswerBody, HttpAnswer, Patience, receive};
use crate::error::{Error, go_on};
use crate::failure::{TransportError, TransportKind, dropped, no_data, timed_out, transport_error};
use crate::request_body::{UploadSlot, upload};
use crate::transport_options::TransportOptions;
use crate::trust::{Trust, Via, http_client};
use crate::url_text::ShownUrl;

/// How much an answer is, and so how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerSize {
    /// As much as is read into memory at once: there is a time by which it is here.
    Document,
    /// As much as it likes, as long as it comes along.
    Stream,
}

/// One request to one URL; redirects are the caller's business.
pub(crate) struct HttpRequest<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody<'a>,
    pub(crate) answer_size: AnswerSize,
}

/// What a request sends.
pub(crate) enum RequestBody<'a> {
    Empty,
    Bytes(Vec<u8>),
    /// Read on the calling thread while the network thread sends.
    Stream {
        size_bytes: u64,
        reader: Box<dyn Read + Send>,
        /// Called with the number of bytes handed over so far.
        sent: &'a dyn Fn(u64),
    },
}

pub(crate) struct HttpTransport {
    options: TransportOptions,
    /// Asked to end everything that the client does.
    stop: Stop,
    network: Mutex<Option<NetworkThread>>,
    clients: Mutex<HashMap<(Trust, Via), reqwest::Client>>,
}

struct NetworkThread {
    runtime: tokio::runtime::Handle,
    /// Dropped to end the thread.
    _stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl HttpTransport {
    pub(crate) fn new(options: TransportOptions) -> Self {
        Self {
            options,
            stop: Stop::default(),
            network: Mutex::new(None),
            clients: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn options(&self) -> &TransportOptions {
        &self.options
    }

    pub(crate) fn check_cancelled(&self) -> Result<(), Error> {
        go_on(&self.stop)
    }

    /// Waits before something is tried again.
    pub(crate) fn sleep(&self, duration: Duration) -> Result<(), Error> {
        if self.stop.sleep(duration) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Ends every request in flight; later ones fail at once.
    pub(crate) fn cancel(&self) {
        self.stop.ask();
        self.end_network();
    }

    fn end_network(&self) {
        let network = self
            .network
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(NetworkThread { _stop, thread, .. }) = network {
            drop(_stop);
            // What it may have panicked with concerns requests that are given up.
            let _ = thread.join();
        }
    }

    /// Sends `request` and waits for the head of the answer.
    pub(crate) fn send(
        &self,
        trust: &Trust,
        request: HttpRequest<'_>,
    ) -> Result<HttpAnswer, Error> {
        self.check_cancelled()?;
        let url = request.url;
        let answer_size = request.answer_size;
        tracing::debug!(method = %request.method, url = %ShownUrl(&url), "request");
        let client = self.client(trust, &url)?;
        let mut builder = client
            .request(request.method, url.clone())
            .headers(request.headers);
        let mut source = None;
        match request.body {
            RequestBody::Empty => {}
            RequestBody::Bytes(bytes) => builder = builder.body(bytes),
            RequestBody::Stream {
                size_bytes,
                reader,
                sent,
            } => {
                let (slot, feed, body) = upload();
                builder = builder
                    .header(CONTENT_LENGTH, HeaderValue::from(size_bytes))
                    .body(body);
                source = Some((slot, feed, reader, size_bytes, sent));
            }
        }
        let request = builder.build().map_err(|error| failure(&error, &url))?;

        let (head_sender, mut head) = oneshot::channel();
        let (chunk_sender, chunks) = mpsc::channel(16);
        let exchange = Exchange {
            client,
            request,
            url: url.clone(),
            patience: Patience {
                idle: self.options.idle_timeout,
                whole: match answer_size {
                    AnswerSize::Document => Some(self.options.document_timeout),
                    AnswerSize::Stream => None,
                },
            },
            upload: source.as_ref().map(|(slot, ..)| Arc::clone(slot)),
        };
        self.runtime()?
            .spawn(exchange.run(head_sender, chunk_sender));

        if let Some((_, mut feed, reader, size_bytes, sent)) = source {
            let early = feed
                .pump(reader, size_bytes, sent, &mut head)
                .map_err(|source| Error::Source {
                    subject: format!("what is sent to {}", ShownUrl(&url)),
                    source,
                })?;
            drop(feed);
            if let Some(outcome) = early {
                return self.answer(outcome, url, chunks);
            }
        }
        match head.blocking_recv() {
            Ok(outcome) => self.answer(outcome, url, chunks),
            Err(_) => Err(self.lost(&url)),
        }
    }

    fn answer(
        &self,
        outcome: Result<(StatusCode, HeaderMap), TransportError>,
        url: Url,
        chunks: mpsc::Receiver<Result<bytes::Bytes, TransportError>>,
    ) -> Result<HttpAnswer, Error> {
        let (status, headers) = outcome.inspect_err(|error| {
            tracing::debug!(url = %ShownUrl(&url), %error, "no answer");
        })?;
        tracing::debug!(status = status.as_u16(), url = %ShownUrl(&url), "answer");
        Ok(HttpAnswer {
            status,
            headers,
            body: AnswerBody::new(chunks, &url),
            url,
        })
    }

    /// Says why the network thread let go of a request without an answer: it was ended.
    fn lost(&self, url: &Url) -> Error {
        match self.check_cancelled() {
            Err(cancelled) => cancelled,
            Ok(()) => Error::Transport(dropped(&ShownUrl(url).to_string())),
        }
    }

    fn client(&self, trust: &Trust, url: &Url) -> Result<reqwest::Client, Error> {
        let via = if self.options.proxies.pass_by(url) {
            Via::Nothing
        } else {
            Via::Proxy
        };
        let key = (trust.clone(), via);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = http_client(trust, via, &self.options).map_err(|reason| {
            Error::Transport(TransportError {
                kind: TransportKind::Invalid,
                place: ShownUrl(url).to_string(),
                reason,
            })
        })?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn runtime(&self) -> Result<tokio::runtime::Handle, Error> {
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_cancelled()?;
        if let Some(network) = &*network {
            return Ok(network.runtime.clone());
        }
        let started = NetworkThread::start().map_err(|source| {
            Error::Transport(TransportError {
                kind: TransportKind::Connect,
                place: "network thread".to_owned(),
                reason: source.to_string(),
            })
        })?;
        let runtime = started.runtime.clone();
        *network = Some(started);
        Ok(runtime)
    }
}

impl Drop for HttpTransport {
    fn drop(&mut self) {
        self.end_network();
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl NetworkThread {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("kiln-network".to_owned())
            .spawn(move || {
                // Ends when the sender is dropped, which is an error of no interest.
                let _ = runtime.block_on(stopped);
                // A name look-up in progress cannot be interrupted and is not waited for.
                runtime.shutdown_background();
            })
            .map_err(kiln_threads::cannot_start)?;
        Ok(Self {
            runtime: handle,
            _stop: stop,
            thread,
        })
    }
}

/// One request on the network thread.
struct Exchange {
    client: reqwest::Client,
    request: reqwest::Request,
    url: Url,
    patience: Patience,
    upload: Option<Arc<UploadSlot>>,
}

type Head = Result<(StatusCode, HeaderMap), TransportError>;

impl Exchange {
    async fn run(
        self,
        head: oneshot::Sender<Head>,
        chunks: mpsc::Sender<Result<bytes::Bytes, TransportError>>,
    ) {
        let Self {
            client,
            request,
            url,
            patience,
            upload,
        } = self;
        let outcome = until_idle(client.execute(request), patience.idle, upload.as_deref()).await;
        let response = match outcome {
            Some(Ok(response)) => response,
            failed => {
                let error = match failed {
                    Some(Err(error)) => transport_error(&error, &url),
                    _ => timed_out(&url, no_data(patience.idle)),
                };
                // It fails if the thread that sent the request was cancelled and is gone.
                let _ = head.send(Err(error));
                close(upload);
                return;
            }
        };
        let parts = (response.status(), response.headers().clone());
        let sent = head.send(Ok(parts));
        close(upload);
        if sent.is_ok() {
            receive(response, &url, patience, &chunks).await;
        }
    }
}

fn close(upload: Option<Arc<UploadSlot>>) {
    if let Some(slot) = upload {
        slot.close();
    }
}

/// Waits for `future`, but no longer than `limit` in which no byte of the upload was taken.
async fn until_idle<F: Future>(
    future: F,
    limit: Duration,
    upload: Option<&UploadSlot>,
) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    loop {
        let before = upload.map(UploadSlot::taken);
        match tokio::time::timeout(limit, future.as_mut()).await {
            Ok(output) => return Some(output),
            Err(_) if before != upload.map(UploadSlot::taken) => {}
            Err(_) => return None,
        }
    }
}

fn failure(error: &reqwest::Error, url: &Url) -> Error {
    Error::Transport(transport_error(error, url))
}
