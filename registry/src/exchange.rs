//! One exchange with a registry, with everything that may come between question and answer:
//! schemes to be tried, redirects, a demand for credentials, a server that asks for patience.
//!
//! From the outside in: [`Courier::call`] repeats, `authorized` shows credentials, `dispatch` picks
//! the scheme, `follow` follows redirects, the transport sends.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};

use crate::answer::Answer;
use crate::auth::{HostAuth, Proof};
use crate::credentials::Credentials;
use crate::endpoint::{Endpoint, Security, Way, ways};
use crate::error::Error;
use crate::failure::{TransportError, TransportKind};
use crate::notice::Notice;
use crate::origin::{Along, Downgrade, is_home, leads_to, onward, same_origin};
use crate::registries_conf::RegistriesConf;
use crate::retry::{RetryPolicy, retry_after};
use crate::scope::Scopes;
use crate::transport::{Body, Extent, Request, Transport};
use crate::trust::{Trust, certificate_directory};
use crate::url_text::authority;

/// As many as browsers and curl allow, roughly.
const MOST_REDIRECTS: usize = 10;

/// Carries calls to registries and remembers what it learned about each host.
pub(crate) struct Courier {
    pub(crate) transport: Transport,
    pub(crate) credentials: Credentials,
    pub(crate) registries: RegistriesConf,
    pub(crate) retry: RetryPolicy,
    pub(crate) notice: Arc<dyn Fn(Notice) + Send + Sync>,
    hosts: Mutex<HashMap<String, Arc<HostState>>>,
}

/// What is known about a host.
#[derive(Debug, Default)]
pub(crate) struct HostState {
    way: Mutex<Option<Way>>,
    unreachable: AtomicBool,
    /// Locked while a token is fetched, so that parallel calls fetch one token, not many.
    pub(crate) auth: Mutex<HostAuth>,
}

/// A request to a registry.
pub(crate) struct Call<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) scopes: &'a Scopes,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    pub(crate) repeat: Repeat,
    pub(crate) downgrade: Downgrade,
    pub(crate) extent: Extent,
}

/// One request as it is sent, to wherever redirects lead.
pub(crate) struct Errand<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    /// The registry that it is for or about; none if it has nothing to do with one.
    pub(crate) endpoint: Option<&'a Endpoint>,
    pub(crate) downgrade: Downgrade,
    pub(crate) extent: Extent,
}

/// An answer, and whether it came from where our credentials are for.
struct Reply {
    answer: Answer,
    is_home: bool,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
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

impl<'a> Call<'a> {
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
            target: Target::Path(path),
            scopes,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            repeat: Repeat::Yes,
            downgrade: Downgrade::Refused,
            extent: Extent::Document,
        }
    }
}

impl Courier {
    pub(crate) fn new(
        transport: Transport,
        credentials: Credentials,
        registries: RegistriesConf,
        retry: RetryPolicy,
        notice: Arc<dyn Fn(Notice) + Send + Sync>,
    ) -> Self {
        Self {
            transport,
            credentials,
            registries,
            retry,
            notice,
            hosts: Mutex::new(HashMap::new()),
        }
    }

    /// Returns what is known about a host.
    pub(crate) fn state(&self, host: &str) -> Arc<HostState> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(host.to_owned()).or_default())
    }

    /// Says whether a host could not be reached before.
    pub(crate) fn is_unreachable(&self, host: &str) -> bool {
        self.state(host).unreachable.load(Ordering::Relaxed)
    }

    /// Carries out a call. Any final status is an answer; only its absence is an error.
    pub(crate) fn call(&self, call: &Call<'_>) -> Result<Answer, Error> {
        self.call_as(&self.state(&call.endpoint.host), call)
    }

    /// Carries out a call with a host state, and so with credentials, of the caller's choice.
    pub(crate) fn call_as(&self, state: &HostState, call: &Call<'_>) -> Result<Answer, Error> {
        self.repeated(call.repeat, || self.authorized(state, call))
    }

    /// Repeats what failed for the moment, as the policy says.
    pub(crate) fn repeated(
        &self,
        repeat: Repeat,
        mut attempt: impl FnMut() -> Result<Answer, Error>,
    ) -> Result<Answer, Error> {
        let mut delays = match repeat {
            Repeat::Yes => self.retry.delays.iter(),
            Repeat::No => [].iter(),
        };
        loop {
            self.transport.check_cancelled()?;
            let outcome = attempt();
            let (host, reason, asked) = match &outcome {
                Err(error) if error.is_transient() => (String::new(), error.to_string(), None),
                Ok(answer) if is_momentary(answer.status) => (
                    authority(&answer.url),
                    format!("status {}", answer.status.as_u16()),
                    retry_after(answer.header(RETRY_AFTER), answer.header(DATE)),
                ),
                _ => return outcome,
            };
            let Some(&delay) = delays.next() else {
                return outcome;
            };
            let delay = asked.unwrap_or(delay);
            if delay > self.retry.longest_wait {
                return outcome;
            }
            (self.notice)(Notice::Retrying {
                host,
                reason,
                delay,
            });
            self.transport.sleep(delay)?;
        }
    }

    /// Sends a call and, if the host asks for credentials, sends it again with them.
    fn authorized(&self, state: &HostState, call: &Call<'_>) -> Result<Answer, Error> {
        let mut proof = self.standing_proof(state, call)?;
        // The second refusal may still be met: a token that had expired, then one with too few
        // scopes. Whoever refuses three times means it.
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
        call: &Call<'_>,
        proof: Option<&Proof>,
    ) -> Result<Reply, Error> {
        let host = &call.endpoint.host;
        let known = state
            .way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let path = match &call.target {
            Target::Path(path) => path,
            Target::Url(url) => {
                let is_home = is_home(url, host, known.map(|way| way.scheme));
                let answer = self.send(call, url.clone(), proof.filter(|_| is_home))?;
                return Ok(Reply {
                    is_home: is_home && same_origin(url, &answer.url),
                    answer,
                });
            }
        };
        let candidates = match known {
            Some(way) => vec![way],
            None => self.ways(host, call.endpoint.security),
        };
        let mut failed = None;
        let mut misunderstood = None;
        let count = candidates.len();
        for (index, way) in candidates.into_iter().enumerate() {
            let last = index + 1 == count;
            let url = format!("{}://{host}{path}", way.scheme);
            let url = Url::parse(&url).map_err(|error| {
                Error::Transport(TransportError {
                    kind: TransportKind::Invalid,
                    place: host.clone(),
                    reason: error.to_string(),
                })
            })?;
            let reply = |answer: Answer| Reply {
                is_home: same_origin(&url, &answer.url),
                answer,
            };
            match self.send(call, url.clone(), proof) {
                // What a TLS server answers to plain HTTP; it differs from server to server.
                Ok(answer) if !last && answer.status == StatusCode::BAD_REQUEST => {
                    misunderstood = Some(reply(answer));
                }
                Ok(answer) => {
                    *state.way.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
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

    fn ways(&self, host: &str, security: Security) -> Vec<Way> {
        let directories = &self.transport.options().certificate_directories;
        let has_certificates = certificate_directory(directories, host).is_some();
        ways(host, security, has_certificates)
    }

    fn send(&self, call: &Call<'_>, url: Url, proof: Option<&Proof>) -> Result<Answer, Error> {
        let mut headers = call.headers.clone();
        if let Some(proof) = proof {
            headers.insert(AUTHORIZATION, proof.header.clone());
        }
        self.follow(Errand {
            method: &call.method,
            url,
            headers,
            payload: call.payload,
            endpoint: Some(call.endpoint),
            downgrade: call.downgrade,
            extent: call.extent,
        })
    }

    /// Returns whom to trust at a URL: a registry's own, or one that it named.
    fn trust(&self, url: &Url, endpoint: Option<&Endpoint>) -> Trust {
        if url.scheme() != "https" {
            return Trust::Plain;
        }
        let ways = match endpoint {
            Some(endpoint) if leads_to(url, &endpoint.host) => {
                self.ways(&endpoint.host, endpoint.security)
            }
            _ => {
                let host = authority(url);
                let insecure = self.registries.is_insecure(&host);
                self.ways(&host, Security::of(&host, insecure))
            }
        };
        ways.into_iter()
            .find(|way| way.scheme == "https")
            .map_or(Trust::System, |way| way.trust)
    }

    /// Sends a request and follows redirects, as far as [`onward`] allows.
    pub(crate) fn follow(&self, errand: Errand<'_>) -> Result<Answer, Error> {
        let Errand {
            method,
            mut url,
            mut headers,
            payload,
            endpoint,
            downgrade,
            extent,
        } = errand;
        for _ in 0..=MOST_REDIRECTS {
            let request = Request {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body: payload.open(&url)?,
                extent,
            };
            let answer = self.transport.send(&self.trust(&url, endpoint), request)?;
            let Some(next) = redirect(method, &answer)? else {
                return Ok(answer);
            };
            match onward(&url, &next, payload.is_some(), downgrade)? {
                Along::Everything => {}
                Along::Question => {
                    headers.remove(AUTHORIZATION);
                }
            }
            url = next;
        }
        Err(Error::Protocol {
            host: authority(&url),
            problem: "redirects without end",
        })
    }
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier")
            .field("transport", &self.transport)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl Payload<'_> {
    fn is_some(&self) -> bool {
        !matches!(self, Self::Empty)
    }

    fn open(&self, url: &Url) -> Result<Body<'_>, Error> {
        Ok(match *self {
            Self::Empty => Body::Empty,
            Self::Bytes(bytes) => Body::Bytes(bytes.to_vec()),
            Self::Stream {
                size_bytes,
                open,
                sent,
            } => Body::Stream {
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

/// Says whether the server may answer otherwise a moment later.
fn is_momentary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Returns where an answer sends us, if it does.
fn redirect(method: &Method, answer: &Answer) -> Result<Option<Url>, Error> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let redirects = match answer.status.as_u16() {
        301..=303 => reads,
        // These two keep the method and the body.
        307 | 308 => true,
        _ => false,
    };
    let Some(location) = answer.header(LOCATION).filter(|_| redirects) else {
        return Ok(None);
    };
    location_of(&answer.url, location).map(Some)
}

/// Resolves a `Location`, absolute or relative.
pub(crate) fn location_of(base: &Url, location: &str) -> Result<Url, Error> {
    let unusable = || Error::Protocol {
        host: authority(base),
        problem: "gave a location that is not a URL",
    };
    let url = base.join(location).map_err(|_| unusable())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(unusable()),
    }
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
