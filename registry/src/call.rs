//! Requests to registries, and what they carry.

use std::io::{self, Read};

use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

use crate::auth::scope::Scopes;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::origin::Downgrade;
use crate::transport::{AnswerSize, RequestBody};
use crate::url_text::authority;

/// A request to a registry.
pub(crate) struct RegistryCall<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) method: Method,
    pub(crate) target: CallTarget,
    pub(crate) scopes: &'a Scopes,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    pub(crate) repeat: Repeat,
    pub(crate) downgrade: Downgrade,
    pub(crate) answer_size: AnswerSize,
}

/// One request as it is sent, to wherever redirects lead.
pub(crate) struct FollowedRequest<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    /// The registry that it is for or about; none if it has nothing to do with one.
    pub(crate) endpoint: Option<&'a Endpoint>,
    pub(crate) downgrade: Downgrade,
    pub(crate) answer_size: AnswerSize,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) enum CallTarget {
    /// Path and query at the endpoint's host.
    Path(String),
    /// Anywhere: where the registry wants an upload to go.
    Url(Url),
}

/// What a request carries. It may have to be sent more than once.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    Empty,
    Bytes(&'a [u8]),
    Stream {
        size_bytes: u64,
        open: &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        sent: &'a dyn Fn(u64),
    },
}

/// Whether to repeat a request that failed for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    Yes,
    /// The caller starts over itself.
    No,
}

impl<'a> RegistryCall<'a> {
    /// Returns a call without headers and payload, for a document that the registry vouches for.
    pub(crate) fn new(
        endpoint: &'a Endpoint,
        method: Method,
        path: String,
        scopes: &'a Scopes,
    ) -> Self {
        Self {
            endpoint,
            method,
            target: CallTarget::Path(path),
            scopes,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            repeat: Repeat::Yes,
            downgrade: Downgrade::Refused,
            answer_size: AnswerSize::Document,
        }
    }
}

impl Payload<'_> {
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::Empty)
    }

    pub(crate) fn open(&self, url: &Url) -> Result<RequestBody<'_>, Error> {
        Ok(match *self {
            Self::Empty => RequestBody::Empty,
            Self::Bytes(bytes) => RequestBody::Bytes(bytes.to_vec()),
            Self::Stream {
                size_bytes,
                open,
                sent,
            } => RequestBody::Stream {
                size_bytes,
                reader: open().map_err(|source| Error::Source {
                    subject: format!("what is sent to {}", authority(url)),
                    source,
                })?,
                sent,
            },
        })
    }
}
