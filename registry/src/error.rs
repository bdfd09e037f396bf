//! What can go wrong, and how callers tell the cases apart.
//!
//! No message holds a secret: URLs lose their query (pre-signed ones carry a signature there), and
//! passwords and tokens are never formatted.

use std::io;

use kiln_cache::BlobError;
use kiln_oci::ImageRef;
use kiln_threads::Stop;

use crate::credentials::value::CredentialError;
use crate::error_class::ErrorClass;
use crate::failure::{TransportError, TransportKind};
use crate::manifest::ManifestError;
use crate::refusal::RegistryRefusal;

/// Why a registry operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// [`crate::Client::cancel`] was called.
    #[error("cancelled")]
    Cancelled,
    /// No answer came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The server answered with an error.
    #[error(transparent)]
    Refused(#[from] Box<RegistryRefusal>),
    /// The server's answer breaks the protocol.
    #[error("{host} {problem}")]
    Protocol {
        /// The server.
        host: String,
        /// What its answer lacks.
        problem: &'static str,
    },
    /// A manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Content is not what its digest says, or cannot be stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A registry sent other content than was asked for, and so again.
    #[error("{place} sent damaged content of {image}: {what}")]
    Damaged {
        /// The image, as people write it.
        image: String,
        /// The repository of a registry or mirror.
        place: String,
        /// What is wrong with it.
        what: BlobError,
    },
    /// The content to be pushed cannot be read.
    #[error("cannot read {subject}")]
    Source {
        /// What was being sent.
        subject: String,
        /// What went wrong.
        source: io::Error,
    },
    /// registries.conf forbids the repository.
    #[error("registry of {0} is blocked by configuration")]
    Blocked(String),
    /// Credentials cannot be read or stored.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// Neither the mirrors nor the registry they mirror served the request.
    #[error("{upstream}{}", mirror_list(mirrors))]
    Mirrors {
        /// What the registry itself said.
        upstream: Box<Self>,
        /// What each mirror said, in the order they were asked.
        mirrors: Vec<(String, Self)>,
    },
}

fn mirror_list(mirrors: &[(String, Error)]) -> String {
    mirrors
        .iter()
        .map(|(mirror, error)| format!("; mirror {mirror}: {error}"))
        .collect()
}

/// Fails if the caller asked to stop.
pub(crate) fn go_on(stop: &Stop) -> Result<(), Error> {
    if stop.is_asked() {
        Err(Error::Cancelled)
    } else {
        Ok(())
    }
}

impl Error {
    /// Sorts the error by what can be done about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Cancelled => ErrorClass::Cancelled,
            Self::Transport(error) => match error.kind {
                TransportKind::Tls | TransportKind::NoTls => ErrorClass::Tls,
                TransportKind::Invalid => ErrorClass::Configuration,
                TransportKind::Name
                | TransportKind::Connect
                | TransportKind::Timeout
                | TransportKind::Interrupted => ErrorClass::Network,
            },
            Self::Refused(refusal) => refusal.class(),
            Self::Protocol { .. } => ErrorClass::Server,
            Self::Manifest(ManifestError::NoPlatform { .. }) => ErrorClass::NoPlatform,
            Self::Manifest(_) => ErrorClass::Unusable,
            Self::Blob(BlobError::Mismatch { .. } | BlobError::Size { .. })
            | Self::Damaged { .. } => ErrorClass::Integrity,
            Self::Blob(BlobError::Missing(_) | BlobError::Damaged(_) | BlobError::Io { .. })
            | Self::Source { .. } => ErrorClass::Local,
            Self::Blocked(_) => ErrorClass::Configuration,
            Self::Credentials(_) => ErrorClass::Configuration,
            Self::Mirrors { upstream, .. } => upstream.class(),
        }
    }

    /// Returns what the person can do about a server that could not be talked to.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let error = match self {
            Self::Transport(error) => error,
            Self::Mirrors { upstream, .. } => return upstream.advice(),
            _ => return None,
        };
        let host = error.place.split("://").nth(1).unwrap_or(&error.place);
        let host = host.split('/').next().unwrap_or(host);
        Some(match error.kind {
            TransportKind::Name => "check the name and this machine's network; where a proxy is \
                                    needed, name it in HTTPS_PROXY"
                .to_owned(),
            TransportKind::Connect => {
                format!("check that a registry runs at {host} and can be reached from here")
            }
            TransportKind::NoTls => format!(
                "to use it without TLS, give it a [[registry]] with location = \"{host}\" and \
                 insecure = true in registries.conf"
            ),
            TransportKind::Tls => format!(
                "if it is vouched for by an authority of your own, put its certificate into \
                 /etc/docker/certs.d/{host}/ca.crt"
            ),
            TransportKind::Timeout | TransportKind::Interrupted | TransportKind::Invalid => {
                return None;
            }
        })
    }

    /// Adds to an error about content which image it is of and where it came from.
    pub(crate) fn at_place(self, image: &ImageRef, place: &str) -> Self {
        match self {
            Self::Blob(what @ (BlobError::Mismatch { .. } | BlobError::Size { .. })) => {
                Self::Damaged {
                    image: image.familiar(),
                    place: place.to_owned(),
                    what,
                }
            }
            other => other,
        }
    }

    /// Returns the registry error inside an I/O error of one of this crate's readers.
    ///
    /// # Errors
    /// The I/O error itself if it came from elsewhere.
    pub fn from_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }

    pub(crate) fn into_io(self) -> io::Error {
        let kind = match self.class() {
            ErrorClass::Integrity => io::ErrorKind::InvalidData,
            ErrorClass::NotFound => io::ErrorKind::NotFound,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }

    /// Says whether the same request may succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Transport(error) if matches!(
            error.kind,
            TransportKind::Timeout | TransportKind::Interrupted
        ))
    }

    /// Says whether the server could not be talked to at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Transport(_))
    }
}
