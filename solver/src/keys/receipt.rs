//! What went into a key, for people.
//!
//! Only what is in the key: the name of a cache mount is not, and a change of it explains nothing.
//! Default values are left out, so a missing ingredient has a meaning too.

use kiln_cache::Receipt;
use kiln_parser::mount::FileOwner;
use kiln_tree::Blake3;

use crate::graph::{
    Access, Archives, CopyLayout, CopyOp, Network, Op, Presence, Remote, RunMount, RunMountKind,
    RunOp, Security,
};

/// The ingredient that stands for the content of what a step reads besides its parent.
pub(crate) const FILES: &str = "files";
/// The ingredient that says what a command runs on.
pub(crate) const PLATFORM: &str = "platform";

/// Returns the receipt of an operation that reads this content besides its parent's files.
///
/// The steps it is made from are not in it: what these came to is told by the states that records
/// keep.
pub(crate) fn receipt(op: &Op, content: Option<Blake3>) -> Receipt {
    let mut receipt = Receipt::default();
    describe(op, &mut Said(&mut receipt));
    if let Some(content) = content {
        receipt.add(FILES, content.to_string());
    }
    receipt
}

fn describe(op: &Op, said: &mut Said<'_>) {
    match op {
        Op::From(from) => said.say("base", from.manifest.to_string()),
        Op::Remote(remote) => {
            let kind = match **remote {
                Remote::Download(_) => "URL",
                Remote::Repository(_) => "repository",
            };
            said.say(kind, remote.address());
        }
        Op::Workdir(workdir) => {
            said.say("path", workdir.path.to_string());
            said.say("user", &*workdir.user);
            let time = workdir.time.map(|time| time.to_string());
            said.say("time", time.unwrap_or_default());
        }
        Op::Copy(copy) => describe_copy(copy, said),
        Op::Run(run) => describe_run(run, said),
    }
}

fn describe_copy(copy: &CopyOp, said: &mut Said<'_>) {
    let CopyOp {
        parts,
        inline,
        time,
        destination,
        into_directory,
        owner,
        mode,
        excludes,
        layout,
        link,
    } = copy;
    let paths = parts.iter().flat_map(|part| &part.paths);
    let paths: Vec<&str> = paths.map(String::as_str).collect();
    said.say("paths", long(&paths.join(" ")));
    let unpacks = |part: &crate::graph::CopyPart| part.archives == Archives::Unpack;
    said.flag("archives", parts.iter().any(unpacks), "unpacked");
    for (name, content) in inline {
        said.say(format!("heredoc {name}"), long(content));
    }
    let time = time.map(|time| time.to_string());
    said.say("time", time.unwrap_or_default());
    said.say(
        "destination",
        if *into_directory && !destination.is_root() {
            format!("{destination}/")
        } else {
            destination.to_string()
        },
    );
    said.say("--chown", owner.as_deref().unwrap_or(""));
    let mode = mode.as_ref().map_or("", |mode| mode.text.as_str());
    said.say("--chmod", mode);
    said.say("--exclude", excludes.join(" "));
    said.flag("--parents", *layout == CopyLayout::Parents, "true");
    said.flag("--link", *link, "true");
}

fn describe_run(run: &RunOp, said: &mut Said<'_>) {
    said.say("command", long(&run.argv.join(" ")));
    if let Some((name, content)) = &run.script {
        said.say(format!("script {name}"), long(content));
    }
    for (name, value) in &run.env {
        let kind = if run.arguments.contains(name) {
            "ARG"
        } else {
            "ENV"
        };
        // Set to nothing is not the same as not set.
        said.0.add(format!("{kind} {name}"), long(value));
    }
    said.say("working directory", run.cwd.to_string());
    said.say("user", &*run.user);
    for mount in &run.mounts {
        said.say(format!("mount {}", mount.target), mount_text(mount));
    }
    for variable in &run.secret_variables {
        let secret = format!("secret {}{}", variable.id, need(variable.presence));
        said.say(format!("secret variable {}", variable.name), secret);
    }
    for device in &run.devices {
        let text = format!("allowed{}", need(device.presence));
        said.say(format!("device {}", device.name), text);
    }
    let is_usual = run.hostname == kiln_runtime::BUILD_HOSTNAME;
    said.flag("hostname", !is_usual, &run.hostname);
    match run.network {
        Network::Default => {}
        Network::Host => said.say("network", "host"),
        Network::None => said.say("network", "none"),
    }
    said.say("hosts added", run.extra_hosts.join(" "));
    said.flag("security", run.security == Security::Insecure, "insecure");
    said.say(PLATFORM, run.platform.to_string());
}

fn mount_text(mount: &RunMount) -> String {
    match &mount.kind {
        RunMountKind::Bind { files, access } => {
            format!("bind of {}, {}", files.path, use_of(*access))
        }
        RunMountKind::Cache { inside, access, .. } => {
            if inside.is_root() {
                format!("cache, {}", use_of(*access))
            } else {
                format!("{inside} of a cache, {}", use_of(*access))
            }
        }
        RunMountKind::Tmpfs { size_bytes: None } => "tmpfs".to_owned(),
        RunMountKind::Tmpfs {
            size_bytes: Some(bytes),
        } => format!("tmpfs of {bytes} bytes"),
        RunMountKind::Secret {
            id,
            owner,
            presence,
        } => format!("secret {id}{}, {}", need(*presence), owner_text(*owner)),
        RunMountKind::Ssh {
            id,
            owner,
            presence,
        } => format!("ssh agent {id}{}, {}", need(*presence), owner_text(*owner)),
    }
}

fn use_of(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "writable",
    }
}

fn need(presence: Presence) -> &'static str {
    match presence {
        Presence::Required => ", required",
        Presence::Optional => "",
    }
}

fn owner_text(owner: FileOwner) -> String {
    format!("{}:{} {:04o}", owner.uid, owner.gid, owner.mode)
}

/// Collects ingredients, without those that say nothing.
struct Said<'a>(&'a mut Receipt);

impl Said<'_> {
    fn say(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.add(name, value);
        }
    }

    fn flag(&mut self, name: &str, is_set: bool, value: &str) {
        if is_set {
            self.say(name, value);
        }
    }
}

/// Returns a short text itself and a long one's beginning and digest.
fn long(text: &str) -> String {
    /// Bytes. A receipt is read by people and by every look-up.
    const LONGEST: usize = 400;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(80).collect();
    format!("{start}… (blake3 {})", Blake3::of(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use kiln_files::GuestPath;
    use kiln_oci::Platform;

    use super::*;
    use crate::graph::{RunDevice, SecretVariable, StepId, StepPath};

    fn said(op: &Op) -> String {
        let receipt = receipt(op, None);
        let lines = receipt.0.iter();
        lines
            .map(|i| format!("{}: {}\n", i.name, i.value))
            .collect()
    }

    fn run() -> RunOp {
        RunOp {
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()],
            script: None,
            env: Vec::new(),
            arguments: Vec::new(),
            cwd: GuestPath::ROOT,
            user: String::new(),
            mounts: Vec::new(),
            devices: Vec::new(),
            secret_variables: Vec::new(),
            hostname: kiln_runtime::BUILD_HOSTNAME.to_owned(),
            network: Network::Default,
            extra_hosts: Vec::new(),
            security: Security::Sandbox,
            platform: Platform::new("linux", "amd64", ""),
        }
    }

    #[test]
    fn default_values_are_left_out_of_the_receipt() {
        insta::assert_snapshot!(said(&Op::Run(Box::new(run()))), @r"
        command: /bin/sh -c make
        working directory: /
        platform: linux/amd64
        ");
    }

    #[test]
    fn everything_in_the_key_is_said_in_words() {
        let mount = |target: &str, kind| RunMount {
            target: GuestPath::new(target),
            kind,
        };
        let owner = FileOwner {
            mode: 0o400,
            uid: 0,
            gid: 5,
        };
        let text = |text: &str| text.to_owned();
        let run = RunOp {
            env: vec![(text("PATH"), text("/bin")), (text("V"), String::new())],
            arguments: vec![text("V")],
            user: text("me"),
            mounts: vec![
                mount(
                    "/src",
                    RunMountKind::Bind {
                        files: StepPath {
                            step: None::<StepId>,
                            path: GuestPath::new("/a"),
                        },
                        access: Access::ReadOnly,
                    },
                ),
                mount(
                    "/root/.cache",
                    RunMountKind::Cache {
                        id: text("not in the key"),
                        sharing: kiln_parser::mount::Sharing::Shared,
                        owner,
                        initial: None,
                        inside: GuestPath::ROOT,
                        access: Access::ReadWrite,
                    },
                ),
                mount(
                    "/tmp",
                    RunMountKind::Tmpfs {
                        size_bytes: Some(1 << 20),
                    },
                ),
                mount(
                    "/run/secrets/token",
                    RunMountKind::Secret {
                        id: text("token"),
                        owner,
                        presence: Presence::Required,
                    },
                ),
                mount(
                    "/agent",
                    RunMountKind::Ssh {
                        id: text("default"),
                        owner,
                        presence: Presence::Optional,
                    },
                ),
            ],
            devices: vec![RunDevice {
                name: text("vendor.com/gpu=0"),
                presence: Presence::Optional,
            }],
            secret_variables: vec![SecretVariable {
                name: text("TOKEN"),
                id: text("token"),
                presence: Presence::Required,
            }],
            hostname: text("builder"),
            network: Network::None,
            extra_hosts: vec![text("db")],
            security: Security::Insecure,
            ..run()
        };
        insta::assert_snapshot!(said(&Op::Run(Box::new(run))), @r"
        command: /bin/sh -c make
        ENV PATH: /bin
        ARG V: 
        working directory: /
        user: me
        mount /src: bind of /a, read-only
        mount /root/.cache: cache, writable
        mount /tmp: tmpfs of 1048576 bytes
        mount /run/secrets/token: secret token, required, 0:5 0400
        mount /agent: ssh agent default, 0:5 0400
        secret variable TOKEN: secret token, required
        device vendor.com/gpu=0: allowed
        hostname: builder
        network: none
        hosts added: db
        security: insecure
        platform: linux/amd64
        ");
    }
}
