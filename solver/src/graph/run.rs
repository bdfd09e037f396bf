//! `RUN`.

use kiln_files::GuestPath;
use kiln_oci::Platform;
use kiln_parser::mount::{FileOwner, Sharing};

use super::step_id::StepId;

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunOp {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// A script that is visible as `/dev/pipes/<name>` while it runs: name and content.
    pub script: Option<(String, String)>,
    /// The environment, in order. Proxies are not in it.
    pub env: Vec<(String, String)>,
    /// Which of the variables are build arguments: for people, not part of its key.
    pub arguments: Vec<String>,
    /// The working directory.
    pub cwd: GuestPath,
    /// The user as written; empty for root.
    pub user: String,
    /// What it finds mounted, in the order written.
    pub mounts: Vec<RunMount>,
    /// Devices of the host that it may use.
    pub devices: Vec<RunDevice>,
    /// Variables whose values are secrets.
    pub secret_variables: Vec<SecretVariable>,
    /// Its name as it sees it.
    pub hostname: String,
    /// What it can reach.
    pub network: Network,
    /// Names it finds in `/etc/hosts` beyond the usual ones.
    pub extra_hosts: Vec<String>,
    /// How far it is trusted.
    pub security: Security,
    /// What it runs on.
    pub platform: Platform,
}

/// One `--mount` of a `RUN`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunMount {
    /// Where; absolute and not the root.
    pub target: GuestPath,
    /// What.
    pub kind: RunMountKind,
}

impl RunMount {
    /// Returns the files of other steps that it shows, or begins with.
    #[must_use]
    pub fn files(&self) -> Option<&StepPath> {
        match &self.kind {
            RunMountKind::Bind { files, .. } => Some(files),
            RunMountKind::Cache { initial, .. } => initial.as_ref(),
            RunMountKind::Tmpfs { .. } | RunMountKind::Secret { .. } | RunMountKind::Ssh { .. } => {
                None
            }
        }
    }
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RunMountKind {
    /// Files of another step.
    Bind {
        /// The files; those of the context are a step of their own.
        files: StepPath,
        /// Whether the command may write; what it writes is lost.
        access: Access,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name, with `BUILDKIT_CACHE_MOUNT_NS` in front.
        id: String,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// Owner and mode of a new directory.
        owner: FileOwner,
        /// What a new directory holds.
        initial: Option<StepPath>,
        /// The part of it that is mounted.
        inside: GuestPath,
        /// Whether the command may write.
        access: Access,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Most bytes it may hold.
        size_bytes: Option<u64>,
    },
    /// A secret as a file.
    Secret {
        /// The secret.
        id: String,
        /// Owner and mode of the file.
        owner: FileOwner,
        /// Whether the build may lack it.
        presence: Presence,
    },
    /// An agent's socket.
    Ssh {
        /// The agent.
        id: String,
        /// Owner and mode of the socket.
        owner: FileOwner,
        /// Whether the build may lack it.
        presence: Presence,
    },
}

/// A part of a step's files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepPath {
    /// The step; none for an empty root.
    pub step: Option<StepId>,
    /// The path in it.
    pub path: GuestPath,
}

/// Whether something may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading only.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Whether a build may lack what a step asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// It may.
    Optional,
    /// It may not.
    Required,
}

/// A device that a vendor described for containers (CDI).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunDevice {
    /// Its name, `vendor.com/class=name`, or the name of its class.
    pub name: String,
    /// Whether the step can do without it.
    pub presence: Presence,
}

/// A variable whose value is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretVariable {
    /// Its name.
    pub name: String,
    /// The secret.
    pub id: String,
    /// Whether the build may lack it.
    pub presence: Presence,
}

/// What a `RUN` can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// What the whole build can.
    Default,
    /// The host's network, and the step says so.
    Host,
    /// Nothing.
    None,
}

/// How far a `RUN` is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// As any container.
    Sandbox,
    /// As kiln itself.
    Insecure,
}
