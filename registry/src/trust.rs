//! Which servers a connection trusts: certificate authorities, client certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity};

use crate::look_up::LookUp;
use crate::transport_options::TransportOptions;

/// How a server proves that it is the one that was asked. Each kind has its own connection pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// Not at all: plain HTTP.
    Plain,
    /// By the system's certificate authorities.
    System,
    /// By those, and by what `certs.d/<host>` holds.
    Host(String),
    /// By any certificate.
    Anyone,
}

/// Whether connections go by way of a proxy, where one is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Via {
    Proxy,
    Nothing,
}

/// Returns the directory with certificates for `host`, if one is configured.
pub(crate) fn certificate_directory(directories: &[PathBuf], host: &str) -> Option<PathBuf> {
    directories
        .iter()
        .map(|directory| directory.join(host))
        .find(|directory| directory.is_dir())
}

/// How kiln introduces itself to servers.
const USER_AGENT: &str = concat!("kiln/", env!("CARGO_PKG_VERSION"));

/// Makes a client; costs about 3 ms when the system's certificates are read.
///
/// Fails with words that say what is unusable.
pub(crate) fn http_client(
    trust: &Trust,
    via: Via,
    options: &TransportOptions,
) -> Result<reqwest::Client, String> {
    let builder = || -> Result<reqwest::ClientBuilder, String> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(options.connect_timeout)
            .dns_resolver(Arc::new(LookUp))
            .no_proxy();
        if via == Via::Proxy {
            for proxy in options.proxies.made()? {
                builder = builder.proxy(proxy);
            }
        }
        Ok(builder)
    };
    let words = |error: reqwest::Error| {
        let error = error.without_url();
        match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    };
    let mut authorities = Vec::new();
    for path in &options.extra_authorities {
        authorities.extend(certificates(path)?);
    }
    match trust {
        // No certificate is needed, so none is read.
        Trust::Plain => builder()?.tls_certs_only([]).build().map_err(words),
        Trust::Anyone => builder()?
            .tls_danger_accept_invalid_certs(true)
            .build()
            .map_err(words),
        Trust::System => verified(builder()?, builder()?, &authorities).map_err(words),
        Trust::Host(host) => {
            let directory = certificate_directory(&options.certificate_directories, host)
                .ok_or_else(|| format!("the certificates for {host} are gone"))?;
            let HostCertificates { roots, identity } = HostCertificates::read(&directory)?;
            authorities.extend(roots);
            let identified = || {
                let builder = builder()?;
                Ok::<_, String>(match &identity {
                    Some(identity) => builder.identity(identity.clone()),
                    None => builder,
                })
            };
            verified(identified()?, identified()?, &authorities).map_err(words)
        }
    }
    .map_err(|reason| format!("cannot set up connections: {reason}"))
}

/// Builds a client that trusts the system's authorities and `extra` ones.
///
/// A machine without a CA bundle (an empty container, say) falls back to Mozilla's list.
fn verified(
    builder: reqwest::ClientBuilder,
    fallback: reqwest::ClientBuilder,
    extra: &[Certificate],
) -> Result<reqwest::Client, reqwest::Error> {
    builder
        .tls_certs_merge(extra.iter().cloned())
        .build()
        .or_else(|_| {
            let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS
                .iter()
                .filter_map(|der| Certificate::from_der(der).ok());
            fallback
                .tls_certs_only(mozilla.chain(extra.iter().cloned()))
                .build()
        })
}

/// What `certs.d/<host>` holds: `*.crt` authorities, and pairs of `*.cert` and `*.key`.
struct HostCertificates {
    roots: Vec<Certificate>,
    identity: Option<Identity>,
}

impl HostCertificates {
    fn read(directory: &Path) -> Result<Self, String> {
        let failed = |error| format!("{}: {error}", directory.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            paths.push(entry.map_err(failed)?.path());
        }
        paths.sort();
        let mut found = Self {
            roots: Vec::new(),
            identity: None,
        };
        for path in &paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => found.roots.extend(certificates(path)?),
                Some("cert") if found.identity.is_none() => {
                    let mut pem = read(path)?;
                    pem.push(b'\n');
                    pem.extend(read(&path.with_extension("key"))?);
                    let identity = Identity::from_pem(&pem)
                        .map_err(|_| format!("{}: not a client certificate", path.display()))?;
                    found.identity = Some(identity);
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    Certificate::from_pem_bundle(&read(path)?)
        .map_err(|_| format!("{}: not a certificate in PEM form", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
