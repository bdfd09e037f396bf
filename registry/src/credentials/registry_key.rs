//! Under which names credentials of a registry are kept.

/// The key under which Docker files Docker Hub's credentials.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Names that all mean Docker Hub.
const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Returns the registry that a server's name or URL means, in the form image names use.
///
/// `https://ghcr.io/v2/` is `ghcr.io`; nothing, and all names of Docker Hub, are `docker.io`.
#[must_use]
pub fn registry_domain(server: &str) -> String {
    let host = host_of_key(server);
    if host.is_empty() || HUB_NAMES.contains(&host) {
        "docker.io".to_owned()
    } else {
        host.to_owned()
    }
}

/// Returns the host and port of a key that may be a URL or a repository.
pub(crate) fn host_of_key(key: &str) -> &str {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

/// Returns the name under which helpers and `auths` know a registry.
pub(crate) fn server_key(domain: &str) -> &str {
    match domain {
        "docker.io" => HUB_KEY,
        other => other,
    }
}
