//! Proxies, and whom to reach without one.

use std::fmt;
use std::net::IpAddr;

use reqwest::{Proxy, Url};

/// Where requests go instead of straight to their host.
///
/// Loopback hosts are always reached directly.
#[derive(Clone, Default)]
pub struct Proxies {
    /// Proxy for plain HTTP, e.g. `http://proxy:3128`.
    pub http: Option<String>,
    /// Proxy for HTTPS.
    pub https: Option<String>,
    /// Who is reached directly, separated by commas, in the forms that Go's programs know: `host`
    /// (and everything below it), `.host` or `*.host` (only what is below it), an address, a network
    /// `10.0.0.0/8`; each but the last also with a port, which is then the only one; or `*`.
    pub no_proxy: Option<String>,
}

// Proxy URLs may hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

impl Proxies {
    /// Says whether a URL is reached without a proxy.
    pub(crate) fn pass_by(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else {
            return true;
        };
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let port = url.port_or_known_default();
        let list = self.no_proxy.as_deref().unwrap_or("");
        list.split(',')
            .map(|entry| entry.trim().to_ascii_lowercase())
            .any(|entry| is_named(&entry, &host, address, port))
    }

    /// Returns the proxies for reqwest.
    ///
    /// Fails with words that do not hold what may be a password.
    pub(crate) fn made(&self) -> Result<Vec<Proxy>, String> {
        let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
        let unusable = |name: &str| format!("the {name} proxy is not a URL");
        let mut made = Vec::new();
        if let Some(url) = given(&self.http) {
            made.push(Proxy::http(url).map_err(|_| unusable("HTTP"))?);
        }
        if let Some(url) = given(&self.https) {
            made.push(Proxy::https(url).map_err(|_| unusable("HTTPS"))?);
        }
        Ok(made)
    }
}

/// Says whether an entry of `NO_PROXY` is about a host. As `golang.org/x/net/http/httpproxy` has it.
fn is_named(entry: &str, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        return address.is_some_and(|address| is_within(address, network, bits));
    }
    let (name, only_port) = split_port(entry);
    if only_port.is_some_and(|only| only.parse().ok() != port) {
        return false;
    }
    if let Ok(named) = name.parse::<IpAddr>() {
        return address == Some(named);
    }
    let name = name
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(name);
    match name.strip_prefix('.') {
        Some("") => false,
        Some(_) => host.ends_with(name),
        None if name.is_empty() => false,
        None => host
            .strip_suffix(name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
    }
}

/// Cuts the port from `host:port` or `[::1]:port`. The colons of a bare IPv6 address are none.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some(rest) = entry.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => (rest, None),
        };
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (entry, None),
    }
}

/// Says whether an address is in the network of `network/bits`.
fn is_within(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let (address, network, length) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (
            u128::from(address.to_bits()),
            u128::from(network.to_bits()),
            32,
        ),
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    match bits {
        0 => true,
        bits if bits > length => false,
        bits => (address ^ network) >> (length - bits) == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_means_what_it_means_to_go() {
        for (list, url, expected) in [
            ("", "http://h/", false),
            ("", "http://localhost:1/", true),
            ("", "http://127.9.9.9/", true),
            ("", "https://[::1]:5000/", true),
            ("*", "http://h/", true),
            ("h", "http://h/", true),
            ("H.io", "https://h.IO/", true),
            ("h.io", "https://a.b.h.io/", true),
            ("h.io", "https://ah.io/", false),
            (".h.io", "https://a.h.io/", true),
            (".h.io", "https://h.io/", false),
            ("*.h.io", "https://a.h.io/", true),
            ("*.h.io", "https://h.io/", false),
            ("a*.h.io", "https://ab.h.io/", false),
            ("x, h.io:5000 ,y", "https://h.io:5000/", true),
            ("h.io:5000", "https://a.h.io:5000/", true),
            ("h.io:5000", "https://h.io/", false),
            ("h.io:443", "https://h.io/", true),
            ("h.io:80", "http://h.io/", true),
            ("*.h.io:80", "http://a.h.io/", true),
            ("h.io:x", "http://h.io/", false),
            ("10.1.2.3", "http://10.1.2.3:99/", true),
            ("10.1.2.3:98", "http://10.1.2.3:99/", false),
            ("10.1.2.3:99", "http://10.1.2.3:99/", true),
            ("10.0.0.0/8", "http://10.200.0.1/", true),
            ("10.0.0.0/8", "http://11.0.0.1/", false),
            ("0.0.0.0/0", "http://11.0.0.1/", true),
            ("10.0.0.0/99", "http://10.0.0.0/", false),
            ("10.0.0.0/8", "http://h/", false),
            ("fd00::/8", "http://[fd12::1]/", true),
            ("fd12::1", "http://[fd12::1]/", true),
            ("[fd12::1]:80", "http://[fd12::1]/", true),
            ("[fd12::1]:81", "http://[fd12::1]/", false),
            (",.,:80,*.", "http://h/", false),
        ] {
            let proxies = Proxies {
                no_proxy: Some(list.to_owned()),
                ..Proxies::default()
            };
            let url = Url::parse(url).unwrap();
            assert_eq!(proxies.pass_by(&url), expected, "{list:?} {url}");
        }
    }
}
