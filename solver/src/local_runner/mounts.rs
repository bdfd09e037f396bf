//! What a `RUN` finds mounted: files of other steps, caches, secrets, agents.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kiln_cache::{CacheAttempt, CacheCopy, CacheMount, CacheSharing, CacheStart, take_cache_mount};
use kiln_files::GuestPath;
use kiln_parser::mount::{FileOwner, Sharing};
use kiln_runtime::{Job, JobMount, JobRoot, MountSource, SecretBytes};
use kiln_snapshotter::{Layer, Reflink, Snapshotter as _, Writable};
use kiln_tree::{Blake3, LayerId};

use super::parts::LocalRunner;
use super::root::root;
use crate::agent::AgentSocket;
use crate::cache_mounts::{InitialContent, cache_key};
use crate::copy::{CopySelectError, WriteError};
use crate::files::{Files as _, resolve_in};
use crate::graph::{self, Access, Presence, RunMountKind, RunOp, StepPath};
use crate::runner::ChainProcess;
use crate::step_error::StepError;
use crate::step_trees::{LocalStack, Sources};
use crate::waiting::wait;

/// The variable that programs find an agent's socket by.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// What must not be dropped before the command has ended.
#[derive(Debug, Default)]
pub(super) struct MountGuards {
    roots: Vec<Writable>,
    caches: BTreeMap<Blake3, CacheMount>,
    sockets: Vec<Box<dyn AgentSocket>>,
}

/// Adds the mounts and the secret variables of a step to its job. What is returned must outlive
/// the command.
pub(super) fn add(
    runner: &LocalRunner<'_>,
    process: &ChainProcess<'_>,
    below: &LocalStack<'_>,
    sources: &Sources<'_>,
    job: &mut Job,
) -> Result<MountGuards, StepError> {
    let run = process.run;
    let mut kept = MountGuards {
        caches: take_caches(runner, process, sources)?,
        ..MountGuards::default()
    };
    // The later one of two at one place wins.
    let mounts: BTreeMap<&GuestPath, &RunMountKind> = run
        .mounts
        .iter()
        .map(|mount| (&mount.target, &mount.kind))
        .collect();
    for (target, kind) in mounts {
        let mounted = match kind {
            RunMountKind::Bind { files, access } => {
                let (writable, source) = bind(runner, files, sources, *access)?;
                kept.roots.push(writable);
                Some((source, *access))
            }
            RunMountKind::Cache {
                id,
                owner,
                initial,
                inside,
                access,
                ..
            } => {
                let key = key_of(id, *owner, initial.as_ref(), sources);
                let source = MountSource::Bind {
                    path: kept.caches[&key].path().to_owned(),
                    inside: inside.clone(),
                };
                Some((source, *access))
            }
            RunMountKind::Tmpfs { size_bytes } => {
                let source = MountSource::Tmpfs {
                    size_bytes: *size_bytes,
                    mode: tmpfs_mode(below, target)?,
                };
                Some((source, Access::ReadWrite))
            }
            RunMountKind::Secret {
                id,
                owner,
                presence,
            } => secret(runner, id, *presence)?
                .map(|value| (secret_file(value, *owner), Access::ReadOnly)),
            RunMountKind::Ssh {
                id,
                owner,
                presence,
            } => agent(runner, id, *owner, *presence)?.map(|socket| {
                let source = bind_whole(socket.path());
                kept.sockets.push(socket);
                (source, Access::ReadWrite)
            }),
        };
        if let Some((source, access)) = mounted {
            job.mounts.push(JobMount {
                target: target.clone(),
                source,
                access: match access {
                    Access::ReadOnly => kiln_runtime::MountAccess::ReadOnly,
                    Access::ReadWrite => kiln_runtime::MountAccess::ReadWrite,
                },
            });
        }
    }
    variables(runner, run, &mut job.process.env)?;
    Ok(kept)
}

/// Returns the mode of the directory that a tmpfs hides. Where the image has no such directory,
/// every user may write.
fn tmpfs_mode(below: &LocalStack<'_>, target: &GuestPath) -> Result<u32, StepError> {
    let target = resolve_in(below, target).map_err(CopySelectError::from)?;
    let hidden = below.get(target.as_bytes());
    let hidden = hidden.filter(kiln_tree::Entry::is_directory);
    Ok(hidden.map_or(0o1777, |directory| u32::from(directory.mode)))
}

/// Adds the variables that hold secrets or lead to an agent.
fn variables(
    runner: &LocalRunner<'_>,
    run: &RunOp,
    env: &mut Vec<(String, String)>,
) -> Result<(), StepError> {
    for variable in &run.secret_variables {
        if let Some(value) = secret(runner, &variable.id, variable.presence)? {
            let value = String::from_utf8_lossy(value.expose()).into_owned();
            env.push((variable.name.clone(), value));
        }
    }
    let is_agent = |mount: &&graph::RunMount| matches!(mount.kind, RunMountKind::Ssh { .. });
    if let Some(mount) = run.mounts.iter().find(is_agent)
        && !env.iter().any(|(name, _)| name == AGENT_VARIABLE)
    {
        env.push((AGENT_VARIABLE.to_owned(), mount.target.to_string()));
    }
    Ok(())
}

/// Makes a part of a step's files reachable. What the command writes there is thrown away.
fn bind(
    runner: &LocalRunner<'_>,
    files: &StepPath,
    sources: &Sources<'_>,
    access: Access,
) -> Result<(Writable, MountSource), StepError> {
    let layers = sources.step(files.step).map_or(&[][..], LocalStack::layers);
    let writable = runner
        .snapshotter
        .prepare(layers)
        .map_err(WriteError::from)?;
    let source = match root(&writable) {
        JobRoot::Directory(path) => MountSource::Bind {
            path,
            inside: files.path.clone(),
        },
        JobRoot::Layers { lowers, upper } => MountSource::Layers {
            lowers,
            inside: files.path.clone(),
            scratch: upper.filter(|_| access == Access::ReadWrite),
        },
    };
    Ok((writable, source))
}

fn bind_whole(path: &Path) -> MountSource {
    MountSource::Bind {
        path: path.to_owned(),
        inside: GuestPath::ROOT,
    }
}

/// Takes every cache that a step mounts, in the order of their keys: two steps with the same two
/// caches must not wait for each other.
fn take_caches(
    runner: &LocalRunner<'_>,
    process: &ChainProcess<'_>,
    sources: &Sources<'_>,
) -> Result<BTreeMap<Blake3, CacheMount>, StepError> {
    let mut wanted = BTreeMap::new();
    for mount in &process.run.mounts {
        if let RunMountKind::Cache {
            id,
            sharing,
            owner,
            initial,
            ..
        } = &mount.kind
        {
            let key = key_of(id, *owner, initial.as_ref(), sources);
            wanted
                .entry(key)
                .or_insert((*sharing, *owner, initial.as_ref()));
        }
    }
    let mut taken = BTreeMap::new();
    for (key, (sharing, owner, initial)) in wanted {
        let sharing = match sharing {
            Sharing::Shared => CacheSharing::Shared,
            Sharing::Private => CacheSharing::Private,
            Sharing::Locked => CacheSharing::Locked,
        };
        let fill = |path: &Path, copy: CacheCopy| {
            // What another machine left is used only while this machine has no copy of its own.
            if copy == CacheCopy::First
                && runner.cache_mounts.begin(key, path)? == InitialContent::Made
            {
                return Ok(());
            }
            match initial {
                Some(part) => fill_from(runner, part, sources, path),
                None => fill_empty(path, owner),
            }
        };
        let mut start = match process.begun {
            Some(begun) if begun.is_first(key) => CacheStart::Anew,
            _ => CacheStart::Warm,
        };
        let mount = loop {
            let attempt = take_cache_mount(runner.store, key, sharing, start, &fill);
            let attempt = attempt.map_err(|error| {
                if runner.layer_loader().is_cancelled() {
                    StepError::Cancelled
                } else {
                    StepError::Disk(error)
                }
            });
            match attempt? {
                CacheAttempt::Taken(mount) => break mount,
                CacheAttempt::Busy(lock) => {
                    drop(wait(lock, runner.stop)?);
                    start = CacheStart::Warm;
                }
                CacheAttempt::Read(lock) => drop(wait(lock, runner.stop)?),
            }
        };
        taken.insert(key, mount);
    }
    Ok(taken)
}

/// Returns what a cache of a step is found by.
fn key_of(id: &str, owner: FileOwner, initial: Option<&StepPath>, sources: &Sources<'_>) -> Blake3 {
    let below = initial.and_then(|part| sources.step(part.step));
    let layers = below.map_or(&[][..], LocalStack::layers);
    let layers: Vec<LayerId> = layers.iter().map(Layer::id).collect();
    cache_key(id, owner, initial, &layers)
}

fn fill_empty(path: &Path, owner: FileOwner) -> io::Result<()> {
    fs::create_dir(path)?;
    std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(owner.mode))
}

/// Copies a directory of another step.
fn fill_from(
    runner: &LocalRunner<'_>,
    part: &StepPath,
    sources: &Sources<'_>,
    path: &Path,
) -> io::Result<()> {
    let Some(below) = sources.step(part.step) else {
        return fs::create_dir(path);
    };
    let inside = resolve_in(below, &part.path).map_err(io::Error::other)?;
    let copy = Reflink::new(runner.layers)
        .prepare(below.layers())
        .map_err(io::Error::other)?;
    let kiln_snapshotter::WritableRoot::Directory(directory) = copy.root() else {
        unreachable!("a copy is a directory");
    };
    let inside = OsStr::from_bytes(inside.as_bytes());
    fs::rename(directory.join(inside), path)
}

fn secret<'a>(
    runner: &LocalRunner<'a>,
    id: &str,
    presence: Presence,
) -> Result<Option<&'a SecretBytes>, StepError> {
    match (runner.sandbox.secrets.get(id), presence) {
        (None, Presence::Required) => Err(StepError::Secret(id.to_owned())),
        (found, _) => Ok(found),
    }
}

fn secret_file(value: &SecretBytes, owner: FileOwner) -> MountSource {
    MountSource::File {
        content: value.clone(),
        mode: owner.mode,
        uid: owner.uid,
        gid: owner.gid,
    }
}

fn agent(
    runner: &LocalRunner<'_>,
    id: &str,
    owner: FileOwner,
    presence: Presence,
) -> Result<Option<Box<dyn AgentSocket>>, StepError> {
    let socket = runner.agents.open(id, owner).map_err(StepError::Disk)?;
    match (socket, presence) {
        (None, Presence::Required) => Err(StepError::Agent(id.to_owned())),
        (socket, _) => Ok(socket),
    }
}
