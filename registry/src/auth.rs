//! An answer 401 met by Basic or by a token, remembered or new.

pub(crate) mod challenge; // what WWW-Authenticate asks for
pub(crate) mod proof; // the Authorization headers already sent to a host
pub(crate) mod scope; // what tokens are good for
pub(crate) mod token; // tokens from token servers

use std::sync::PoisonError;
use std::time::Instant;

use reqwest::header::WWW_AUTHENTICATE;

use crate::answer::HttpAnswer;
use crate::auth::challenge::{Bearer, Challenge, choose};
use crate::auth::proof::{HostAuth, ProofKind, RequestProof, basic, bearer_header, bearer_text};
use crate::auth::scope::Scopes;
use crate::call::RegistryCall;
use crate::credentials::value::Credential;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::notice::Notice;
use crate::session::{HostState, RegistrySession};

impl RegistrySession {
    /// Returns what the host wanted to see last time, to save a refusal.
    pub(crate) fn standing_proof(
        &self,
        state: &HostState,
        call: &RegistryCall<'_>,
    ) -> Result<Option<RequestProof>, Error> {
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
        call: &RegistryCall<'_>,
        answer: &HttpAnswer,
        rejected: Option<&RequestProof>,
    ) -> Result<Option<RequestProof>, Error> {
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
        call: &RegistryCall<'_>,
        bearer: &Bearer,
        scopes: Scopes,
    ) -> Result<RequestProof, Error> {
        let credential = self.credential(auth, call.endpoint);
        if let Some(Credential::Token(token)) = &credential {
            return Ok(RequestProof {
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
            return Ok(RequestProof {
                header: bearer_header(&token.value, &call.endpoint.host)?,
                kind: ProofKind::Remembered {
                    scopes: token.scopes.clone(),
                },
            });
        }
        let token = self.fetch_token(call.endpoint, bearer, &scopes, credential.as_ref())?;
        let header = bearer_header(&token.value, &call.endpoint.host)?;
        auth.tokens.push(token);
        Ok(RequestProof {
            header,
            kind: ProofKind::Fetched { scopes },
        })
    }
}
