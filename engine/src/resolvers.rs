//! What a container's `/etc/resolv.conf` is made from.

use std::fs;

/// What a container finds at `/etc/resolv.conf`: a copy, which is its own.
pub(crate) const RESOLV_CONF: &str = "resolv.conf";

/// The copy as it was given.
pub(crate) const RESOLV_CONF_OF_HOST: &str = "resolv.conf.host";

/// Returns this machine's `/etc/resolv.conf`, if it has one.
pub(crate) fn host_resolvers() -> Option<String> {
    let bytes = fs::read("/etc/resolv.conf").ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
