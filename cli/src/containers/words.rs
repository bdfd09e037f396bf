//! What containers say of themselves, in docker's words.

use kiln_containers::{ContainerStatus, StoredState};
use kiln_docker::rows::ContainerState;
use kiln_oci::Timestamp;

/// Returns a state in docker's words. What has no time yet began, or ended, now.
pub(super) fn container_state(state: &StoredState, now: Timestamp) -> ContainerState {
    match state.status {
        ContainerStatus::Created => ContainerState::Created,
        ContainerStatus::Running => ContainerState::Running {
            since: state.started.unwrap_or(now),
        },
        ContainerStatus::Exited => ContainerState::Exited {
            code: state.exit_code,
            at: state.finished.unwrap_or(now),
        },
    }
}

/// Says that the end of a log is missing.
pub(super) fn lost_lines(count: u64) -> String {
    format!("the log lacks its last {count} lines: the disk was full")
}
