//! Fetching blobs: resumable, verified, several at once.

use std::fmt;
use std::io::{self, Read, Write as _};
use std::sync::Arc;

use kiln_cache::{BlobError, Blobs};
use kiln_oci::{Descriptor, ImageRef, Sha256, Sha256Reader};
use kiln_threads::Stop;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Url};

use crate::answer::{AnswerBody, HttpAnswer};
use crate::auth::scope::Scopes;
use crate::call::{FollowedRequest, Payload, RegistryCall, Repeat};
use crate::download_resumption::{Setbacks, begins_at, range_from};
use crate::endpoint::Endpoint;
use crate::error::{Error, go_on};
use crate::error_class::ErrorClass;
use crate::notice::{Observer, TransferEvent, TransferStep};
use crate::origin::Downgrade;
use crate::parallel::for_each;
use crate::refusal::Action;
use crate::registries_conf::Asked;
use crate::session::RegistrySession;
use crate::transport::AnswerSize;
use crate::url_text::authority;

/// Bytes.
const BUFFER: usize = 128 << 10;
/// Bytes. A config, say: what is no larger has a time by which it is here, as manifests have.
const SMALL: u64 = 1 << 20;

impl RegistrySession {
    /// Puts a blob into the store, unless it is there.
    pub(crate) fn fetch_blob(
        self: &Arc<Self>,
        name: &ImageRef,
        descriptor: &Descriptor,
        blobs: &Blobs,
        observer: Observer<'_>,
    ) -> Result<(), Error> {
        self.fetch_unless_stopped(name, descriptor, blobs, observer, &Stop::default())
    }

    /// Puts several blobs into the store, `workers` at once.
    pub(crate) fn fetch_blobs(
        self: &Arc<Self>,
        name: &ImageRef,
        descriptors: &[Descriptor],
        blobs: &Blobs,
        observer: Observer<'_>,
        workers: usize,
    ) -> Result<(), Error> {
        let mut unique: Vec<&Descriptor> = Vec::new();
        for descriptor in descriptors {
            if !unique.iter().any(|other| other.digest == descriptor.digest) {
                unique.push(descriptor);
            }
        }
        for_each(&unique, workers, |descriptor, stop| {
            self.fetch_unless_stopped(name, descriptor, blobs, observer, stop)
        })
    }

    fn fetch_unless_stopped(
        self: &Arc<Self>,
        name: &ImageRef,
        descriptor: &Descriptor,
        blobs: &Blobs,
        observer: Observer<'_>,
        stop: &Stop,
    ) -> Result<(), Error> {
        let tell = |step| {
            observer(TransferEvent {
                digest: descriptor.digest,
                size_bytes: descriptor.size_bytes,
                step,
            });
        };
        if blobs.size(descriptor.digest) == Some(descriptor.size_bytes) {
            tell(TransferStep::AlreadyHere);
            return Ok(());
        }
        self.at_any_origin(name, descriptor, |origin| {
            let mut stream = BlobStream::open(self, origin, descriptor)?;
            let mut writer = blobs.writer()?;
            let mut buffer = vec![0; BUFFER];
            loop {
                go_on(stop)?;
                let count = stream.receive(&mut buffer)?;
                if count == 0 {
                    break;
                }
                writer
                    .write_all(&buffer[..count])
                    .map_err(|source| BlobError::Io {
                        path: blobs.path(descriptor.digest),
                        source,
                    })?;
                tell(TransferStep::Downloading {
                    done_bytes: stream.offset,
                });
            }
            writer.finish(Some(descriptor.digest))?;
            tell(TransferStep::Downloaded);
            Ok(())
        })
    }

    /// Starts to read a blob without storing it.
    pub(crate) fn open_blob(
        self: &Arc<Self>,
        name: &ImageRef,
        descriptor: &Descriptor,
    ) -> Result<BlobReader, Error> {
        self.at_any_origin(name, descriptor, |origin| {
            let stream = BlobStream::open(self, origin, descriptor)?;
            Ok(BlobReader {
                name: name.clone(),
                place: stream.origin.name(),
                expected: descriptor.digest,
                state: ReaderState::Reading(Box::new(Sha256Reader::new(stream))),
            })
        })
    }

    /// Tries mirrors, the registry, and then the URLs of a layer that registries do not hold.
    fn at_any_origin<T>(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        mut attempt: impl FnMut(BlobOrigin) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = self.anywhere(name, Asked::ByDigest, |endpoint| {
            attempt(BlobOrigin::Registry(endpoint.clone()))
        });
        match outcome {
            Err(error) if error.class() == ErrorClass::NotFound => {
                for url in descriptor
                    .urls
                    .iter()
                    .filter_map(|url| Url::parse(url).ok())
                {
                    if matches!(url.scheme(), "http" | "https")
                        && let Ok(found) = attempt(BlobOrigin::Elsewhere(url))
                    {
                        return Ok(found);
                    }
                }
                Err(error)
            }
            other => other,
        }
    }

    fn get_blob(
        &self,
        origin: &BlobOrigin,
        digest: Sha256,
        offset: u64,
        answer_size: AnswerSize,
    ) -> Result<HttpAnswer, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        // The digest is of the bytes as stored.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if offset > 0 {
            headers.insert(RANGE, range_from(offset));
        }
        match origin {
            BlobOrigin::Registry(endpoint) => {
                let scopes = Scopes::pull(&endpoint.repository);
                let path = format!("/v2/{}/blobs/{digest}", endpoint.repository);
                self.call(&RegistryCall {
                    headers,
                    downgrade: Downgrade::Allowed,
                    answer_size,
                    ..RegistryCall::new(endpoint, Method::GET, path, &scopes)
                })
            }
            BlobOrigin::Elsewhere(url) => self.repeated(Repeat::Yes, || {
                self.follow(FollowedRequest {
                    method: &Method::GET,
                    url: url.clone(),
                    headers: headers.clone(),
                    payload: Payload::Empty,
                    endpoint: None,
                    downgrade: Downgrade::Allowed,
                    answer_size,
                })
            }),
        }
    }
}

/// Where a blob comes from.
#[derive(Clone, Debug)]
enum BlobOrigin {
    Registry(Endpoint),
    Elsewhere(Url),
}

impl BlobOrigin {
    /// Returns what it is called in messages.
    fn name(&self) -> String {
        match self {
            Self::Registry(endpoint) => endpoint.name(),
            Self::Elsewhere(url) => authority(url),
        }
    }

    fn refused(&self, answer: HttpAnswer) -> Error {
        let action = match self {
            Self::Registry(endpoint) => Action::Pull(endpoint.familiar()),
            Self::Elsewhere(url) => Action::Fetch(authority(url)),
        };
        answer.into_refusal(action).into()
    }
}

/// The bytes of a blob, over as many connections as it takes. Checks the length, not the digest.
struct BlobStream {
    session: Arc<RegistrySession>,
    origin: BlobOrigin,
    digest: Sha256,
    size_bytes: u64,
    offset: u64,
    body: Option<AnswerBody>,
    setbacks: Setbacks,
}

impl BlobStream {
    fn open(
        session: &Arc<RegistrySession>,
        origin: BlobOrigin,
        descriptor: &Descriptor,
    ) -> Result<Self, Error> {
        let mut stream = Self {
            session: Arc::clone(session),
            origin,
            digest: descriptor.digest,
            size_bytes: descriptor.size_bytes,
            offset: 0,
            body: None,
            setbacks: Setbacks::default(),
        };
        stream.connect()?;
        Ok(stream)
    }

    /// Asks for everything from `offset` on.
    fn connect(&mut self) -> Result<(), Error> {
        let answer_size = match self.size_bytes {
            0..=SMALL => AnswerSize::Document,
            _ => AnswerSize::Stream,
        };
        let answer = self
            .session
            .get_blob(&self.origin, self.digest, self.offset, answer_size)?;
        let host = authority(&answer.url);
        match answer.status.as_u16() {
            200 => {
                let skipped = self.offset;
                self.body = Some(answer.body);
                self.skip(skipped)
            }
            206 => {
                if !begins_at(&answer, self.offset) {
                    return Err(Error::Protocol {
                        host,
                        problem: "sent another range than was asked for",
                    });
                }
                self.body = Some(answer.body);
                Ok(())
            }
            _ => Err(self.origin.refused(answer)),
        }
    }

    /// Passes over what an earlier connection brought already.
    fn skip(&mut self, mut count: u64) -> Result<(), Error> {
        let Some(body) = &mut self.body else {
            return Ok(());
        };
        let mut buffer = [0; 16 << 10];
        while count > 0 {
            let room = usize::try_from(count)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            match body.receive(&mut buffer[..room])? {
                0 => return Err(self.wrong_size(self.offset - count)),
                skipped => count -= skipped as u64,
            }
        }
        Ok(())
    }

    fn wrong_size(&self, actual: u64) -> Error {
        BlobError::Size {
            digest: self.digest,
            expected: self.size_bytes,
            actual,
        }
        .into()
    }

    /// Copies some bytes to `buffer`; 0 when all have come.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let outcome = match &mut self.body {
                Some(body) => body.receive(buffer).map_err(Error::from),
                None => match self.connect() {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            let error = match outcome {
                Ok(0) if self.offset == self.size_bytes => return Ok(0),
                // A clean end before the announced one: cut off by a proxy, or another blob.
                Ok(0) => self.wrong_size(self.offset),
                Ok(count) => {
                    self.offset += count as u64;
                    if self.offset > self.size_bytes {
                        return Err(self.wrong_size(self.offset));
                    }
                    return Ok(count);
                }
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            self.body = None;
            self.session.transport.check_cancelled()?;
            self.setbacks.wait(&self.session, self.offset, error)?;
        }
    }
}

impl Read for BlobStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer).map_err(Error::into_io)
    }
}

/// A blob while it downloads.
///
/// The end of the stream is reported only if length and digest are right; until then nothing that was
/// read may be believed. Errors hold an [`Error`], see [`Error::from_io`].
pub struct BlobReader {
    name: ImageRef,
    place: String,
    expected: Sha256,
    state: ReaderState,
}

enum ReaderState {
    Reading(Box<Sha256Reader<BlobStream>>),
    /// Ended as it should.
    Verified,
    Failed,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match std::mem::replace(&mut self.state, ReaderState::Failed) {
            ReaderState::Reading(mut reader) => {
                let told = |error: io::Error| match Error::from_io(error) {
                    Ok(error) => error.at_place(&self.name, &self.place).into_io(),
                    Err(error) => error,
                };
                let count = reader.read(buffer).map_err(told)?;
                if count > 0 {
                    self.state = ReaderState::Reading(reader);
                    return Ok(count);
                }
                let (_, actual, _) = reader.finish();
                let expected = self.expected;
                if actual != expected {
                    let error = Error::from(BlobError::Mismatch { expected, actual });
                    return Err(error.at_place(&self.name, &self.place).into_io());
                }
                self.state = ReaderState::Verified;
                Ok(0)
            }
            ReaderState::Verified => {
                self.state = ReaderState::Verified;
                Ok(0)
            }
            ReaderState::Failed => Err(io::Error::other("the blob failed before")),
        }
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
