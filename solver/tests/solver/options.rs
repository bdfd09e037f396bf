//! What builds are asked for, unless a test says otherwise.

use std::collections::BTreeMap;

use kiln_solver::{Network, PlanOptions};

/// Returns the options of a plain build for a platform, on linux/amd64.
pub(super) fn options_for(platform: &str) -> PlanOptions {
    PlanOptions {
        target: None,
        build_args: BTreeMap::new(),
        platforms: vec![platform.parse().unwrap()],
        build_platform: "linux/amd64".parse().unwrap(),
        labels: Vec::new(),
        network: Network::Default,
        extra_hosts: Vec::new(),
        contexts: BTreeMap::new(),
        epoch: None,
        allowed: Vec::new(),
    }
}

/// As [`options_for`], for linux/amd64.
pub(super) fn options() -> PlanOptions {
    options_for("linux/amd64")
}
