//! What has become of a container.

use kiln_oci::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerStatus {
    /// Never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended, or could not be started.
    Exited,
}

/// What has become of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredState {
    /// How far it has come.
    pub status: ContainerStatus,
    /// The process's id, while it runs, as its monitor sees it.
    pub process: Option<u32>,
    /// When the process was started last.
    pub started: Option<Timestamp>,
    /// When it ended last.
    pub finished: Option<Timestamp>,
    /// Its exit code, as a shell would see it.
    pub exit_code: u8,
    /// Whether something in it was killed for want of memory.
    pub out_of_memory: bool,
    /// Why it could not be started, or that its monitor died.
    pub error: Option<String>,
    /// Lines of its output that its log lacks at its end.
    #[serde(default)]
    pub lost_log_lines: u64,
}

impl StoredState {
    pub(crate) const CREATED: Self = Self {
        status: ContainerStatus::Created,
        process: None,
        started: None,
        finished: None,
        exit_code: 0,
        out_of_memory: false,
        error: None,
        lost_log_lines: 0,
    };

    /// A monitor that is killed takes the process with it and can write nothing any more.
    pub(crate) fn abandoned(self) -> Self {
        Self {
            status: ContainerStatus::Exited,
            process: None,
            exit_code: 137,
            error: Some("the monitor of the container was killed".to_owned()),
            ..self
        }
    }
}
