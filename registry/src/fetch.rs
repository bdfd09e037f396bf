//! Plain downloads: what `ADD https://…` needs.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, Url};

use crate::Error;
use crate::error::{Shown, TransportError, TransportKind};
use crate::exchange::{Courier, Payload, Repeat, sensitive};
use crate::refusal::{Action, Refusal};
use crate::secret::Secret;
use crate::stream::AnswerBody;

/// What is known beforehand about a URL. The default knows nothing.
#[derive(Clone, Debug, Default)]
pub struct FetchOptions {
    /// The `ETag` of the copy at hand.
    pub etag: Option<String>,
    /// The whole value of an `Authorization` header; not sent to other hosts.
    pub authorization: Option<Secret>,
}

/// The outcome of a download.
#[derive(Debug)]
pub enum Fetched {
    /// The copy at hand is current.
    NotModified,
    /// Here it comes.
    Download(Box<Download>),
}

/// A file on its way.
pub struct Download {
    /// Where it came from after all redirects, without query.
    pub url: String,
    /// Its `ETag`.
    pub etag: Option<String>,
    /// Its `Last-Modified`, an HTTP date.
    pub last_modified: Option<String>,
    /// Its `Content-Disposition`, which may hold a file name.
    pub content_disposition: Option<String>,
    /// Its `Content-Type`.
    pub content_type: Option<String>,
    /// Its length in bytes if the server says so.
    pub size_bytes: Option<u64>,
    body: AnswerBody,
    /// Keeps the connection alive when the client is dropped first.
    _courier: Arc<Courier>,
}

impl Read for Download {
    /// Reads on. A connection that breaks is an error, never an early end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("url", &self.url)
            .field("etag", &self.etag)
            .field("last_modified", &self.last_modified)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

impl Courier {
    pub(crate) fn fetch(
        self: &Arc<Self>,
        url: &str,
        options: &FetchOptions,
    ) -> Result<Fetched, Error> {
        let invalid = |reason: &str| {
            Error::Transport(TransportError {
                kind: TransportKind::Invalid,
                place: url.split(['?', '@']).next().unwrap_or("").to_owned(),
                reason: reason.to_owned(),
            })
        };
        let url = Url::parse(url).map_err(|error| invalid(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("not an HTTP URL"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // What a server once sent fits into a header; anything else is not worth a failure.
        if let Some(Ok(tag)) = options.etag.as_deref().map(HeaderValue::from_str) {
            headers.insert(IF_NONE_MATCH, tag);
        }
        if let Some(authorization) = &options.authorization {
            let host = url.host_str().unwrap_or("");
            headers.insert(AUTHORIZATION, sensitive(authorization.expose(), host)?);
        }
        let answer = self.repeated(Repeat::Yes, || {
            let headers = headers.clone();
            self.follow(&Method::GET, url.clone(), headers, Payload::Empty, None)
        })?;
        match answer.status.as_u16() {
            304 => Ok(Fetched::NotModified),
            200..=299 => {
                let text = |name| answer.header(name).map(str::to_owned);
                Ok(Fetched::Download(Box::new(Download {
                    url: Shown(&answer.url).to_string(),
                    etag: text(ETAG),
                    last_modified: text(LAST_MODIFIED),
                    content_disposition: text(CONTENT_DISPOSITION),
                    content_type: text(CONTENT_TYPE),
                    size_bytes: answer.content_length(),
                    body: answer.body,
                    _courier: Arc::clone(self),
                })))
            }
            _ => {
                let place = Shown(&url).to_string();
                Err(Refusal::read(answer, Action::Fetch(place)).into())
            }
        }
    }
}
