//! Prepares a job: makes everything that the new process will only have to put in place.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use kiln_files::GuestPath;
use kiln_snapshotter::overlay::{self, OverlaySpec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{Gid, Uid};

use super::builtin::{Steps, add_builtin_mounts};
use super::closing::AtEnd;
use super::context::{ExecutorContext, OwnStubs};
use super::detached::clone_tree;
use super::facts::JobFacts;
use super::groups::Groups;
use super::memory::memory_files;
use super::mounts::{MountContent, mount_step, source};
use super::nodes::{Given, OtherNodes, device_mounts, given_devices};
use super::report::Report;
use super::running::Running;
use super::sockets::Sockets;
use super::streams::streams;
use super::stubs::{ImageLayers, Stubs};
use crate::sys::{
    self, MountStep, Namespaces, PlaceKind, PlacePath, ProcessIds, ProcessSetup, ProgramArguments,
    Strings,
};
use crate::{
    EtcFile, ExecError, Job, JobMount, JobRoot, JobSecurity, RootChanges, Streams, capability,
};

/// When a process goes on to become the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProgramStart {
    /// As soon as its sandbox is made.
    AtOnce,
    /// When the caller releases it.
    WhenReleased,
}

/// Makes the sandbox of a job and starts its process.
pub(super) fn start(
    context: &ExecutorContext,
    job: &Job,
    beginning: ProgramStart,
) -> Result<Running, ExecError> {
    let program = job.process.argv.first().ok_or(ExecError::NoCommand)?;
    // Neither arguments nor variables: people pass secrets by them.
    tracing::debug!(program, mounts = job.mounts.len(), network = ?job.network, "a sandbox starts");
    let identity = identity(context, job)?;
    let given = given_devices(job)?;
    let (groups, warnings) = Groups::create(context, job, &given)?;
    let view = view(context, job, &given, groups.other_nodes())?;
    let (ours, theirs) = streams(job.process.streams, &view.terminals)?;
    let (report, their_report) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(ExecError::prepare("making a socket"))?;
    let words = ProgramWords::of(program, job)?;
    let cwd = working_directory(&job.process.cwd)?;
    let limits = context.limits.with(&job.ulimits);
    let sandbox = job.security == JobSecurity::Sandbox;
    let forbidden = if sandbox {
        capability::forbidden(job.network)
    } else {
        Vec::new()
    };

    let process = sys::spawn(
        &ProcessSetup {
            report: their_report.as_fd(),
            launcher: context.launcher.as_fd(),
            proc: context.proc.as_fd(),
            streams: theirs.each_ref().map(|stream| stream.as_fd()),
            controlling_terminal: matches!(job.process.streams, Streams::Terminal(_)),
            cgroups: &groups.procs_files(),
            unshare_cgroup: groups.are_entered(),
            root: view.steps.stubs.root(),
            mounts: &view.steps.steps,
            hostname: job.hostname.as_bytes(),
            loopback: job.network.has_own_namespace(),
            waits_for_go: beginning == ProgramStart::WhenReleased,
            limits: &limits,
            cwd: cwd.as_ref(),
            forbidden: &forbidden,
            filter: sandbox.then_some(context.filter.as_slice()),
            identity: &identity,
            capabilities: if sandbox {
                capability::sandbox(job.network) & context.own_capabilities
            } else {
                context.own_capabilities
            },
            candidates: &words.candidates,
            arguments: &words.arguments,
            env: &words.env,
        },
        Namespaces {
            network: job.network.has_own_namespace(),
            cgroup: !groups.are_entered(),
        },
        groups.directory(),
        &context.keeper,
    )
    .map_err(ExecError::start("cloning a process into new namespaces"))?;

    Ok(Running {
        process,
        report: Report::new(report),
        sockets: Sockets::new(identity.groups.is_some()),
        streams: ours,
        groups,
        warnings,
        facts: JobFacts {
            program: program.clone(),
            searched: !program.contains('/'),
            candidates: words.candidates,
            cwd: job.process.cwd.clone(),
            limits: job.ulimits.clone(),
            targets: view.steps.targets,
            stubs: view.steps.stubs,
            at_end: AtEnd::of(job),
            _own_stubs: view.own_stubs,
        },
    })
}

/// What a process will see.
struct View {
    steps: Steps,
    /// Where its terminal is opened.
    terminals: OwnedFd,
    own_stubs: Option<OwnStubs>,
}

/// Makes the root and all mounts, and the directories that are to be there.
fn view(
    context: &ExecutorContext,
    job: &Job,
    given: &[Given<'_>],
    others: OtherNodes,
) -> Result<View, ExecError> {
    let mounts = mounts_in_order(job);
    let mut memory = memory_files(context, &mounts)?.into_iter();
    let mounts = mounts
        .into_iter()
        .map(|mount| Ok((mount, source(context, others, mount, &mut memory)?)))
        .collect::<Result<Vec<_>, ExecError>>()?;
    let own_stubs = own_stubs(context, job, &mounts)?;
    let stubs_layer = own_stubs
        .as_ref()
        .map_or(context.stubs(), |own| own.0.clone());
    let root = root(job, others, stubs_layer)?;
    let mut steps = Steps::new(Stubs::new(root, image(job)));
    let terminals = add_builtin_mounts(context, job, others, &mut steps)?;
    for (target, mount) in device_mounts(context, given)? {
        let place = steps.place(target, PlaceKind::File)?;
        let step = MountStep::Attach {
            mount,
            target: place,
        };
        steps.push(target, step);
    }
    for (mount, source) in mounts {
        let target = steps.place(&mount.target, source.leaf)?;
        let step = mount_step(context, mount, source, target);
        steps.push(&mount.target, step);
    }
    for path in &job.directories {
        let made = steps.stubs.keep_directory(path);
        made.map_err(|errno| ExecError::Directory {
            path: path.clone(),
            source: errno.into(),
        })?;
    }
    Ok(View {
        steps,
        terminals,
        own_stubs,
    })
}

/// What is passed to the kernel with a program, in its form.
struct ProgramWords {
    /// The paths to try as the program.
    candidates: Strings,
    arguments: ProgramArguments,
    env: Strings,
}

impl ProgramWords {
    fn of(program: &str, job: &Job) -> Result<Self, ExecError> {
        let text = |what: &str| {
            let what = what.to_owned();
            move |_| ExecError::ZeroByte { what }
        };
        let pairs = job.process.env.iter();
        let env = pairs.map(|(name, value)| format!("{name}={value}"));
        let arguments = Strings::new(&job.process.argv).map_err(text("an argument"))?;
        Ok(Self {
            arguments: ProgramArguments::new(arguments),
            env: Strings::new(env).map_err(text("an environment variable"))?,
            candidates: Strings::new(candidates(program, job)).map_err(text("the program"))?,
        })
    }
}

/// Returns a job's mounts, outer ones before inner ones; of several on one target the last one
/// (docs/spec/dockerfile.md 6, RUN --mount).
fn mounts_in_order(job: &Job) -> Vec<&JobMount> {
    let mut mounts: Vec<&JobMount> = job.mounts.iter().rev().collect();
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    mounts.dedup_by(|later, kept| later.target == kept.target);
    mounts
}

fn identity(context: &ExecutorContext, job: &Job) -> Result<ProcessIds, ExecError> {
    let user = &job.process.user;
    let ids = &context.ids;
    let unmapped = |kind, id| Err(ExecError::UnmappedId { kind, id });
    if !ids.has_user(user.uid) {
        return unmapped("user", user.uid);
    }
    if !ids.has_group(user.gid) {
        return unmapped("group", user.gid);
    }
    let groups = if ids.may_set_groups() {
        // The primary group is a supplementary one too: a program that leaves it with setgid must
        // still be refused what its group is refused (CVE-2022-36109).
        let primary = Some(user.gid).filter(|gid| !user.groups.contains(gid));
        let groups = primary.iter().chain(&user.groups);
        if let Some(&id) = groups.clone().find(|&&id| !ids.has_group(id)) {
            return unmapped("group", id);
        }
        Some(groups.map(|&id| Gid::from_raw(id)).collect())
    } else {
        // Where a single id exists there is nothing to be a member of.
        None
    };
    Ok(ProcessIds {
        uid: Uid::from_raw(user.uid),
        gid: Gid::from_raw(user.gid),
        groups,
    })
}

/// Prepares mount points for the job's own mounts below its layers.
fn own_stubs(
    context: &ExecutorContext,
    job: &Job,
    mounts: &[(&JobMount, MountContent)],
) -> Result<Option<OwnStubs>, ExecError> {
    let mut targets: Vec<_> = mounts
        .iter()
        .map(|(mount, source)| (mount.target.clone(), source.leaf))
        .collect();
    // Builds have none, so it is not among the shared ones.
    if !matches!(job.hostname_file, EtcFile::Untouched) {
        targets.push((GuestPath::new("etc/hostname"), PlaceKind::File));
    }
    if targets.is_empty() {
        Ok(None)
    } else {
        context.own_stubs(&targets).map(Some)
    }
}

/// Says what a root consists of that changes of its own are told from.
fn image(job: &Job) -> Option<ImageLayers> {
    match &job.root {
        JobRoot::Layers {
            lowers,
            upper: Some(writable),
        } => Some(ImageLayers {
            lowers: lowers.clone(),
            upper: writable.upper.clone(),
        }),
        JobRoot::Layers { upper: None, .. } | JobRoot::Directory(_) => None,
    }
}

/// Makes the root, not attached anywhere.
fn root(job: &Job, others: OtherNodes, stubs_layer: PathBuf) -> Result<OwnedFd, ExecError> {
    let root = match &job.root {
        JobRoot::Layers { lowers, upper } => {
            let mut lowers = lowers.clone();
            lowers.push(stubs_layer);
            let spec = OverlaySpec {
                lowers,
                upper_and_work: upper.as_ref().map(|w| (w.upper.clone(), w.work.clone())),
            };
            match job.changes {
                RootChanges::Passing => overlay::mount(&spec),
                RootChanges::Lasting => overlay::mount_lasting(&spec),
            }
            .map_err(|source| ExecError::Prepare {
                what: "mounting the layers".to_owned(),
                source,
            })?
        }
        JobRoot::Directory(path) => {
            clone_tree(path).map_err(ExecError::prepare(format!("mounting {}", path.display())))?
        }
    };
    sys::mount_setattr(&root, true, others.attributes(), libc::MS_PRIVATE)
        .map_err(ExecError::prepare("setting the root's mount attributes"))?;
    Ok(root)
}

/// Returns the paths to try as the program.
fn candidates(program: &str, job: &Job) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    if program.is_empty() {
        return Vec::new();
    }
    let path = job
        .process
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH");
    path.map_or(crate::job::DEFAULT_PATH, |(_, value)| value)
        .split(':')
        .map(|directory| match directory {
            "" => format!("./{program}"),
            directory => format!("{}/{program}", directory.trim_end_matches('/')),
        })
        .collect()
}

/// Returns where the process starts; none for the root.
fn working_directory(path: &GuestPath) -> Result<Option<PlacePath>, ExecError> {
    let target = PlacePath::new(path, PlaceKind::Directory);
    match target {
        None if !path.is_root() => Err(ExecError::ZeroByte {
            what: "the working directory".to_owned(),
        }),
        target => Ok(target),
    }
}
