//! What may be sent where: the one rule about credentials, bodies and TLS.
//!
//! An origin is a scheme, a host and a port. Servers name other origins in many channels: redirects, the
//! locations of uploads, next pages, token servers. Whatever they name:
//!
//! - The user's credential goes to the origin that it is for, by the scheme that it is for. A host
//!   that a registry names is asked without, and what it demands is not met: the registry chose it,
//!   not the user. Token servers alone are named by registries on purpose (Docker Hub's is
//!   another host), so they see the registry's own credential, and over TLS unless the registry
//!   itself is one that may be spoken to without.
//! - A body goes where its sender meant it to go. No redirect takes it to another origin: it may be a
//!   form with a password.
//! - What began over TLS does not go on without it, except for content whose sender does not matter:
//!   kiln checks it by its digest, or it is a download of which nothing is promised.
//!
//! containerd and Docker do the same with locations and differ from it with redirects: Go's HTTP
//! client sends forms on, and follows from TLS to plain HTTP.

use reqwest::Url;

use crate::endpoint::{Endpoint, HostSecurity};
use crate::error::Error;
use crate::url_text::authority;

/// Whether an answer may come without TLS although it was asked for with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Downgrade {
    /// It is believed because of who gives it.
    Refused,
    /// Its sender does not matter: its digest is checked, or nothing is promised of it.
    Allowed,
}

/// What goes along to where a redirect leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Along {
    /// Everything: it is the same origin.
    Everything,
    /// The question, but nothing that says who asks.
    Question,
}

/// Decides about a redirect of a request with or without a body.
///
/// # Errors
/// When it must not be followed.
pub(crate) fn onward(
    from: &Url,
    to: &Url,
    has_body: bool,
    downgrade: Downgrade,
) -> Result<Along, Error> {
    if same_origin(from, to) {
        return Ok(Along::Everything);
    }
    let refused = |problem| Error::Protocol {
        host: authority(from),
        problem,
    };
    if has_body {
        return Err(refused(
            "wants what it is sent to be sent to another server",
        ));
    }
    if downgrade == Downgrade::Refused && leaves_tls(from, to) {
        return Err(refused("leads from HTTPS to plain HTTP"));
    }
    Ok(Along::Question)
}

/// Says whether the user's credential for the registry at `host`, spoken to by `scheme`, may be shown
/// at `url`. Without a scheme the registry was never spoken to.
pub(crate) fn is_home(url: &Url, host: &str, scheme: Option<&str>) -> bool {
    scheme == Some(url.scheme()) && leads_to(url, host)
}

/// Says whether a token server may see the credential of the registry that named it. `realm_security`
/// is what the token server has to prove.
pub(crate) fn may_see_credential(
    realm: &Url,
    realm_security: HostSecurity,
    registry: &Endpoint,
) -> bool {
    let may_be_clear = registry.security != HostSecurity::Verified
        && (realm_security != HostSecurity::Verified || leads_to(realm, &registry.host));
    realm.scheme() == "https" || may_be_clear
}

/// Says whether the way from one URL to the other leaves TLS.
pub(crate) fn leaves_tls(from: &Url, to: &Url) -> bool {
    from.scheme() == "https" && to.scheme() != "https"
}

/// Says whether both URLs lead to the same server, so that what one may know the other may too.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Says whether a URL leads to a host, which may be written with the scheme's usual port.
pub(crate) fn leads_to(url: &Url, host: &str) -> bool {
    Url::parse(&format!("{}://{host}", url.scheme())).is_ok_and(|host| same_origin(url, &host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registries_conf::RegistryPlace;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn usual_ports_make_no_difference() {
        for (text, host, expected) in [
            ("https://h/x", "h:443", true),
            ("https://h:443/x", "h", true),
            ("http://h/x", "h:443", false),
            ("https://h:5000/x", "h:5000", true),
            ("https://h:5000/x", "h", false),
            ("https://[::1]:5000/", "[::1]:5000", true),
        ] {
            assert_eq!(leads_to(&url(text), host), expected, "{text} {host}");
        }
    }

    #[test]
    fn redirects_take_along_what_is_theirs() {
        use Downgrade::{Allowed, Refused};
        let https = "https://h/a";
        for (from, to, has_body, downgrade, expected) in [
            (
                https,
                "https://h:443/b",
                true,
                Refused,
                Some(Along::Everything),
            ),
            (https, "https://i/", false, Refused, Some(Along::Question)),
            (
                https,
                "https://h:8443/",
                false,
                Refused,
                Some(Along::Question),
            ),
            (https, "https://i/", true, Allowed, None),
            (https, "http://h/a", false, Refused, None),
            (https, "http://h/a", false, Allowed, Some(Along::Question)),
            (https, "http://h/a", true, Allowed, None),
            ("http://h/a", https, false, Refused, Some(Along::Question)),
            ("http://h/a", https, true, Refused, None),
            (
                "http://h/a",
                "http://h/b",
                true,
                Refused,
                Some(Along::Everything),
            ),
        ] {
            let along = onward(&url(from), &url(to), has_body, downgrade);
            assert_eq!(along.ok(), expected, "{from} {to} {has_body} {downgrade:?}");
        }
    }

    #[test]
    fn credentials_stay_at_home() {
        for (text, scheme, expected) in [
            ("https://h/up", Some("https"), true),
            ("https://h:443/up", Some("https"), true),
            ("http://h/up", Some("https"), false),
            ("https://h/up", Some("http"), false),
            ("https://h/up", None, false),
            ("https://h:8443/up", Some("https"), false),
            ("https://h.evil/up", Some("https"), false),
        ] {
            assert_eq!(is_home(&url(text), "h", scheme), expected, "{text}");
        }
    }

    #[test]
    fn token_servers_see_credentials_over_tls() {
        for (registry, insecure, realm, expected) in [
            ("q.io", false, "https://auth.example/token", true),
            ("q.io", false, "http://q.io/token", false),
            ("q.io", false, "http://127.0.0.1/token", false),
            ("q.io", true, "http://q.io/token", true),
            ("q.io", true, "http://auth.example/token", false),
            ("127.0.0.1:5000", false, "http://127.0.0.1:5001/token", true),
            ("127.0.0.1:5000", false, "http://auth.example/token", false),
        ] {
            let endpoint = Endpoint::new(&RegistryPlace {
                domain: registry.to_owned(),
                path: "a".to_owned(),
                insecure,
            });
            let realm = url(realm);
            let security = HostSecurity::of(&authority(&realm), false);
            let may = may_see_credential(&realm, security, &endpoint);
            assert_eq!(may, expected, "{registry} {realm}");
        }
    }
}
