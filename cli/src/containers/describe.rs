//! What `kiln inspect` shows of a container: the fields scripts ask docker for.

use kiln_containers::{Container, ContainerError, ContainerStatus, Spec};
use kiln_oci::{Platform, Timestamp};
use serde_json::{Value, json};

use super::words::container_state;

/// Go's zero time, which docker shows for what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Returns what a container's image runs on, if that was noted.
pub(crate) fn platform_of(spec: &Spec) -> Option<Platform> {
    let platform = &spec.image_manifest_descriptor["platform"];
    serde_json::from_value(platform.clone()).ok()
}

/// Describes a container.
pub(crate) fn describe(container: &Container) -> Result<Value, ContainerError> {
    let (spec, state) = (container.spec()?, container.state()?);
    let time = |time: Option<Timestamp>| time.map_or(NEVER.to_owned(), |time| time.to_string());
    let binds = spec.host_config.binds.iter();
    let mounts: Vec<Value> = binds.filter_map(|text| mount(text)).collect();
    let mut config = serde_json::to_value(&spec.config).unwrap_or_default();
    fill(
        &mut config,
        json!({"Env": [], "Cmd": null, "Labels": {}, "WorkingDir": "", "User": ""}),
    );
    let mut host_config = serde_json::to_value(&spec.host_config).unwrap_or_default();
    let restart = json!({"Name": "no", "MaximumRetryCount": 0});
    fill(
        &mut host_config,
        json!({"PortBindings": {}, "RestartPolicy": restart}),
    );
    let network = &spec.host_config.network_mode;
    let platform = platform_of(&spec).map_or("linux".to_owned(), |platform| platform.os);
    Ok(json!({
        "Id": spec.id.as_str(),
        "Created": spec.created.to_string(),
        "Path": spec.path,
        "Args": spec.args,
        "State": {
            "Status": container_state(&state, Timestamp::EPOCH).word(),
            "Running": state.status == ContainerStatus::Running,
            "Paused": false,
            "Restarting": false,
            "OOMKilled": state.out_of_memory,
            "Dead": false,
            "Pid": state.process.unwrap_or(0),
            "ExitCode": state.exit_code,
            "Error": state.error.clone().unwrap_or_default(),
            "StartedAt": time(state.started),
            "FinishedAt": time(state.finished),
        },
        "Image": spec.image_id,
        "Name": format!("/{}", container.name()?),
        "RestartCount": 0,
        "Platform": platform,
        "ImageManifestDescriptor": spec.image_manifest_descriptor,
        "LogPath": container.directory().join("log").display().to_string(),
        "HostConfig": host_config,
        "Mounts": mounts,
        "Config": config,
        "NetworkSettings": { "Networks": { network: {} }, "Ports": {} },
    }))
}

/// Adds members that are not there.
fn fill(object: &mut Value, members: Value) {
    let (Value::Object(object), Value::Object(members)) = (object, members) else {
        return;
    };
    for (name, value) in members {
        object.entry(name).or_insert(value);
    }
}

/// Describes a bind.
fn mount(bind: &str) -> Option<Value> {
    let mut parts = bind.splitn(3, ':');
    let (source, target) = (parts.next()?, parts.next()?);
    let mode = parts.next().unwrap_or_default();
    Some(json!({
        "Type": "bind",
        "Source": source,
        "Destination": target,
        "Mode": mode,
        "RW": !mode.split(',').any(|option| option == "ro"),
        "Propagation": "rprivate",
    }))
}
