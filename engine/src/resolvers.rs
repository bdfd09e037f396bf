//! What a container's `/etc/resolv.conf` is made from.

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
use crate::images;
use crate::local_image::platform_of;
use crate::outside::Outside;
use crate::stores::Stores;
use crate::{Error, LayerProgress};

/// What a container finds at `/etc/resolv.conf`: a copy, which is its own.
pub(crate) const RESOLV_CONF: &str = "resolv.conf";

/// The copy as it was given.
pub(crate) const RESOLV_CONF_OF_HOST: &str = "resolv.conf.host";

/// Returns this machine's `/etc/resolv.conf`, if it has one.
pub(crate) fn host_resolvers() -> Option<String> {
    let bytes = fs::read("/etc/resolv.conf").ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
