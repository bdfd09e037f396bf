//! What the user asked for when a container was made, under the names that Docker gives it.
//!
//! Members that kiln does not know are kept. What runs is made of this at each start (`job`), so
//! that what may differ from start to start is looked at then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kiln_oci::{RunConfig, Timestamp};
use kiln_runtime::{
    DEFAULT_SHM_SIZE_BYTES, OuterProc, ProcessUser, Resources, Streams, Ulimit, WindowSize,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::frames::Framing;
use crate::{ContainerId, SignalNumber};

/// Docker's default.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything decided when a container was made. Never changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Spec {
    /// Its id.
    pub id: ContainerId,
    /// When it was made.
    pub created: Timestamp,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The digest of the image's configuration.
    #[serde(rename = "Image")]
    pub image_id: String,
    /// What of it would be the same on another machine.
    pub config: ContainerConfig,
    /// What of it concerns this machine.
    pub host_config: HostConfig,
    /// The image's manifest, with its platform.
    #[serde(default)]
    pub image_manifest_descriptor: Value,
    /// What Docker has no name for.
    #[serde(rename = "Kiln")]
    pub own: OwnFacts,
}

/// What of a container would be the same on another machine: Docker's `Config`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// The name it sees as its host's.
    pub hostname: String,
    /// Whether its streams are a terminal.
    pub tty: bool,
    /// Whether it has input.
    pub open_stdin: bool,
    /// Whether its input ends with that of the first client that is attached.
    pub stdin_once: bool,
    /// The image as the user called it.
    pub image: String,
    /// Seconds that it is given to end.
    pub stop_timeout: Option<u64>,
    /// What images say too: the image's own, with what the user changed of it. The environment is
    /// the whole of it.
    #[serde(flatten)]
    pub run: RunConfig,
    /// Members that kiln does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What of a container concerns the machine it runs on: Docker's `HostConfig`. Numbers that are 0
/// are no limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// `host:container[:ro]`.
    pub binds: Vec<String>,
    /// `host` or `none`.
    pub network_mode: String,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: u64,
    /// Lines and columns of its terminal at the start.
    pub console_size: [u16; 2],
    /// Resource limits of its first process.
    pub ulimits: Vec<UlimitConfig>,
    /// Bytes.
    pub memory: i64,
    /// Bytes, with memory; -1 is unlimited.
    pub memory_swap: i64,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds.
    pub cpu_quota: i64,
    /// Such as `0-3,5`.
    pub cpuset_cpus: String,
    /// Likewise.
    pub cpuset_mems: String,
    /// Number of processes.
    pub pids_limit: Option<i64>,
    /// The control group under which it has one of its own.
    pub cgroup_parent: String,
    /// Members that kiln does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            binds: Vec::new(),
            network_mode: "host".to_owned(),
            auto_remove: false,
            extra_hosts: Vec::new(),
            shm_size: DEFAULT_SHM_SIZE_BYTES,
            console_size: [24, 80],
            ulimits: Vec::new(),
            memory: 0,
            memory_swap: 0,
            cpu_shares: 0,
            cpu_period: 0,
            cpu_quota: 0,
            cpuset_cpus: String::new(),
            cpuset_mems: String::new(),
            pids_limit: None,
            cgroup_parent: String::new(),
            other: BTreeMap::new(),
        }
    }
}

/// A resource limit as Docker writes it; -1 is unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UlimitConfig {
    /// Which, as on the command line.
    pub name: String,
    /// The limit in force.
    pub soft: i64,
    /// How far it may be raised.
    pub hard: i64,
}

/// What kiln has to know besides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OwnFacts {
    /// The image's layers, unpacked, the topmost first. On disk those in the state directory are
    /// relative to it: all of it may be moved, or be mounted elsewhere.
    pub layers: Vec<PathBuf>,
    /// Whom `Config.User` stands for in the image.
    pub user: ProcessUser,
    /// What is at `/proc` where it cannot be what it should be.
    #[serde(default)]
    pub outer_proc: OuterProc,
}

/// What becomes of a container whose process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// It stays until it is removed.
    ByHand,
    /// It is removed at once.
    Automatic,
}

impl Spec {
    /// Returns the program and its arguments.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let program = std::iter::once(&self.path);
        program.chain(&self.args).cloned().collect()
    }

    /// Returns how it is asked to stop.
    #[must_use]
    pub fn stop_signal(&self) -> SignalNumber {
        // A text that is no signal was refused when the container was made.
        self.config
            .run
            .stop_signal
            .parse()
            .unwrap_or(SignalNumber::TERM)
    }

    /// Returns how long it is given to do so.
    #[must_use]
    pub fn stop_timeout(&self) -> Duration {
        self.config
            .stop_timeout
            .map_or(STOP_TIMEOUT, Duration::from_secs)
    }

    /// Returns what becomes of it when its process ends.
    #[must_use]
    pub fn removal(&self) -> Removal {
        if self.host_config.auto_remove {
            Removal::Automatic
        } else {
            Removal::ByHand
        }
    }

    /// Returns its labels.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.config.run.labels
    }

    /// Returns how its streams share a connection.
    pub(crate) fn framing(&self) -> Framing {
        if self.config.tty {
            Framing::Raw
        } else {
            Framing::Frames
        }
    }
}

impl ContainerConfig {
    /// Notes what the standard streams are.
    pub fn set_streams(&mut self, streams: Streams) {
        self.tty = matches!(streams, Streams::Terminal(_));
        self.open_stdin = streams == Streams::Piped;
        self.stdin_once = self.open_stdin;
    }

    /// Returns what the standard streams are.
    pub(crate) fn streams(&self, console_size: [u16; 2]) -> Streams {
        let [rows, columns] = console_size;
        match (self.tty, self.open_stdin) {
            (true, _) => Streams::Terminal(WindowSize { rows, columns }),
            (false, true) => Streams::Piped,
            (false, false) => Streams::Output,
        }
    }
}

impl HostConfig {
    /// Notes limits of all its processes together.
    pub fn set_resources(&mut self, resources: &Resources) {
        let number = |limit: Option<u64>| limit.unwrap_or(0).cast_signed();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        self.memory = number(resources.memory_bytes);
        self.memory_swap = number(resources.memory_and_swap_bytes);
        self.cpu_shares = number(resources.cpu_shares);
        self.cpu_period = number(resources.cpu_period_microseconds);
        self.cpu_quota = number(resources.cpu_quota_microseconds);
        self.cpuset_cpus = text(&resources.cpuset_cpus);
        self.cpuset_mems = text(&resources.cpuset_mems);
        self.pids_limit = resources.pids.map(u64::cast_signed);
        self.cgroup_parent = text(&resources.parent);
    }

    /// Returns limits of all its processes together.
    pub(crate) fn resources(&self) -> Resources {
        let number = |limit: i64| Some(limit.cast_unsigned()).filter(|limit| *limit != 0);
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Resources {
            memory_bytes: number(self.memory),
            memory_and_swap_bytes: number(self.memory_swap),
            cpu_shares: number(self.cpu_shares),
            cpu_period_microseconds: number(self.cpu_period),
            cpu_quota_microseconds: number(self.cpu_quota),
            cpuset_cpus: text(&self.cpuset_cpus),
            cpuset_mems: text(&self.cpuset_mems),
            // Docker's none is no limit either.
            pids: self
                .pids_limit
                .filter(|limit| *limit > 0)
                .map(i64::cast_unsigned),
            parent: text(&self.cgroup_parent),
        }
    }
}

impl From<&Ulimit> for UlimitConfig {
    fn from(limit: &Ulimit) -> Self {
        let number = |limit: Option<u64>| limit.map_or(-1, u64::cast_signed);
        Self {
            name: limit.resource.as_str().to_owned(),
            soft: number(limit.soft),
            hard: number(limit.hard),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_are_not_known_are_kept() {
        let text = r#"{
            "Id": "e10ba11f70c199c508660a2e601a2c256ff093798eddfd8e35d1d2a7b9980d51",
            "Created": "2026-12-02T05:41:32Z",
            "Path": "sh",
            "Args": [],
            "Image": "sha256:1",
            "Config": {"Image": "app", "Env": ["A=b"], "Domainname": "d", "MacAddress": null},
            "HostConfig": {"NetworkMode": "none", "DnsOptions": ["ndots:1"]},
            "Kiln": {"Layers": ["layers/x"], "User": {"uid": 1, "gid": 2, "groups": []}}
        }"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        assert_eq!(spec.config.run.env, ["A=b"]);
        assert_eq!(spec.config.other["Domainname"], "d");
        let again = serde_json::to_value(&spec).unwrap();
        assert_eq!(again["Config"]["Domainname"], "d");
        assert_eq!(again["Config"]["MacAddress"], Value::Null);
        assert_eq!(again["Config"]["Env"][0], "A=b");
        assert_eq!(again["HostConfig"]["DnsOptions"][0], "ndots:1");
        // Members that are missing have Docker's default.
        assert_eq!(spec.host_config.shm_size, DEFAULT_SHM_SIZE_BYTES);
        assert_eq!(spec.stop_timeout(), STOP_TIMEOUT);
    }

    #[test]
    fn limits_survive_being_stored() {
        let resources = Resources {
            memory_bytes: Some(64 << 20),
            memory_and_swap_bytes: Some(u64::MAX),
            cpu_shares: Some(512),
            cpuset_cpus: Some("0-1".to_owned()),
            pids: Some(7),
            parent: Some("/p".to_owned()),
            ..Resources::default()
        };
        let mut host_config = HostConfig::default();
        host_config.set_resources(&resources);
        assert_eq!(host_config.memory_swap, -1);
        let text = serde_json::to_string(&host_config).unwrap();
        let again: HostConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(again.resources(), resources);
        assert!(HostConfig::default().resources().is_unlimited());
    }
}
