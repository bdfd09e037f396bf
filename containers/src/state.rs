//! What a container is, and what has become of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kiln_oci::Timestamp;
use serde::{Deserialize, Serialize};

use crate::frames::Framing;
use crate::{ContainerId, SignalNumber};
use kiln_runtime::{Job, Root, Streams, Writable};

/// Everything decided when a container was made. Never changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Its id.
    pub id: ContainerId,
    /// When it was made.
    pub created: Timestamp,
    /// The image as the user called it.
    pub image: String,
    /// The digest of the image's configuration.
    pub image_id: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it runs.
    pub job: Job,
    /// How it is asked to stop.
    pub stop_signal: SignalNumber,
    /// How long it is given to do so.
    pub stop_timeout: Duration,
    /// What becomes of it when its process ends.
    pub removal: Removal,
    /// What the caller wants to remember.
    pub details: serde_json::Value,
}

impl Spec {
    /// Returns how the streams share a connection.
    pub(crate) fn framing(&self) -> Framing {
        match self.job.process.streams {
            Streams::Terminal(_) => Framing::Raw,
            Streams::Output | Streams::Piped => Framing::Frames,
        }
    }

    /// Follows the container's directory to where it is now: all of the state directory may have
    /// been moved, or be mounted elsewhere.
    pub(crate) fn follow(&mut self, directory: &Path) {
        let Root::Layers {
            upper: Some(Writable { upper, .. }),
            ..
        } = &self.job.root
        else {
            return;
        };
        // The state directory is two floors above a container's own.
        let home = |directory: &Path| directory.ancestors().nth(2).map(Path::to_owned);
        let former = upper.parent().and_then(home);
        if let (Some(former), Some(current)) = (former, home(directory))
            && former != current
        {
            self.job.move_files(&former, &current);
        }
    }
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

/// How far a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended, or could not be started.
    Exited,
}

/// What has become of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How far it has come.
    pub status: Status,
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

impl State {
    pub(crate) const CREATED: Self = Self {
        status: Status::Created,
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
            status: Status::Exited,
            process: None,
            exit_code: 137,
            error: Some("the monitor of the container was killed".to_owned()),
            ..self
        }
    }
}
