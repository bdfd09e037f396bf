//! The challenge of a host, and the `Authorization` header that was sent to it.

use std::collections::HashMap;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use crate::auth::challenge::Challenge;
use crate::auth::scope::Scopes;
use crate::credentials::value::Credential;
use crate::error::Error;
use crate::secret::Secret;

/// How a host wants to be convinced, and with what it was.
#[derive(Debug, Default)]
pub(crate) struct HostAuth {
    pub(crate) challenge: Option<Challenge>,
    pub(crate) tokens: Vec<BearerToken>,
    /// By repository, because auth.json may have keys for single ones.
    pub(crate) credentials: HashMap<String, Option<Credential>>,
}

#[derive(Clone, Debug)]
pub(crate) struct BearerToken {
    pub(crate) value: Secret,
    pub(crate) realm: String,
    pub(crate) scopes: Scopes,
    pub(crate) expires: Instant,
}

/// What is shown to a host.
#[derive(Clone, Debug)]
pub(crate) struct RequestProof {
    pub(crate) header: HeaderValue,
    pub(crate) kind: ProofKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProofKind {
    Basic,
    /// A token from the configuration.
    Fixed,
    /// A token that was there before this call.
    Remembered {
        scopes: Scopes,
    },
    /// A token fetched for this call.
    Fetched {
        scopes: Scopes,
    },
}

impl HostAuth {
    /// Returns the state of a host that only `credential` is shown to.
    pub(crate) fn with(credential: Credential) -> Self {
        Self {
            credentials: HashMap::from([(String::new(), Some(credential))]),
            ..Self::default()
        }
    }
}

pub(crate) fn basic(credential: &Credential, host: &str) -> Option<Result<RequestProof, Error>> {
    let Credential::Password { username, password } = credential else {
        return None;
    };
    let header = sensitive(&basic_text(username, password), host);
    Some(header.map(|header| RequestProof {
        header,
        kind: ProofKind::Basic,
    }))
}

pub(crate) fn basic_text(username: &str, password: &Secret) -> String {
    let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
    format!("Basic {pair}")
}

pub(crate) fn bearer_text(token: &Secret) -> String {
    format!("Bearer {}", token.expose())
}

pub(crate) fn bearer_header(token: &Secret, host: &str) -> Result<HeaderValue, Error> {
    sensitive(&bearer_text(token), host)
}

/// Makes a header value of text that may hold a secret.
pub(crate) fn sensitive(text: &str, host: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Protocol {
        host: host.to_owned(),
        problem: "needs credentials that do not fit into a header",
    })?;
    value.set_sensitive(true);
    Ok(value)
}
