//! Proving who we are: Basic, and tokens from a token server.
//!
//! Distribution's "Token Authentication Specification" and "OAuth2 Token Authentication", with the
//! order of attempts that containerd and BuildKit use: with credentials POST, then GET with Basic if
//! the server knows no POST; without credentials GET.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::answer::Answer;
use crate::challenge::{Bearer, Challenge, choose};
use crate::credential::Credential;
use crate::endpoint::{Endpoint, Security};
use crate::error::Error;
use crate::exchange::{Call, Courier, Errand, HostState, Payload, Repeat, sensitive};
use crate::notice::Notice;
use crate::origin::{Downgrade, may_see_credential};
use crate::refusal::Action;
use crate::scope::Scopes;
use crate::secret::Secret;
use crate::transport::Extent;
use crate::url_text::authority;

/// What token servers are told we are.
const CLIENT_ID: &str = "kiln";
/// Bytes. Tokens of large organisations reach some 10 KB.
const LONGEST_TOKEN_ANSWER: usize = 1 << 20;

/// How a host wants to be convinced, and with what it was.
#[derive(Debug, Default)]
pub(crate) struct HostAuth {
    challenge: Option<Challenge>,
    tokens: Vec<Token>,
    /// By repository, because auth.json may have keys for single ones.
    credentials: HashMap<String, Option<Credential>>,
}

#[derive(Clone, Debug)]
struct Token {
    value: Secret,
    realm: String,
    scopes: Scopes,
    expires: Instant,
}

/// What is shown to a host.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(crate) header: HeaderValue,
    kind: ProofKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ProofKind {
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

impl Courier {
    /// Returns what the host wanted to see last time, to save a refusal.
    pub(crate) fn standing_proof(
        &self,
        state: &HostState,
        call: &Call<'_>,
    ) -> Result<Option<Proof>, Error> {
        let mut auth = state.auth.lock().unwrap_or_else(PoisonError::into_inner);
        match auth.challenge.clone() {
            None => Ok(None),
            Some(Challenge::Basic) => match self.credential(&mut auth, call.endpoint) {
                Some(credential) => basic(&credential, &call.endpoint.host).transpose(),
                None => Ok(None),
            },
            Some(Challenge::Bearer(bearer)) => self
                .token(&mut auth, call, &bearer, call.scopes.clone())
                .map(Some),
        }
    }

    /// Returns what meets the challenge of a 401, or none if nothing more can be done.
    pub(crate) fn meet_challenge(
        &self,
        state: &HostState,
        call: &Call<'_>,
        answer: &Answer,
        rejected: Option<&Proof>,
    ) -> Result<Option<Proof>, Error> {
        let headers = answer.headers.get_all(WWW_AUTHENTICATE).iter();
        let Some(challenge) = choose(headers.filter_map(|value| value.to_str().ok())) else {
            return Ok(None);
        };
        let mut auth = state.auth.lock().unwrap_or_else(PoisonError::into_inner);
        auth.challenge = Some(challenge.clone());
        let bearer = match challenge {
            Challenge::Basic => {
                if rejected.is_some_and(|proof| proof.kind == ProofKind::Basic) {
                    return Ok(None);
                }
                return match self.credential(&mut auth, call.endpoint) {
                    Some(credential) => basic(&credential, &call.endpoint.host).transpose(),
                    None => Ok(None),
                };
            }
            Challenge::Bearer(bearer) => bearer,
        };
        let asked = bearer.scope.as_deref().unwrap_or("");
        let mut wanted = call.scopes.clone().union(asked);
        if let Some(proof) = rejected {
            let known_to_fail = match &proof.kind {
                ProofKind::Basic => false,
                ProofKind::Fixed => true,
                ProofKind::Remembered { .. } => false,
                // A fresh token that is refused is good for another try only if there is
                // something else to ask for.
                ProofKind::Fetched { scopes } => {
                    let complains = matches!(
                        bearer.error.as_deref(),
                        Some("insufficient_scope" | "invalid_token")
                    );
                    !complains && scopes.covers(&wanted)
                }
            };
            if known_to_fail {
                return Ok(None);
            }
            if let ProofKind::Remembered { scopes } | ProofKind::Fetched { scopes } = &proof.kind {
                wanted = wanted.union(&scopes.to_string());
            }
            auth.tokens
                .retain(|token| bearer_text(&token.value) != proof.header);
        }
        self.token(&mut auth, call, &bearer, wanted).map(Some)
    }

    /// Looks up a credential once per repository. Trouble with it is told, not fatal.
    fn credential(&self, auth: &mut HostAuth, endpoint: &Endpoint) -> Option<Credential> {
        if let Some(known) = auth.credentials.get(&endpoint.repository) {
            return known.clone();
        }
        let found = self
            .credentials
            .lookup(&endpoint.domain, &endpoint.repository)
            .unwrap_or_else(|error| {
                (self.notice)(Notice::NoCredentials {
                    domain: endpoint.domain.clone(),
                    reason: error.to_string(),
                });
                None
            });
        auth.credentials
            .insert(endpoint.repository.clone(), found.clone());
        found
    }

    /// Returns a token for `scopes`, remembered or new.
    fn token(
        &self,
        auth: &mut HostAuth,
        call: &Call<'_>,
        bearer: &Bearer,
        scopes: Scopes,
    ) -> Result<Proof, Error> {
        let credential = self.credential(auth, call.endpoint);
        if let Some(Credential::Token(token)) = &credential {
            return Ok(Proof {
                header: bearer_header(token, &call.endpoint.host)?,
                kind: ProofKind::Fixed,
            });
        }
        let now = Instant::now();
        auth.tokens.retain(|token| token.expires > now);
        let remembered = auth
            .tokens
            .iter()
            .find(|token| token.realm == bearer.realm && token.scopes.covers(&scopes));
        if let Some(token) = remembered {
            return Ok(Proof {
                header: bearer_header(&token.value, &call.endpoint.host)?,
                kind: ProofKind::Remembered {
                    scopes: token.scopes.clone(),
                },
            });
        }
        let token = self.fetch_token(call.endpoint, bearer, &scopes, credential.as_ref())?;
        let header = bearer_header(&token.value, &call.endpoint.host)?;
        auth.tokens.push(token);
        Ok(Proof {
            header,
            kind: ProofKind::Fetched { scopes },
        })
    }

    fn fetch_token(
        &self,
        endpoint: &Endpoint,
        bearer: &Bearer,
        scopes: &Scopes,
        credential: Option<&Credential>,
    ) -> Result<Token, Error> {
        let realm = Url::parse(&bearer.realm).map_err(|_| Error::Protocol {
            host: endpoint.host.clone(),
            problem: "names a token server that is not a URL",
        })?;
        let realm_host = authority(&realm);
        let realm_security = Security::of(&realm_host, self.registries.is_insecure(&realm_host));
        if credential.is_some() && !may_see_credential(&realm, realm_security, endpoint) {
            return Err(Error::Protocol {
                host: endpoint.host.clone(),
                problem: "wants credentials sent over plain HTTP",
            });
        }
        let answer = match credential {
            None | Some(Credential::Token(_)) => {
                self.token_by_get(endpoint, &realm, bearer, scopes, None)?
            }
            Some(Credential::Identity(token)) => {
                let grant = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token.expose()),
                ];
                self.token_by_post(endpoint, &realm, bearer, scopes, &grant)?
            }
            Some(Credential::Password { username, password }) => {
                let grant = [
                    ("grant_type", "password"),
                    ("username", username.as_str()),
                    ("password", password.expose()),
                ];
                let answer = self.token_by_post(endpoint, &realm, bearer, scopes, &grant)?;
                match answer.status.as_u16() {
                    // What servers say that know no POST, as containerd found out.
                    401 | 404 | 405 if !username.is_empty() => {
                        let account = Some((username.as_str(), password));
                        self.token_by_get(endpoint, &realm, bearer, scopes, account)?
                    }
                    _ => answer,
                }
            }
        };
        read_token(answer, bearer, scopes)
    }

    fn token_by_get(
        &self,
        endpoint: &Endpoint,
        realm: &Url,
        bearer: &Bearer,
        scopes: &Scopes,
        account: Option<(&str, &Secret)>,
    ) -> Result<Answer, Error> {
        let mut url = realm.clone();
        let mut headers = HeaderMap::new();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &bearer.service {
                query.append_pair("service", service);
            }
            for scope in scopes.texts() {
                query.append_pair("scope", &scope);
            }
            if let Some((username, _)) = account {
                query.append_pair("account", username);
                query.append_pair("client_id", CLIENT_ID);
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        if let Some((username, password)) = account {
            let value = basic_text(username, password);
            headers.insert(AUTHORIZATION, sensitive(&value, &authority(realm))?);
        }
        self.repeated(Repeat::Yes, || {
            self.follow(Errand {
                method: &Method::GET,
                url: url.clone(),
                headers: headers.clone(),
                payload: Payload::Empty,
                endpoint: Some(endpoint),
                downgrade: Downgrade::Refused,
                extent: Extent::Document,
            })
        })
    }

    fn token_by_post(
        &self,
        endpoint: &Endpoint,
        realm: &Url,
        bearer: &Bearer,
        scopes: &Scopes,
        grant: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        // A URL's query has the encoding of forms.
        let mut form = realm.clone();
        form.set_query(None);
        {
            let mut pairs = form.query_pairs_mut();
            pairs
                .extend_pairs(grant)
                .append_pair("client_id", CLIENT_ID);
            if let Some(service) = &bearer.service {
                pairs.append_pair("service", service);
            }
            if *scopes != Scopes::none() {
                pairs.append_pair("scope", &scopes.to_string());
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        self.repeated(Repeat::Yes, || {
            self.follow(Errand {
                method: &Method::POST,
                url: realm.clone(),
                headers: headers.clone(),
                payload: Payload::Bytes(form.query().unwrap_or("").as_bytes()),
                endpoint: Some(endpoint),
                downgrade: Downgrade::Refused,
                extent: Extent::Document,
            })
        })
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds. Some servers write the number as a text.
    expires_in: Option<serde_json::Value>,
}

fn read_token(mut answer: Answer, bearer: &Bearer, scopes: &Scopes) -> Result<Token, Error> {
    if answer.status != StatusCode::OK {
        return Err(answer.into_refusal(Action::Token).into());
    }
    let host = authority(&answer.url);
    let body = answer.body.read_up_to(LONGEST_TOKEN_ANSWER)?;
    let incomplete = || Error::Protocol {
        host: host.clone(),
        problem: "answered without a token",
    };
    let parsed: TokenAnswer = serde_json::from_slice(&body).map_err(|_| incomplete())?;
    let value = [parsed.token, parsed.access_token]
        .into_iter()
        .flatten()
        .find(|value| !value.is_empty())
        .ok_or_else(incomplete)?;
    // The specification's default, and the least that makes sense.
    let seconds = parsed
        .expires_in
        .as_ref()
        .and_then(seconds)
        .unwrap_or(60)
        .max(60);
    let lifetime = Duration::from_secs(seconds.min(24 * 60 * 60));
    Ok(Token {
        value: Secret::new(value),
        realm: bearer.realm.clone(),
        scopes: scopes.clone(),
        // A token that expires on its way is of no use.
        expires: Instant::now() + lifetime.mul_f32(0.9),
    })
}

/// Reads a number of seconds, written in whatever way; none if it is no number.
fn seconds(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        // A fraction counts for nothing here.
        number => number.as_u64().or_else(|| Some(number.as_f64()? as u64)),
    }
}

fn basic(credential: &Credential, host: &str) -> Option<Result<Proof, Error>> {
    let Credential::Password { username, password } = credential else {
        return None;
    };
    let header = sensitive(&basic_text(username, password), host);
    Some(header.map(|header| Proof {
        header,
        kind: ProofKind::Basic,
    }))
}

fn basic_text(username: &str, password: &Secret) -> String {
    let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
    format!("Basic {pair}")
}

fn bearer_text(token: &Secret) -> String {
    format!("Bearer {}", token.expose())
}

fn bearer_header(token: &Secret, host: &str) -> Result<HeaderValue, Error> {
    sensitive(&bearer_text(token), host)
}
