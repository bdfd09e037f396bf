//! What is known about hosts while a client lives, and how often they are asked.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::StatusCode;
use reqwest::header::{DATE, RETRY_AFTER};

use crate::answer::HttpAnswer;
use crate::auth::proof::HostAuth;
use crate::call::Repeat;
use crate::credentials::Credentials;
use crate::endpoint::{Channel, HostSecurity, channels};
use crate::error::Error;
use crate::notice::Notice;
use crate::registries_conf::RegistriesConf;
use crate::retry::{RetryPolicy, retry_after};
use crate::transport::HttpTransport;
use crate::trust::certificate_directory;
use crate::url_text::authority;

/// Carries calls to registries and remembers what it learned about each host.
pub(crate) struct RegistrySession {
    pub(crate) transport: HttpTransport,
    pub(crate) credentials: Credentials,
    pub(crate) registries: RegistriesConf,
    pub(crate) retry: RetryPolicy,
    pub(crate) notice: Arc<dyn Fn(Notice) + Send + Sync>,
    hosts: Mutex<HashMap<String, Arc<HostState>>>,
}

/// What is known about a host.
#[derive(Debug, Default)]
pub(crate) struct HostState {
    pub(crate) channel: Mutex<Option<Channel>>,
    pub(crate) unreachable: AtomicBool,
    /// Locked while a token is fetched, so that parallel calls fetch one token, not many.
    pub(crate) auth: Mutex<HostAuth>,
}

impl RegistrySession {
    pub(crate) fn new(
        transport: HttpTransport,
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

    /// Repeats what failed for the moment, as the policy says.
    pub(crate) fn repeated(
        &self,
        repeat: Repeat,
        mut attempt: impl FnMut() -> Result<HttpAnswer, Error>,
    ) -> Result<HttpAnswer, Error> {
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

    pub(crate) fn channels(&self, host: &str, security: HostSecurity) -> Vec<Channel> {
        let directories = &self.transport.options().certificate_directories;
        let has_certificates = certificate_directory(directories, host).is_some();
        channels(host, security, has_certificates)
    }
}

impl fmt::Debug for RegistrySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("transport", &self.transport)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Says whether the server may answer otherwise a moment later.
fn is_momentary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}
