//! One exchange with a registry, with everything that may come between question and answer:
//! schemes to be tried, a demand for credentials, a server that asks for patience.
//!
//! From the outside in: [`RegistrySession::call`] repeats, `authorized` shows credentials, `dispatch`
//! picks the scheme, `RegistrySession::follow` follows redirects, the transport sends.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use reqwest::header::AUTHORIZATION;
use reqwest::{StatusCode, Url};

use crate::answer::HttpAnswer;
use crate::auth::proof::RequestProof;
use crate::call::{CallTarget, FollowedRequest, RegistryCall};
use crate::error::Error;
use crate::failure::{TransportError, TransportKind};
use crate::origin::{is_home, same_origin};
use crate::session::{HostState, RegistrySession};

/// An answer, and whether it came from where the user's credentials are for.
struct Reply {
    answer: HttpAnswer,
    is_home: bool,
}

impl RegistrySession {
    /// Carries out a call. Any final status is an answer; only its absence is an error.
    pub(crate) fn call(&self, call: &RegistryCall<'_>) -> Result<HttpAnswer, Error> {
        self.call_as(&self.state(&call.endpoint.host), call)
    }

    /// Carries out a call with a host state, and so with credentials, of the caller's choice.
    pub(crate) fn call_as(
        &self,
        state: &HostState,
        call: &RegistryCall<'_>,
    ) -> Result<HttpAnswer, Error> {
        self.repeated(call.repeat, || self.authorized(state, call))
    }

    /// Sends a call and, if the host asks for credentials, sends it again with them.
    fn authorized(&self, state: &HostState, call: &RegistryCall<'_>) -> Result<HttpAnswer, Error> {
        let mut proof = self.standing_proof(state, call)?;
        // A second refusal may still be met: a token had expired, the next one has too few scopes.
        // A host that refuses three times will not accept any credential that the user has.
        for _ in 0..3 {
            let Reply { answer, is_home } = self.dispatch(state, call, proof.as_ref())?;
            if answer.status != StatusCode::UNAUTHORIZED || !is_home {
                return Ok(answer);
            }
            match self.meet_challenge(state, call, &answer, proof.as_ref())? {
                Some(better) => proof = Some(better),
                None => return Ok(answer),
            }
        }
        Ok(self.dispatch(state, call, proof.as_ref())?.answer)
    }

    /// Sends a call the way that works for its host.
    fn dispatch(
        &self,
        state: &HostState,
        call: &RegistryCall<'_>,
        proof: Option<&RequestProof>,
    ) -> Result<Reply, Error> {
        let host = &call.endpoint.host;
        let known = state
            .channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let path = match &call.target {
            CallTarget::Path(path) => path,
            CallTarget::Url(url) => {
                let is_home = is_home(url, host, known.map(|channel| channel.scheme));
                let answer = self.send(call, url.clone(), proof.filter(|_| is_home))?;
                return Ok(Reply {
                    is_home: is_home && same_origin(url, &answer.url),
                    answer,
                });
            }
        };
        let candidates = match known {
            Some(channel) => vec![channel],
            None => self.channels(host, call.endpoint.security),
        };
        let mut failed = None;
        let mut misunderstood = None;
        let count = candidates.len();
        for (index, channel) in candidates.into_iter().enumerate() {
            let last = index + 1 == count;
            let url = format!("{}://{host}{path}", channel.scheme);
            let url = Url::parse(&url).map_err(|error| {
                Error::Transport(TransportError {
                    kind: TransportKind::Invalid,
                    place: host.clone(),
                    reason: error.to_string(),
                })
            })?;
            let reply = |answer: HttpAnswer| Reply {
                is_home: same_origin(&url, &answer.url),
                answer,
            };
            match self.send(call, url.clone(), proof) {
                // What a TLS server answers to plain HTTP; it differs from server to server.
                Ok(answer) if !last && answer.status == StatusCode::BAD_REQUEST => {
                    misunderstood = Some(reply(answer));
                }
                Ok(answer) => {
                    *state.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
                    state.unreachable.store(false, Ordering::Relaxed);
                    return Ok(reply(answer));
                }
                Err(error) if error.is_unreachable() => failed = Some(better(failed, error)),
                Err(error) => return Err(error),
            }
        }
        if let Some(misunderstood) = misunderstood {
            return Ok(misunderstood);
        }
        state.unreachable.store(true, Ordering::Relaxed);
        Err(failed.expect("every way was tried and failed"))
    }

    fn send(
        &self,
        call: &RegistryCall<'_>,
        url: Url,
        proof: Option<&RequestProof>,
    ) -> Result<HttpAnswer, Error> {
        let mut headers = call.headers.clone();
        if let Some(proof) = proof {
            headers.insert(AUTHORIZATION, proof.header.clone());
        }
        self.follow(FollowedRequest {
            method: &call.method,
            url,
            headers,
            payload: call.payload,
            endpoint: Some(call.endpoint),
            downgrade: call.downgrade,
            answer_size: call.answer_size,
        })
    }
}

/// Of two failures to reach a host, keeps the one that says more. That no TLS session came about says
/// little beside what plain HTTP met, and a refused connection says nothing about the way.
fn better(first: Option<Error>, second: Error) -> Error {
    let weight = |error: &Error| match error {
        Error::Transport(TransportError { kind, .. }) => match kind {
            TransportKind::Connect | TransportKind::Name => 0,
            TransportKind::Tls | TransportKind::NoTls => 1,
            TransportKind::Timeout | TransportKind::Interrupted | TransportKind::Invalid => 2,
        },
        _ => 3,
    };
    match first {
        Some(first) if weight(&first) >= weight(&second) => first,
        _ => second,
    }
}
