//! What to run and in which sandbox: plain values, decided by the caller.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use kiln_files::GuestPath;
use serde::{Deserialize, Serialize};

use crate::{JobDevice, Resources, SecretBytes, Streams, Ulimit, guest_path};

/// The hostname of every build step.
pub const BUILD_HOSTNAME: &str = "buildkitsandbox";

/// Where programs are looked for without a `PATH` (moby: `system.DefaultPathEnv`); also the `PATH` of
/// stages whose base sets none, and of containers.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes of `/dev/shm` unless the caller says otherwise.
pub const DEFAULT_SHM_SIZE_BYTES: u64 = 64 << 20;

/// One process, its root file system and everything it may see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The root file system.
    pub root: JobRoot,
    /// The process.
    pub process: Process,
    /// Mounts beside the built-in ones; applied in order of their targets. Of several with the same
    /// target the last one counts.
    pub mounts: Vec<JobMount>,
    /// Directories that are to be there; made (root, 0755) in the root and kept where they do not
    /// exist and no mount covers them.
    #[serde(default, with = "guest_path::several")]
    pub directories: Vec<GuestPath>,
    /// Devices beside the built-in ones.
    #[serde(default)]
    pub devices: Vec<JobDevice>,
    /// What the process can reach.
    pub network: JobNetwork,
    /// How far the process is trusted.
    pub security: JobSecurity,
    /// The name the process sees as its host's.
    pub hostname: String,
    /// What is found at `/etc/hosts`.
    pub hosts: EtcFile,
    /// What is found at `/etc/resolv.conf`.
    pub resolv_conf: EtcFile,
    /// What is found at `/etc/hostname`.
    pub hostname_file: EtcFile,
    /// What is at `/proc` where it cannot be what it should be.
    #[serde(default)]
    pub outer_proc: OuterProc,
    /// Bytes of `/dev/shm`.
    pub shm_size_bytes: u64,
    /// Resource limits of the process; the others are always the same.
    pub ulimits: Vec<Ulimit>,
    /// Limits of the process and all its children together.
    pub resources: Resources,
    /// What becomes of changes to layers.
    #[serde(default)]
    pub changes: RootChanges,
}

/// What becomes of the changes that a process makes to its root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootChanges {
    /// The caller makes something of them or throws them away: `fsync` is not worth its time.
    Passing,
    /// They stay where they are, and what is synced is on disk.
    #[default]
    Lasting,
}

impl Job {
    /// Describes a build step in the default sandbox.
    #[must_use]
    pub fn new(root: JobRoot, process: Process) -> Self {
        Self {
            root,
            process,
            mounts: Vec::new(),
            directories: Vec::new(),
            devices: Vec::new(),
            network: JobNetwork::Host,
            security: JobSecurity::Sandbox,
            hostname: BUILD_HOSTNAME.to_owned(),
            hosts: EtcFile::Text(hosts_text(BUILD_HOSTNAME, &[])),
            resolv_conf: EtcFile::File {
                path: PathBuf::from("/etc/resolv.conf"),
                access: MountAccess::ReadOnly,
            },
            hostname_file: EtcFile::Untouched,
            outer_proc: OuterProc::Refused,
            shm_size_bytes: DEFAULT_SHM_SIZE_BYTES,
            ulimits: Vec::new(),
            resources: Resources::default(),
            changes: RootChanges::Passing,
        }
    }
}

/// Returns the text of `/etc/hosts` for a hostname and further `(host, address)` pairs.
#[must_use]
pub fn hosts_text(hostname: &str, extra: &[(String, String)]) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (host, address) in extra {
        text.push_str(&format!("{address}\t{host}\n"));
    }
    text
}

/// Where the process finds its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobRoot {
    /// Layers merged by overlayfs.
    Layers {
        /// Unpacked layers, the topmost first.
        lowers: Vec<PathBuf>,
        /// Where changes go; without it the root is read-only.
        upper: Option<OverlayDirectories>,
    },
    /// A directory as it is, changed in place: for systems without overlayfs.
    Directory(PathBuf),
}

/// The two directories overlayfs writes to; both on one file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverlayDirectories {
    /// Receives the changes.
    pub upper: PathBuf,
    /// Scratch of the kernel; empty before the run.
    pub work: PathBuf,
}

/// A program with its arguments and circumstances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// The program, looked up in `PATH` of `env` if it has no slash, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment, in this order.
    pub env: Vec<(String, String)>,
    /// The working directory; made (root, 0755) if it does not exist.
    #[serde(with = "guest_path")]
    pub cwd: GuestPath,
    /// Who runs it.
    pub user: ProcessUser,
    /// What its standard streams are.
    pub streams: Streams,
}

impl Process {
    /// Describes a process of root in `/` with an empty environment and no input.
    #[must_use]
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: GuestPath::ROOT,
            user: ProcessUser::ROOT,
            streams: Streams::Output,
        }
    }
}

/// Numeric ids as seen inside the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids; the primary one is always among them.
    pub groups: Vec<u32>,
}

impl ProcessUser {
    /// Root, in no further group.
    pub const ROOT: Self = Self {
        uid: 0,
        gid: 0,
        groups: Vec::new(),
    };
}

/// Something made visible in the root at `target`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobMount {
    /// Where; resolved inside the root, created for the run if it does not exist.
    #[serde(with = "guest_path")]
    pub target: GuestPath,
    /// What.
    pub source: MountSource,
    /// Whether the process may write to it.
    pub access: MountAccess,
}

/// What a [`JobMount`] shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// The host's path.
        path: PathBuf,
        /// A path below it, resolved as if `path` were the root.
        #[serde(with = "guest_path")]
        inside: GuestPath,
    },
    /// A file or directory out of a stack of layers.
    Layers {
        /// Unpacked layers, the topmost first.
        lowers: Vec<PathBuf>,
        /// The path to show, resolved inside the stack.
        #[serde(with = "guest_path")]
        inside: GuestPath,
        /// Where writes go, to be thrown away by the caller; without it nothing is writable.
        scratch: Option<OverlayDirectories>,
    },
    /// A fresh file system in memory.
    Tmpfs {
        /// Limit, or the kernel's default of half the memory.
        size_bytes: Option<u64>,
        /// Mode of its top directory.
        mode: u32,
    },
    /// A file that exists only while the job runs, in memory that is never swapped out. It is
    /// read-only and not executable whatever [`JobMount::access`] says.
    ///
    /// A job with such a mount cannot be serialised: its content must not reach a disk.
    #[serde(skip)]
    File {
        /// What is in it.
        content: SecretBytes,
        /// Its mode.
        mode: u32,
        /// Its owner as seen inside.
        uid: u32,
        /// Its group as seen inside.
        gid: u32,
    },
}

/// Whether something may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountAccess {
    /// Reading only.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// What a process can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobNetwork {
    /// Whatever the caller's own network namespace reaches, which includes services of the host that
    /// listen on its loopback device or on an abstract unix socket.
    Host,
    /// Its own loopback device only.
    None,
}

impl JobNetwork {
    /// Says whether the process gets a network namespace of its own.
    #[must_use]
    pub fn has_own_namespace(self) -> bool {
        match self {
            Self::Host => false,
            Self::None => true,
        }
    }
}

/// The mode as docker stores it, which parses again.
impl fmt::Display for JobNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::None => "none",
        })
    }
}

/// Parses a network mode as docker spells it. There is no bridge: the default, also said by an empty
/// text, is the network that kiln is started in.
impl FromStr for JobNetwork {
    type Err = UnknownNetwork;

    fn from_str(mode: &str) -> Result<Self, UnknownNetwork> {
        match mode {
            "" | "default" | "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ => Err(UnknownNetwork(mode.to_owned())),
        }
    }
}

/// No network that kiln has is called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network mode {0:?} not supported: expected default, host or none")]
pub struct UnknownNetwork(pub String);

/// What a job gets where the kernel refuses it a `/proc` of its own ([`crate::proc_is_refused`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OuterProc {
    /// It is not run.
    #[default]
    Refused,
    /// The `/proc` around kiln, in which all processes are seen.
    Shown,
}

/// How far a process is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobSecurity {
    /// The default capabilities, the default system call filter, masked `/proc` and `/sys`.
    ///
    /// On the host's network those capabilities are not among them that concern a network's other
    /// users: `NET_RAW`, `NET_BIND_SERVICE`; nor is `AUDIT_WRITE`.
    Sandbox,
    /// Every capability the caller has, no filter, nothing masked, writable `/proc/sys`, `/sys` and
    /// control group, device nodes that work, and those of the host that programs ask for: kmsg,
    /// cuse, fuse, kvm, net/tun, loop devices, the device mapper.
    Insecure,
}

/// Contents of a file below `/etc` that the sandbox provides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EtcFile {
    /// This text, read-only.
    Text(String),
    /// A file of the host. Left out if it does not exist.
    File {
        /// The host's path.
        path: PathBuf,
        /// Whether the process may write to it.
        access: MountAccess,
    },
    /// Whatever the root has.
    Untouched,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_modes_parse_as_they_are_shown() {
        for (text, network) in [
            ("", JobNetwork::Host),
            ("default", JobNetwork::Host),
            ("host", JobNetwork::Host),
            ("none", JobNetwork::None),
        ] {
            assert_eq!(text.parse(), Ok(network), "{text:?}");
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        let error = "br0".parse::<JobNetwork>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "network mode \"br0\" not supported: expected default, host or none"
        );
    }

    #[test]
    fn hosts_lists_loopback_then_extra_hosts() {
        // docs/spec/dockerfile.md 10
        let extra = [("db".to_owned(), "10.0.0.7".to_owned())];
        assert_eq!(
            hosts_text("buildkitsandbox", &extra),
            "127.0.0.1\tlocalhost buildkitsandbox\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             10.0.0.7\tdb\n"
        );
    }

    #[test]
    fn jobs_round_trip_through_json() {
        let mut job = Job::new(
            JobRoot::Directory(PathBuf::from("/srv/root")),
            Process::new(["sh", "-c", "true"]),
        );
        job.process.cwd = GuestPath::new("/a/b");
        job.directories.push(GuestPath::new("/c/d"));
        job.mounts.push(JobMount {
            target: GuestPath::new("/t"),
            source: MountSource::Tmpfs {
                size_bytes: None,
                mode: 0o755,
            },
            access: MountAccess::ReadWrite,
        });
        let text = serde_json::to_string(&job).unwrap();
        let again: Job = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
        assert_eq!(again.process.cwd, GuestPath::new("/a/b"));
        assert_eq!(again.directories, [GuestPath::new("/c/d")]);
    }

    #[test]
    fn df_107_secrets_are_neither_stored_nor_shown() {
        let mut job = Job::new(
            JobRoot::Directory(PathBuf::from("/")),
            Process::new(["true"]),
        );
        job.mounts.push(JobMount {
            target: GuestPath::new("/run/secrets/key"),
            source: MountSource::File {
                content: SecretBytes::new(*b"hunter2"),
                mode: 0o400,
                uid: 0,
                gid: 0,
            },
            access: MountAccess::ReadOnly,
        });
        assert!(serde_json::to_vec(&job).is_err());
        let shown = format!("{job:?}");
        assert!(shown.contains("SecretBytes(..)"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("104, 117"),
            "{shown}"
        );
    }
}
