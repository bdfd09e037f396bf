//! What `kiln inspect` shows of a container: the fields scripts ask docker for.

use kiln_containers::{Container, ContainerError, Removal, Spec, Status};
use kiln_oci::{Platform, Timestamp};
use kiln_runtime::{Access, MountSource, Streams};
use serde_json::{Value, json};

use super::words::{container_state, network_word};

/// Go's zero time, which docker shows for what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Returns what a container's image runs on, if that was noted.
pub(crate) fn platform_of(spec: &Spec) -> Option<Platform> {
    let platform = &spec.details["ImageManifestDescriptor"]["platform"];
    serde_json::from_value(platform.clone()).ok()
}

/// Describes a container.
pub(crate) fn describe(container: &Container) -> Result<Value, ContainerError> {
    let (spec, state) = (container.spec()?, container.state()?);
    let job = &spec.job;
    let time = |time: Option<Timestamp>| time.map_or(NEVER.to_owned(), |time| time.to_string());
    let env = job.process.env.iter();
    let env: Vec<String> = env.map(|(name, value)| format!("{name}={value}")).collect();
    let network = network_word(job.network);
    let (path, arguments) = match job.process.argv.split_first() {
        Some((path, arguments)) => (path.as_str(), arguments),
        None => ("", &[][..]),
    };
    let mounts: Vec<Value> = job
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Bind { path, .. } => Some(json!({
                "Type": "bind",
                "Source": path.display().to_string(),
                "Destination": mount.target.to_string(),
                "Mode": "",
                "RW": mount.access == Access::ReadWrite,
                "Propagation": "rprivate",
            })),
            _ => None,
        })
        .collect();
    let binds: Vec<String> = mounts
        .iter()
        .filter_map(|mount| {
            let (source, target) = (mount["Source"].as_str()?, mount["Destination"].as_str()?);
            Some(format!("{source}:{target}"))
        })
        .collect();
    // What the image and the command line said.
    let mut config = match &spec.details["Config"] {
        said @ Value::Object(_) => said.clone(),
        _ => json!({
            "User": format!("{}:{}", job.process.user.uid, job.process.user.gid),
            "Cmd": job.process.argv,
        }),
    };
    let own = json!({
        "Hostname": job.hostname,
        "Tty": matches!(job.process.streams, Streams::Terminal(_)),
        "OpenStdin": job.process.streams == Streams::Piped,
        "Env": env,
        "Image": spec.image,
        "WorkingDir": job.process.cwd.to_string(),
        "Labels": spec.labels,
        "StopSignal": spec.stop_signal.to_string(),
        "StopTimeout": spec.stop_timeout.as_secs(),
    });
    for (name, value) in own.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    let platform = platform_of(&spec).map_or("linux".to_owned(), |platform| platform.os);
    Ok(json!({
        "Id": spec.id.as_str(),
        "Created": spec.created.to_string(),
        "Path": path,
        "Args": arguments,
        "State": {
            "Status": container_state(&state, Timestamp::EPOCH).word(),
            "Running": state.status == Status::Running,
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
        "ImageManifestDescriptor": spec.details["ImageManifestDescriptor"],
        "LogPath": container.directory().join("log").display().to_string(),
        "HostConfig": {
            "Binds": binds,
            "NetworkMode": network,
            "PortBindings": {},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": spec.removal == Removal::Automatic,
            "ShmSize": job.shm_size_bytes,
            "Memory": job.resources.memory_bytes.unwrap_or(0),
            "CpuPeriod": job.resources.cpu_period_microseconds.unwrap_or(0),
            "CpuQuota": job.resources.cpu_quota_microseconds.unwrap_or(0),
            "PidsLimit": job.resources.pids,
        },
        "Mounts": mounts,
        "Config": config,
        "NetworkSettings": { "Networks": { network: {} }, "Ports": {} },
    }))
}
