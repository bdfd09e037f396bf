//! Tokens from a token server.
//!
//! Distribution's "Token Authentication Specification" and "OAuth2 Token Authentication", with the
//! order of attempts that containerd and BuildKit use: with credentials POST, then GET with Basic if
//! the server knows no POST; without credentials GET.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::answer::HttpAnswer;
use crate::auth::challenge::Bearer;
use crate::auth::proof::{BearerToken, basic_text, sensitive};
use crate::auth::scope::Scopes;
use crate::call::{FollowedRequest, Payload, Repeat};
use crate::credentials::value::Credential;
use crate::endpoint::{Endpoint, HostSecurity};
use crate::error::Error;
use crate::origin::{Downgrade, may_see_credential};
use crate::refusal::Action;
use crate::secret::Secret;
use crate::session::RegistrySession;
use crate::transport::AnswerSize;
use crate::url_text::authority;

/// How kiln introduces itself to token servers.
const CLIENT_ID: &str = "kiln";
/// Bytes. Tokens of large organisations reach some 10 KB.
const LONGEST_TOKEN_ANSWER: usize = 1 << 20;

impl RegistrySession {
    pub(crate) fn fetch_token(
        &self,
        endpoint: &Endpoint,
        bearer: &Bearer,
        scopes: &Scopes,
        credential: Option<&Credential>,
    ) -> Result<BearerToken, Error> {
        let realm = Url::parse(&bearer.realm).map_err(|_| Error::Protocol {
            host: endpoint.host.clone(),
            problem: "names a token server that is not a URL",
        })?;
        let realm_host = authority(&realm);
        let realm_security =
            HostSecurity::of(&realm_host, self.registries.is_insecure(&realm_host));
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
    ) -> Result<HttpAnswer, Error> {
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
            self.follow(FollowedRequest {
                method: &Method::GET,
                url: url.clone(),
                headers: headers.clone(),
                payload: Payload::Empty,
                endpoint: Some(endpoint),
                downgrade: Downgrade::Refused,
                answer_size: AnswerSize::Document,
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
    ) -> Result<HttpAnswer, Error> {
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
            self.follow(FollowedRequest {
                method: &Method::POST,
                url: realm.clone(),
                headers: headers.clone(),
                payload: Payload::Bytes(form.query().unwrap_or("").as_bytes()),
                endpoint: Some(endpoint),
                downgrade: Downgrade::Refused,
                answer_size: AnswerSize::Document,
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

fn read_token(
    mut answer: HttpAnswer,
    bearer: &Bearer,
    scopes: &Scopes,
) -> Result<BearerToken, Error> {
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
    Ok(BearerToken {
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
