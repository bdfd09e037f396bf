//! Plain downloads: what `ADD https://…` needs.
//!
//! A connection that breaks is made again, as with blobs. But nothing says what the whole file must
//! be, so what comes then has to belong to what came before: the server says so by a strong entity
//! tag, or else the file comes again from its beginning, and its beginning is compared by its digest.

use std::fmt;
use std::io::{self, Read, Sink, Write as _};
use std::sync::Arc;

use kiln_oci::{Sha256, Sha256Writer};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Method, Url};

use crate::answer::{AnswerBody, HttpAnswer};
use crate::auth::proof::sensitive;
use crate::call::{FollowedRequest, Payload, Repeat};
use crate::download_resumption::{Setbacks, begins_at, range_from};
use crate::error::Error;
use crate::failure::{TransportError, TransportKind};
use crate::origin::Downgrade;
use crate::refusal::Action;
use crate::secret::Secret;
use crate::session::RegistrySession;
use crate::transport::AnswerSize;
use crate::url_text::{ShownUrl, authority};

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
    Download(Box<DownloadReader>),
}

/// A file on its way.
pub struct DownloadReader {
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
    source: DownloadSource,
    body: Option<AnswerBody>,
    /// The digest of what came so far.
    came: Sha256Writer<Sink>,
    offset: u64,
    setbacks: Setbacks,
}

/// Whom to ask, and how.
struct DownloadSource {
    session: Arc<RegistrySession>,
    url: Url,
    headers: HeaderMap,
}

impl DownloadSource {
    fn ask(&self, more: HeaderMap) -> Result<HttpAnswer, Error> {
        let mut headers = self.headers.clone();
        headers.extend(more);
        self.session.repeated(Repeat::Yes, || {
            self.session.follow(FollowedRequest {
                method: &Method::GET,
                url: self.url.clone(),
                headers: headers.clone(),
                payload: Payload::Empty,
                endpoint: None,
                downgrade: Downgrade::Allowed,
                answer_size: AnswerSize::Stream,
            })
        })
    }

    fn refused(&self, answer: HttpAnswer) -> Error {
        answer
            .into_refusal(Action::Fetch(ShownUrl(&self.url).to_string()))
            .into()
    }
}

impl RegistrySession {
    pub(crate) fn fetch(
        self: &Arc<Self>,
        url: &str,
        options: &FetchOptions,
    ) -> Result<Fetched, Error> {
        let invalid = |reason: &str| {
            Error::Transport(TransportError {
                kind: TransportKind::Invalid,
                place: shown(url).to_owned(),
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
        if let Some(authorization) = &options.authorization {
            let host = url.host_str().unwrap_or("");
            headers.insert(AUTHORIZATION, sensitive(authorization.expose(), host)?);
        }
        let source = DownloadSource {
            session: Arc::clone(self),
            url,
            headers,
        };
        let mut condition = HeaderMap::new();
        // What a server once sent fits into a header; anything else is not worth a failure.
        if let Some(Ok(tag)) = options.etag.as_deref().map(HeaderValue::from_str) {
            condition.insert(IF_NONE_MATCH, tag);
        }
        let answer = source.ask(condition)?;
        match answer.status.as_u16() {
            304 => Ok(Fetched::NotModified),
            200..=299 => {
                let text = |name| answer.header(name).map(str::to_owned);
                Ok(Fetched::Download(Box::new(DownloadReader {
                    url: ShownUrl(&answer.url).to_string(),
                    etag: text(ETAG),
                    last_modified: text(LAST_MODIFIED),
                    content_disposition: text(CONTENT_DISPOSITION),
                    content_type: text(CONTENT_TYPE),
                    size_bytes: answer.content_length(),
                    source,
                    body: Some(answer.body),
                    came: Sha256Writer::new(io::sink()),
                    offset: 0,
                    setbacks: Setbacks::default(),
                })))
            }
            _ => Err(source.refused(answer)),
        }
    }
}

impl DownloadReader {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let outcome = match &mut self.body {
                Some(body) => body.receive(buffer).map_err(Error::from),
                None => match self.connect() {
                    Ok(body) => {
                        self.body = Some(body);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match outcome {
                Ok(count) => {
                    let came = self.came.write_all(&buffer[..count]);
                    came.expect("a sink takes everything");
                    self.offset += count as u64;
                    return Ok(count);
                }
                Err(error) if error.is_transient() => {
                    self.body = None;
                    self.source.session.transport.check_cancelled()?;
                    self.setbacks
                        .wait(&self.source.session, self.offset, error)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for what is missing.
    fn connect(&self) -> Result<AnswerBody, Error> {
        let mut headers = HeaderMap::new();
        // RFC 9110, section 13.1.5: a part only of the same version, and only if the tag is strong.
        let tag = self.etag.as_deref().filter(|tag| tag.starts_with('"'));
        if let Some(Ok(tag)) = tag.map(HeaderValue::from_str)
            && self.offset > 0
        {
            headers.insert(RANGE, range_from(self.offset));
            headers.insert(IF_RANGE, tag);
        }
        let answer = self.source.ask(headers)?;
        let total = answer.content_length();
        match answer.status.as_u16() {
            206 => {
                let rest = self.size_bytes.map(|size| size - self.offset.min(size));
                let same_tag = answer
                    .header(ETAG)
                    .is_none_or(|tag| Some(tag) == self.etag.as_deref());
                if begins_at(&answer, self.offset) && same_tag && is_same(rest, total) {
                    Ok(answer.body)
                } else {
                    Err(changed(&answer))
                }
            }
            200 if is_same(self.size_bytes, total) => self.skip(answer),
            200 => Err(changed(&answer)),
            _ => Err(self.source.refused(answer)),
        }
    }

    /// Passes over what came already, if it is the same.
    fn skip(&self, mut answer: HttpAnswer) -> Result<AnswerBody, Error> {
        let mut again = Sha256Writer::new(io::sink());
        let mut buffer = [0; 16 << 10];
        let mut left = self.offset;
        while left > 0 {
            let room = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let count = answer.body.receive(&mut buffer[..room])?;
            if count == 0 {
                return Err(changed(&answer));
            }
            let taken = again.write_all(&buffer[..count]);
            taken.expect("a sink takes everything");
            left -= count as u64;
        }
        let came = Sha256Writer::resume(io::sink(), &self.came.state());
        if digest(again) == digest(came) {
            Ok(answer.body)
        } else {
            Err(changed(&answer))
        }
    }
}

/// Returns what may be shown of a text that is no URL: nothing behind a question mark, nothing
/// before an `@`.
fn shown(text: &str) -> &str {
    let text = text.split(['?', '#']).next().unwrap_or("");
    text.rsplit('@').next().unwrap_or("")
}

fn digest(writer: Sha256Writer<Sink>) -> Sha256 {
    let (_, digest, _) = writer.finish();
    digest
}

/// Says whether two lengths may be the same: a server need not tell.
fn is_same(expected: Option<u64>, told: Option<u64>) -> bool {
    match (expected, told) {
        (Some(expected), Some(told)) => expected == told,
        _ => true,
    }
}

fn changed(answer: &HttpAnswer) -> Error {
    Error::Protocol {
        host: authority(&answer.url),
        problem: "sent another file than before its connection broke",
    }
}

impl Read for DownloadReader {
    /// Reads on, over as many connections as it takes. A failure is an error, never an early end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.receive(buffer).map_err(Error::into_io)
    }
}

impl fmt::Debug for DownloadReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadReader")
            .field("url", &self.url)
            .field("etag", &self.etag)
            .field("last_modified", &self.last_modified)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}
