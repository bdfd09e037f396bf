//! What the sandbox of every `RUN` gets from the build, besides what its step says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_runtime::{EtcFile, SecretBytes, Ulimit};

/// What every `RUN` of a build gets besides what its step says. None of it enters a key.
#[derive(Clone, Debug)]
pub struct SandboxContext {
    /// Variables that a step sees unless it sets them itself.
    pub proxies: Vec<(String, String)>,
    /// `--network` of the build.
    pub network: kiln_runtime::JobNetwork,
    /// `--add-host`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// `--shm-size`.
    pub shm_size_bytes: u64,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--resource` and its aliases.
    pub resources: kiln_runtime::Resources,
    /// What is found at `/etc/resolv.conf`.
    pub resolv_conf: EtcFile,
    /// Where vendors describe devices, lowest precedence first.
    pub device_directories: Vec<PathBuf>,
    /// Which devices may be used.
    pub devices: AllowedDevices,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, SecretBytes>,
}

/// The devices that a build may use (`--allow device`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedDevices {
    /// Every one.
    All,
    /// Those of these names, and those whose description allows every user.
    Named(Vec<String>),
}
