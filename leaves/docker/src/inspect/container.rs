use kiln_oci::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// Go's zero time, which docker shows for what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A container as `docker container inspect` shows it.
#[derive(Clone, Debug)]
pub struct ContainerDescription {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// The program.
    pub path: String,
    /// The program's arguments.
    pub args: Vec<String>,
    /// What has become of it.
    pub state: StateDescription,
    /// The digest of the image's config.
    pub image_id: String,
    /// Its name.
    pub name: String,
    /// The operating system it is for.
    pub os: String,
    /// The image's manifest.
    pub image_manifest_descriptor: Value,
    /// The file that keeps its output.
    pub log_path: String,
    /// What concerns this machine, in docker's names.
    pub host_config: Value,
    /// `host`, or `none`.
    pub network_mode: String,
    /// What of the host it sees.
    pub mounts: Vec<MountPoint>,
    /// What would be the same on another machine, in docker's names.
    pub config: Value,
}

/// What has become of a container.
#[derive(Clone, Debug)]
pub struct StateDescription {
    /// Docker's word for it.
    pub status: &'static str,
    /// Whether its process runs.
    pub running: bool,
    /// Whether something in it was killed for want of memory.
    pub out_of_memory: bool,
    /// The process's id, while it runs.
    pub process: Option<u32>,
    /// The exit code of the last run.
    pub exit_code: u8,
    /// Why it could not be started.
    pub error: Option<String>,
    /// When it was started last.
    pub started: Option<Timestamp>,
    /// When it ended last.
    pub finished: Option<Timestamp>,
}

/// A directory or file of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountPoint {
    #[serde(rename = "Type")]
    kind: &'static str,
    source: String,
    destination: String,
    mode: String,
    #[serde(rename = "RW")]
    is_writable: bool,
    propagation: &'static str,
}

impl MountPoint {
    /// Reads a bind: `host:container[:options]`.
    #[must_use]
    pub fn of_bind(bind: &str) -> Option<Self> {
        let mut parts = bind.splitn(3, ':');
        let (source, destination) = (parts.next()?, parts.next()?);
        let mode = parts.next().unwrap_or_default();
        Some(Self {
            kind: "bind",
            source: source.to_owned(),
            destination: destination.to_owned(),
            mode: mode.to_owned(),
            is_writable: !mode.split(',').any(|option| option == "ro"),
            propagation: "rprivate",
        })
    }
}

impl Serialize for ContainerDescription {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let config = json!({
            "Env": [], "Cmd": null, "Labels": {}, "WorkingDir": "", "User": "",
        });
        let host_config = json!({
            "PortBindings": {},
            "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        });
        json!({
            "Id": self.id,
            "Created": self.created,
            "Path": self.path,
            "Args": self.args,
            "State": self.state,
            "Image": self.image_id,
            "Name": format!("/{}", self.name),
            "RestartCount": 0,
            "Platform": self.os,
            "ImageManifestDescriptor": self.image_manifest_descriptor,
            "LogPath": self.log_path,
            "HostConfig": filled(&self.host_config, host_config),
            "Mounts": self.mounts,
            "Config": filled(&self.config, config),
            "NetworkSettings": { "Networks": { &self.network_mode: {} }, "Ports": {} },
        })
        .serialize(serializer)
    }
}

impl Serialize for StateDescription {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = |time: Option<Timestamp>| time.map_or(NEVER.to_owned(), |time| time.to_string());
        json!({
            "Status": self.status,
            "Running": self.running,
            "Paused": false,
            "Restarting": false,
            "OOMKilled": self.out_of_memory,
            "Dead": false,
            "Pid": self.process.unwrap_or(0),
            "ExitCode": self.exit_code,
            "Error": self.error.as_deref().unwrap_or_default(),
            "StartedAt": time(self.started),
            "FinishedAt": time(self.finished),
        })
        .serialize(serializer)
    }
}

/// Returns an object with the members that docker always shows, where it lacks them.
fn filled(object: &Value, members: Value) -> Value {
    let mut filled = object.clone();
    if let (Value::Object(filled), Value::Object(members)) = (&mut filled, members) {
        for (name, value) in members {
            filled.entry(name).or_insert(value);
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_mounts() {
        let mount = MountPoint::of_bind("/host:/inside:ro,z").unwrap();
        let shown = serde_json::to_value(&mount).unwrap();
        let expected = json!({
            "Type": "bind", "Source": "/host", "Destination": "/inside", "Mode": "ro,z",
            "RW": false, "Propagation": "rprivate",
        });
        assert_eq!(shown, expected);
        assert!(MountPoint::of_bind("/host:/inside").unwrap().is_writable);
        assert_eq!(MountPoint::of_bind("/host"), None);
    }

    #[test]
    fn a_container_has_members_that_docker_always_shows() {
        let never = StateDescription {
            status: "created",
            running: false,
            out_of_memory: false,
            process: None,
            exit_code: 0,
            error: None,
            started: None,
            finished: None,
        };
        let container = ContainerDescription {
            id: "0a".to_owned(),
            created: Timestamp::EPOCH,
            path: "sh".to_owned(),
            args: Vec::new(),
            state: never,
            image_id: "sha256:1b".to_owned(),
            name: "web".to_owned(),
            os: "linux".to_owned(),
            image_manifest_descriptor: Value::Null,
            log_path: "/log".to_owned(),
            host_config: json!({ "Binds": ["/a:/b"] }),
            network_mode: "none".to_owned(),
            mounts: Vec::new(),
            config: json!({ "User": "7" }),
        };
        let shown = serde_json::to_value(&container).unwrap();
        assert_eq!(shown["Name"], "/web");
        assert_eq!(shown["State"]["StartedAt"], NEVER);
        assert_eq!(shown["State"]["Pid"], 0);
        assert_eq!(shown["HostConfig"]["RestartPolicy"]["Name"], "no");
        assert_eq!(shown["HostConfig"]["Binds"][0], "/a:/b");
        assert_eq!(shown["Config"]["User"], "7");
        assert_eq!(shown["Config"]["WorkingDir"], "");
        assert_eq!(shown["NetworkSettings"]["Networks"], json!({ "none": {} }));
    }
}
