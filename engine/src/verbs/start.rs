//! Starting a container again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kiln_containers::{
    Container, ContainerError, ContainerId, ContainerName, Containers, Held, Removal, SignalNumber,
    Spec,
};
use kiln_files::GuestPath;
use kiln_oci::{Image, ImageRef, Platform, RunConfig, Timestamp};
use kiln_registry::Client;
use kiln_runtime::{
    Access, Changes, EtcFile, Job, Mount, MountSource, Network, Process, ProcessUser, Resources,
    Root, Streams, Ulimit, hosts_text,
};
use kiln_snapshotter::{ParentView, find_identity, lower_directories};

use crate::base_layers;
use crate::base_layers::Watcher;
use crate::containers::container_error;
use crate::images;
use crate::local_image::platform_of;
use crate::outside::Outside;
use crate::resolvers::{RESOLV_CONF, RESOLV_CONF_OF_HOST, host_resolvers};
use crate::stores::Stores;
use crate::{Error, LayerProgress};

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
