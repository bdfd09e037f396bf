//! What is known about hosts while a client lives.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::proof::HostAuth;
use crate::credentials::Credentials;
use crate::endpoint::{Channel, HostSecurity, channels};
use crate::notice::Notice;
use crate::registries_conf::RegistriesConf;
use crate::retry_policy::RetryPolicy;
use crate::transport::HttpTransport;
use crate::trust::certificate_directory;

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
