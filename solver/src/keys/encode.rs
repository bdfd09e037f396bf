//! How operations are fed to a hasher.
//!
//! Each takes its value apart, so that a new field cannot be forgotten.

use kiln_oci::Platform;
use kiln_parser::mount::FileOwner;
use kiln_tree::{Encode, Encoder};

use crate::graph::{
    Access, Archives, CopyLayout, CopyOp, FileSource, Network, Presence, RunDevice, RunMount,
    RunMountKind, RunOp, SecretVariable, Security, Wildcards, WorkdirOp,
};

impl Encode for CopyOp {
    fn encode(&self, encoder: &mut Encoder) {
        // What the paths select is not in here: their content's digest stands beside this one,
        // and holds every name that matters. Which of the digests belongs to which part is: what
        // comes later replaces what came earlier.
        let Self {
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
        } = self;
        encoder.number(parts.len() as u64);
        for part in parts {
            encoder
                .number(match part.source {
                    FileSource::Nothing => 0,
                    FileSource::Context(_) => 1,
                    FileSource::Step(_) => 2,
                })
                .flag(part.wildcards == Wildcards::Literal)
                .flag(part.archives == Archives::Unpack);
        }
        encoder
            .sequence(inline)
            .optional(time.map(|time| time.to_string()).as_ref())
            .value(destination)
            .flag(*into_directory)
            .optional(owner.as_ref())
            .optional(mode.as_ref().map(|mode| &mode.text))
            .sequence(excludes)
            .number(match layout {
                CopyLayout::Contents => 0,
                CopyLayout::Parents => 1,
                CopyLayout::InPlace => 2,
            })
            .flag(*link);
    }
}

impl Encode for RunOp {
    fn encode(&self, encoder: &mut Encoder) {
        let Self {
            argv,
            script,
            env,
            // Where a variable comes from makes no difference to the command.
            arguments: _,
            cwd,
            user,
            mounts,
            devices,
            secret_variables,
            hostname,
            network,
            extra_hosts,
            security,
            platform,
        } = self;
        encoder
            .sequence(argv)
            .optional(script.as_ref())
            .sequence(env)
            .value(cwd)
            .text(user)
            .sequence(mounts)
            .sequence(devices)
            .sequence(secret_variables)
            .text(hostname)
            .number(match network {
                Network::Default => 0,
                Network::Host => 1,
                Network::None => 2,
            })
            .sequence(extra_hosts)
            .flag(*security == Security::Insecure);
        encode_platform(platform, encoder);
    }
}

impl Encode for RunMount {
    fn encode(&self, encoder: &mut Encoder) {
        let Self { target, kind } = self;
        encoder.value(target);
        let is_read_only = |access: &Access| *access == Access::ReadOnly;
        let is_required = |presence: &Presence| *presence == Presence::Required;
        match kind {
            // What is shown is named beside this: by recipe or by content.
            RunMountKind::Bind { files: _, access } => {
                encoder.text("bind").flag(is_read_only(access));
            }
            // A cache changes how long a command takes, not what it makes: neither the name that it
            // was given nor what is in it counts. That it was given one does, as in BuildKit, and
            // so does what a command sees of an empty one.
            RunMountKind::Cache {
                id,
                sharing: _,
                owner,
                initial,
                inside,
                access,
            } => {
                if inside.is_root() {
                    encoder.text("cache")
                } else {
                    encoder.text("part of a cache").value(inside)
                };
                encoder.flag(is_read_only(access));
                let has_default_name = id.ends_with(&target.to_string());
                encoder.flag(has_default_name);
                if has_default_name {
                    encoder.text(id);
                }
                // Files of another step are named beside this.
                encoder.flag(initial.is_some());
                if initial.is_none() {
                    encode_owner(owner, encoder);
                }
            }
            RunMountKind::Tmpfs { size_bytes } => {
                encoder.text("tmpfs").flag(size_bytes.is_some());
                encoder.number(size_bytes.unwrap_or(0));
            }
            RunMountKind::Secret {
                id,
                owner,
                presence,
            } => {
                encoder.text("secret").text(id).flag(is_required(presence));
                encode_owner(owner, encoder);
            }
            RunMountKind::Ssh {
                id,
                owner,
                presence,
            } => {
                encoder.text("ssh").text(id).flag(is_required(presence));
                encode_owner(owner, encoder);
            }
        }
    }
}

impl Encode for RunDevice {
    fn encode(&self, encoder: &mut Encoder) {
        let Self { name, presence } = self;
        encoder.text(name).flag(*presence == Presence::Required);
    }
}

impl Encode for SecretVariable {
    fn encode(&self, encoder: &mut Encoder) {
        let Self { name, id, presence } = self;
        encoder
            .text(name)
            .text(id)
            .flag(*presence == Presence::Required);
    }
}

fn encode_owner(owner: &FileOwner, encoder: &mut Encoder) {
    encoder
        .number(u64::from(owner.mode))
        .number(u64::from(owner.uid))
        .number(u64::from(owner.gid));
}

impl Encode for WorkdirOp {
    fn encode(&self, encoder: &mut Encoder) {
        let Self { path, user, time } = self;
        encoder.value(path).text(user);
        if let Some(time) = time {
            encoder.text("time").number(time.seconds.cast_unsigned());
        }
    }
}

fn encode_platform(platform: &Platform, encoder: &mut Encoder) {
    encoder
        .text(&platform.os)
        .text(&platform.architecture)
        .text(&platform.variant);
}
