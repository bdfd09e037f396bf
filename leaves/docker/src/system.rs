//! The program and its machine as `docker version` and `docker info` describe them.

use serde::Serialize;

/// What `version` shows. Scripts ask docker for the client's version or the server's: here they are
/// one.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionDescription {
    client: ProgramVersion,
    server: ProgramVersion,
    #[serde(flatten)]
    both: ProgramVersion,
}

/// Which program it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProgramVersion {
    /// Its version.
    pub version: String,
    /// The commit that it was made from; empty if it is not known.
    pub git_commit: String,
    /// The operating system it is for.
    pub os: String,
    /// The processor it is for, in Go's words.
    #[serde(rename = "Arch")]
    pub architecture: String,
}

impl VersionDescription {
    /// Describes a program that is client and server.
    #[must_use]
    pub fn of(program: &ProgramVersion) -> Self {
        Self {
            client: program.clone(),
            server: program.clone(),
            both: program.clone(),
        }
    }
}

/// What `info` shows of a machine, and of kiln on it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InfoDescription {
    /// The program's version.
    pub server_version: String,
    /// The state directory.
    pub docker_root_dir: String,
    /// How many images there are.
    pub images: usize,
    /// The kernel's release.
    pub kernel_version: String,
    /// Whether the user is another than root.
    pub rootless: bool,
    /// How far a user namespace can be reached.
    pub namespaces: String,
    /// What commands see of the processes of the machine.
    pub processes: String,
    /// How layers are put on top of each other.
    pub driver: String,
    /// The version of control groups; `none` if there are none.
    pub cgroup_version: String,
    /// Whether memory and processors can be limited.
    pub limits: String,
    /// The machine's processor.
    pub architecture: String,
    /// Its operating system.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// What to do about what is missing.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_is_client_and_server() {
        let program = ProgramVersion {
            version: "1.2".to_owned(),
            git_commit: "0a".to_owned(),
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
        };
        let shown = serde_json::to_string(&VersionDescription::of(&program)).unwrap();
        let one = r#""Version":"1.2","GitCommit":"0a","Os":"linux","Arch":"amd64""#;
        let all = format!(r#"{{"Client":{{{one}}},"Server":{{{one}}},{one}}}"#);
        assert_eq!(shown, all);
    }
}
