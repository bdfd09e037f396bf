//! What `kiln inspect` shows of a container: the fields scripts ask docker for.

use kiln_containers::{Container, ContainerError, ContainerStatus, Spec};
use kiln_docker::inspect::{ContainerDescription, MountPoint, StateDescription};
use kiln_oci::{Platform, Timestamp};

use super::words::container_state;

/// Returns what a container's image runs on, if that was noted.
pub(crate) fn platform_of(spec: &Spec) -> Option<Platform> {
    let platform = &spec.image_manifest_descriptor["platform"];
    serde_json::from_value(platform.clone()).ok()
}

/// Describes a container.
pub(crate) fn describe_container(
    container: &Container,
) -> Result<ContainerDescription, ContainerError> {
    let (spec, state) = (container.spec()?, container.state()?);
    let binds = spec.host_config.binds.iter();
    Ok(ContainerDescription {
        id: spec.id.as_str().to_owned(),
        created: spec.created,
        state: StateDescription {
            status: container_state(&state, Timestamp::EPOCH).word(),
            running: state.status == ContainerStatus::Running,
            out_of_memory: state.out_of_memory,
            process: state.process,
            exit_code: state.exit_code,
            error: state.error,
            started: state.started,
            finished: state.finished,
        },
        name: container.name()?.to_string(),
        os: platform_of(&spec).map_or("linux".to_owned(), |platform| platform.os),
        log_path: container.directory().join("log").display().to_string(),
        host_config: serde_json::to_value(&spec.host_config).unwrap_or_default(),
        mounts: binds.filter_map(|bind| MountPoint::of_bind(bind)).collect(),
        config: serde_json::to_value(&spec.config).unwrap_or_default(),
        network_mode: spec.host_config.network_mode,
        path: spec.path,
        args: spec.args,
        image_id: spec.image_id,
        image_manifest_descriptor: spec.image_manifest_descriptor,
    })
}
