//! What docker's structures hold where JSON says nothing: templates may ask for it.

use serde_json::{Value, json};

/// Returns the empty description of an image.
#[must_use]
pub fn image() -> Value {
    json!({
        "RepoTags": [],
        "RepoDigests": [],
        "Manifests": [],
        "Created": "",
        "Author": "",
        "Comment": "",
        "Variant": "",
        "OsVersion": "",
        "Config": config(),
        "RootFS": {"Type": "", "Layers": []},
        "Descriptor": {"mediaType": "", "digest": "", "size": 0, "annotations": {}, "platform": null},
    })
}

/// Returns the empty description of a container.
#[must_use]
pub fn container() -> Value {
    let mut config = config();
    let own = json!({
        "Hostname": "",
        "Domainname": "",
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "StdinOnce": false,
        "Tty": false,
        "OpenStdin": false,
        "Image": "",
    });
    for (name, zero) in own.as_object().into_iter().flatten() {
        config[name] = zero.clone();
    }
    json!({
        "Args": [],
        "ExecIDs": [],
        "Mounts": [],
        "Platform": "",
        "State": {"Health": null},
        "Config": config,
        "HostConfig": {
            "Binds": [],
            "PidsLimit": null,
            "PortBindings": {},
            "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
            "VolumesFrom": [],
            "VolumeDriver": "",
            "CapAdd": [],
            "CapDrop": [],
            "Dns": [],
            "DnsOptions": [],
            "DnsSearch": [],
            "GroupAdd": [],
            "Links": [],
            "SecurityOpt": [],
            "Tmpfs": {},
            "Sysctls": {},
            "Devices": [],
        },
        // The address of the default bridge: the API had it until version 1.51.
        "NetworkSettings": {"IPAddress": "", "Gateway": "", "MacAddress": "", "Ports": {}, "Networks": {}},
    })
}

fn config() -> Value {
    json!({
        "User": "",
        "ExposedPorts": {},
        "Env": [],
        "Cmd": [],
        "Healthcheck": null,
        "ArgsEscaped": false,
        "Volumes": {},
        "WorkingDir": "",
        "Entrypoint": [],
        "OnBuild": [],
        "Labels": {},
        "StopSignal": "",
        "Shell": [],
    })
}
