//! Starting a container again.

use std::fs;

use kiln_containers::Container;

use crate::resolvers::{RESOLV_CONF, RESOLV_CONF_OF_HOST, host_resolvers};

/// Gives a container that is to be started again the name servers that this machine has now,
/// unless it has changed its own.
pub fn renew_resolvers(container: &Container) {
    let [own, given] = [RESOLV_CONF, RESOLV_CONF_OF_HOST].map(|name| {
        let path = container.directory().join(name);
        (fs::read_to_string(&path).ok(), path)
    });
    let Some(now) = host_resolvers() else { return };
    if own.0.is_some() && own.0 == given.0 && own.0.as_ref() != Some(&now) {
        // If that fails, they stay what they were.
        let _ = fs::write(&own.1, &now).and_then(|()| fs::write(&given.1, &now));
    }
}
