//! What a build is asked for besides the Dockerfile.

use std::collections::BTreeMap;

use kiln_oci::{Platform, Timestamp};

use super::names::NamedSource;
use crate::graph::Network;

/// What a build is asked for besides the Dockerfile.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// `--target`; the last stage if absent.
    pub target: Option<String>,
    /// `--build-arg`, values present.
    pub build_args: BTreeMap<String, String>,
    /// What the images are to run on; at least one.
    pub platforms: Vec<Platform>,
    /// What the build runs on.
    pub build_platform: Platform,
    /// `--label`, in order.
    pub labels: Vec<(String, String)>,
    /// What a `RUN` can reach that does not say so itself.
    pub network: Network,
    /// Names that `--add-host` makes known; what they stand for is no part of a step.
    pub extra_hosts: Vec<String>,
    /// `--build-context`, by [`context_name`](crate::context_name).
    pub contexts: BTreeMap<String, NamedSource>,
    /// The time of what `WORKDIR` makes (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<Timestamp>,
    /// `--allow`.
    pub allowed: Vec<Entitlement>,
}

/// What a `RUN` may do only if the user allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// `--network=host`
    NetworkHost,
    /// `--security=insecure`
    SecurityInsecure,
}
