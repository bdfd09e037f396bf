//! Hosts and how to talk to them: which scheme, which certificates.

use std::net::Ipv4Addr;

use kiln_oci::DEFAULT_DOMAIN;

use crate::registries_conf::RegistryPlace;
use crate::trust::Trust;

/// Docker Hub's API is not where its images say they are.
const HUB_HOST: &str = "registry-1.docker.io";

/// A repository in a registry, as requests need it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// The registry's name in image names, for credentials and messages.
    pub(crate) domain: String,
    /// Host and port.
    pub(crate) host: String,
    /// The repository's path.
    pub(crate) repository: String,
    pub(crate) security: HostSecurity,
}

/// What a host has to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HostSecurity {
    /// HTTPS with a certificate that verifies.
    Verified,
    /// HTTPS with any certificate, else plain HTTP.
    Insecure,
    /// On loopback only this machine listens: plain HTTP, else HTTPS with any certificate.
    Loopback,
}

impl Endpoint {
    pub(crate) fn new(place: &RegistryPlace) -> Self {
        let host = match place.domain.as_str() {
            DEFAULT_DOMAIN => HUB_HOST,
            domain => domain,
        };
        Self {
            domain: place.domain.clone(),
            host: host.to_owned(),
            repository: place.path.clone(),
            security: HostSecurity::of(host, place.insecure),
        }
    }

    /// Returns domain and path.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.domain, self.repository)
    }

    /// Returns the repository's name as people write it.
    pub(crate) fn familiar(&self) -> String {
        match self.name().parse::<kiln_oci::ImageRef>() {
            Ok(name) => name.familiar_repository(),
            Err(_) => self.name(),
        }
    }
}

impl HostSecurity {
    pub(crate) fn of(host: &str, insecure: bool) -> Self {
        match (is_loopback(host), insecure) {
            (true, _) => Self::Loopback,
            (false, true) => Self::Insecure,
            (false, false) => Self::Verified,
        }
    }
}

/// One way to reach a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) scheme: &'static str,
    pub(crate) trust: Trust,
}

/// Returns the ways to try, best first. `has_certificates` says whether `certs.d` knows the host.
pub(crate) fn channels(host: &str, security: HostSecurity, has_certificates: bool) -> Vec<Channel> {
    let http = Channel {
        scheme: "http",
        trust: Trust::Plain,
    };
    let https = |trust| Channel {
        scheme: "https",
        trust,
    };
    match (security, has_certificates) {
        (HostSecurity::Insecure, _) => vec![https(Trust::Anyone), http],
        (_, true) => vec![https(Trust::Host(host.to_owned()))],
        (HostSecurity::Loopback, false) => vec![http, https(Trust::Anyone)],
        (HostSecurity::Verified, false) => vec![https(Trust::System)],
    }
}

/// Says whether `host` (with or without port) is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => return rest.split(']').next() == Some("::1"),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OCI-016.
    #[test]
    fn only_loopback_and_insecure_hosts_may_speak_plain_http() {
        let plain = |host: &str, insecure, certificates| {
            channels(host, HostSecurity::of(host, insecure), certificates)
                .iter()
                .position(|channel| channel.scheme == "http")
        };
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert_eq!(plain(host, false, false), Some(0), "{host}");
            assert_eq!(plain(host, false, true), None, "{host}");
        }
        for host in [
            "localhost.evil.org",
            "128.0.0.1",
            "q.io:5000",
            "[::2]:5000",
            "127.0.0.1.org",
        ] {
            assert_eq!(plain(host, false, false), None, "{host}");
            assert_eq!(plain(host, true, false), Some(1), "{host}");
        }
    }

    #[test]
    fn hub_is_elsewhere() {
        let place = RegistryPlace {
            domain: "docker.io".to_owned(),
            path: "library/alpine".to_owned(),
            insecure: false,
        };
        let endpoint = Endpoint::new(&place);
        assert_eq!(endpoint.host, "registry-1.docker.io");
        assert_eq!(endpoint.familiar(), "alpine");
    }
}
