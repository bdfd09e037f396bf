//! From a job to a program: makes what the child will only have to put in place.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kiln_cache::GuestPath;
use kiln_snapshotter::overlay::{self, OverlaySpec};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, Rlimit};
use rustix::termios::Winsize;
use rustix::thread::{Gid, Uid};

use super::devices::{self, Devices};
use super::stubs::Stubs;
use super::surroundings::{OwnStubs, PLAIN, Surroundings, clone_tree, new_mount, read_only_proc};
use crate::cgroup::Cgroup;
use crate::sys::{
    self, Fresh, Identity, Leaf, MountStep, Namespaces, Program, Remains, Spawned, Strings, Target,
};
use crate::{
    Access, EtcFile, ExecError, Job, Mount, MountSource, Network, Root, Security, Streams, Warning,
    WindowSize, capability,
};

/// Where programs are looked for without a `PATH` (moby: `system.DefaultPathEnv`).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A job whose process was cloned and is on its way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Spawned,
    /// Where the process reports until it becomes the program.
    pub(crate) report: OwnedFd,
    pub(crate) streams: OurStreams,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) warnings: Vec<Warning>,
    /// Names for messages and mount points to remove.
    pub(crate) plan: Plan,
}

impl Running {
    /// Ends the process's input; a terminal has no end.
    pub(crate) fn close_input(&mut self) {
        if let OurStreams::Pipes { stdin, .. } = &mut self.streams {
            *stdin = None;
        }
    }
}

/// Our ends of the standard streams.
#[derive(Debug)]
pub(crate) enum OurStreams {
    Pipes {
        /// None if the input ended, as it did from the start for most.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal(OwnedFd),
}

/// What is needed after the process was cloned.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) program: String,
    pub(super) searched: bool,
    pub(super) cwd: GuestPath,
    /// The target of each mount step.
    pub(super) targets: Vec<GuestPath>,
    pub(super) stubs: Stubs,
    _own_stubs: Option<OwnStubs>,
}

/// Mount steps and what each is for.
#[derive(Default)]
struct Steps {
    steps: Vec<MountStep>,
    targets: Vec<GuestPath>,
}

impl Steps {
    fn push(&mut self, target: &GuestPath, step: MountStep) {
        self.steps.push(step);
        self.targets.push(target.clone());
    }
}

pub(super) fn start(surroundings: &Surroundings, job: &Job) -> Result<Running, ExecError> {
    let program = job.process.argv.first().ok_or(ExecError::NoCommand)?;
    let mut mounts: Vec<&Mount> = job.mounts.iter().collect();
    // Of two mounts on the same target the later one lies on top (dockerfile.md, RUN --mount).
    mounts.sort_by(|a, b| a.target.cmp(&b.target));

    let identity = identity(surroundings, job)?;
    let mounts = mounts
        .into_iter()
        .map(|mount| Ok((mount, source(surroundings, mount)?)))
        .collect::<Result<Vec<_>, ExecError>>()?;
    let own_stubs = own_stubs(surroundings, job, &mounts)?;
    let stubs_layer = own_stubs
        .as_ref()
        .map_or(surroundings.stubs(), |own| own.0.clone());
    let root = root(job, stubs_layer)?;
    let mut steps = Steps::default();
    let terminals = add_builtin_mounts(surroundings, job, &mut steps)?;
    for (mount, source) in mounts {
        let step = mount_step(surroundings, mount, source)?;
        steps.push(&mount.target, step);
    }

    let cgroup = Cgroup::create(&job.resources)?;
    let (cgroup, warnings) = cgroup.map_or((None, Vec::new()), |(group, warnings)| {
        (Some(group), warnings)
    });
    let (ours, theirs) = streams(job.process.streams, &terminals)?;
    let (report, their_report) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(ExecError::prepare("making a pipe"))?;

    let env = job
        .process
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let text = |what: &str| {
        let what = what.to_owned();
        move |_| ExecError::ZeroByte { what }
    };
    let argv = Strings::new(&job.process.argv).map_err(text("an argument"))?;
    let env = Strings::new(env).map_err(text("an environment variable"))?;
    let searched = !program.contains('/');
    let candidates = Strings::new(candidates(program, job)).map_err(text("the program"))?;
    let cwd = prefixes(&job.process.cwd)?;
    let limits: Vec<(Resource, Rlimit)> = job
        .ulimits
        .iter()
        .map(|limit| {
            let rlimit = Rlimit {
                current: limit.soft,
                maximum: limit.hard,
            };
            (limit.resource.resource(), rlimit)
        })
        .collect();
    let sandbox = job.security == Security::Sandbox;
    let joined = cgroup.as_ref().map_or(&[][..], Cgroup::procs_files);

    let process = sys::spawn(
        &Program {
            report: their_report.as_fd(),
            proc: surroundings.proc.as_fd(),
            parent: surroundings.process_id,
            streams: theirs.each_ref().map(|stream| stream.as_fd()),
            controlling_terminal: matches!(job.process.streams, Streams::Terminal(_)),
            cgroups: joined,
            unshare_cgroup: cgroup.is_some(),
            root: root.as_fd(),
            mounts: &steps.steps,
            hostname: job.hostname.as_bytes(),
            loopback: job.network == Network::None,
            limits: &limits,
            cwd: &cwd,
            forbidden: if sandbox {
                &surroundings.forbidden
            } else {
                &[]
            },
            filter: sandbox.then_some(surroundings.filter.as_slice()),
            identity: &identity,
            capabilities: if sandbox {
                capability::SANDBOX & surroundings.own_capabilities
            } else {
                surroundings.own_capabilities
            },
            candidates: &candidates,
            argv: &argv,
            env: &env,
        },
        Namespaces {
            network: job.network == Network::None,
            cgroup: cgroup.is_none(),
        },
        cgroup.as_ref().and_then(Cgroup::directory),
    )
    .map_err(ExecError::prepare("cloning a process into new namespaces"))?;

    Ok(Running {
        process,
        report,
        streams: ours,
        cgroup,
        warnings,
        plan: Plan {
            program: program.clone(),
            searched,
            cwd: job.process.cwd.clone(),
            targets: steps.targets,
            stubs: Stubs::new(root),
            _own_stubs: own_stubs,
        },
    })
}

fn identity(surroundings: &Surroundings, job: &Job) -> Result<Identity, ExecError> {
    let user = &job.process.user;
    let ids = &surroundings.ids;
    let unmapped = |kind, id| Err(ExecError::UnmappedId { kind, id });
    if !ids.has_user(user.uid) {
        return unmapped("user", user.uid);
    }
    if !ids.has_group(user.gid) {
        return unmapped("group", user.gid);
    }
    let groups = match ids.may_set_groups() {
        true => {
            if let Some(&id) = user.groups.iter().find(|&&id| !ids.has_group(id)) {
                return unmapped("group", id);
            }
            Some(user.groups.iter().map(|&id| Gid::from_raw(id)).collect())
        }
        // Where a single id exists there is nothing to be a member of.
        false => None,
    };
    Ok(Identity {
        uid: Uid::from_raw(user.uid),
        gid: Gid::from_raw(user.gid),
        groups,
    })
}

/// Prepares mount points for the job's own mounts below its layers.
fn own_stubs(
    surroundings: &Surroundings,
    job: &Job,
    mounts: &[(&Mount, Source)],
) -> Result<Option<OwnStubs>, ExecError> {
    let mut targets: Vec<_> = mounts
        .iter()
        .map(|(mount, source)| (mount.target.clone(), source.leaf))
        .collect();
    // Builds have none, so it is not among the shared ones.
    if !matches!(job.hostname_file, EtcFile::Untouched) {
        targets.push((GuestPath::new("etc/hostname"), Leaf::File));
    }
    match targets.is_empty() {
        true => Ok(None),
        false => surroundings.own_stubs(&targets).map(Some),
    }
}

fn file_type(file: &OwnedFd) -> Result<Leaf, Errno> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::Directory => Ok(Leaf::Directory),
        _ => Ok(Leaf::File),
    }
}

/// Makes the root, not attached anywhere.
fn root(job: &Job, stubs_layer: PathBuf) -> Result<OwnedFd, ExecError> {
    let root = match &job.root {
        Root::Layers { lowers, upper } => {
            let mut lowers = lowers.clone();
            lowers.push(stubs_layer);
            overlay::mount(&OverlaySpec {
                lowers,
                upper_and_work: upper.as_ref().map(|w| (w.upper.clone(), w.work.clone())),
            })
            .map_err(|source| ExecError::Prepare {
                what: "mounting the layers".to_owned(),
                source,
            })?
        }
        Root::Directory(path) => {
            clone_tree(path).map_err(ExecError::prepare(format!("mounting {}", path.display())))?
        }
    };
    let attributes = match job.security {
        Security::Sandbox => MountAttrFlags::MOUNT_ATTR_NODEV,
        Security::Insecure => MountAttrFlags::empty(),
    };
    sys::mount_setattr(&root, true, attributes, libc::MS_PRIVATE)
        .map_err(ExecError::prepare("setting the root's mount attributes"))?;
    Ok(root)
}

/// Adds what every sandbox has; returns its terminals.
fn add_builtin_mounts(
    surroundings: &Surroundings,
    job: &Job,
    steps: &mut Steps,
) -> Result<OwnedFd, ExecError> {
    let sandbox = job.security == Security::Sandbox;
    // These directories belong to the result if the runtime had to make them (dockerfile.md
    // section 10).
    let (proc, proc_path) = place("proc", Leaf::Directory, Remains::Kept);
    let (dev, dev_path) = place("dev", Leaf::Directory, Remains::Kept);
    let (sys, sys_path) = place("sys", Leaf::Directory, Remains::Kept);

    let mut masks = Vec::new();
    let mut read_only = Vec::new();
    if sandbox {
        for mask in &surroundings.masked_proc {
            let name = CString::new(mask.name.as_str()).expect("our own names");
            masks.push((
                surroundings
                    .mask(mask)
                    .map_err(ExecError::prepare("masking"))?,
                name,
            ));
        }
        read_only = read_only_proc()
            .iter()
            .map(|&name| CString::new(name).expect("our own names"))
            .collect();
    }
    steps.push(
        &proc_path,
        MountStep::Fresh {
            kind: Fresh::Proc,
            target: proc,
            masks,
            read_only,
        },
    );

    let devices = devices::devices(surroundings, job)
        .map_err(ExecError::prepare("making the devices of /dev"))?;
    let base = steps.steps.len();
    steps.push(
        &dev_path,
        MountStep::Attach {
            mount: devices.top,
            target: dev,
        },
    );
    Devices::append_below(devices.below, base, &mut steps.steps);
    steps.targets.resize(steps.steps.len(), dev_path);

    let sysfs = match (job.network, sandbox) {
        // What the own network namespace shows is the same for all jobs.
        (Network::Host, true) => MountStep::Attach {
            mount: surroundings
                .sys()
                .map_err(ExecError::prepare("cloning /sys"))?,
            target: sys,
        },
        (Network::None, true) => {
            let mut masks = Vec::new();
            for mask in &surroundings.masked_sys {
                let name = CString::new(mask.name.as_str()).expect("our own names");
                let hidden = surroundings
                    .mask(mask)
                    .map_err(ExecError::prepare("masking"))?;
                masks.push((hidden, name));
            }
            MountStep::Fresh {
                kind: Fresh::Sysfs { writable: false },
                target: sys,
                masks,
                read_only: Vec::new(),
            }
        }
        (_, false) => MountStep::Fresh {
            kind: Fresh::Sysfs { writable: true },
            target: sys,
            masks: Vec::new(),
            read_only: Vec::new(),
        },
    };
    steps.push(&sys_path, sysfs);
    if crate::cgroup::is_unified() {
        let (cgroup, path) = place("sys/fs/cgroup", Leaf::Directory, Remains::Kept);
        steps.push(
            &path,
            MountStep::Fresh {
                kind: Fresh::Cgroup2,
                target: cgroup,
                masks: Vec::new(),
                read_only: Vec::new(),
            },
        );
    }
    for (name, file) in [
        ("etc/resolv.conf", &job.resolv_conf),
        ("etc/hosts", &job.hosts),
        ("etc/hostname", &job.hostname_file),
    ] {
        if let Some(mount) = etc_file(surroundings, file)? {
            let (target, path) = place(name, Leaf::File, Remains::Removed);
            steps.push(&path, MountStep::Attach { mount, target });
        }
    }
    Ok(devices.terminals)
}

fn place(path: &str, leaf: Leaf, remains: Remains) -> (Target, GuestPath) {
    let path = GuestPath::new(path);
    let target = Target::new(&path, leaf, remains).expect("our own paths are not the root");
    (target, path)
}

fn etc_file(surroundings: &Surroundings, file: &EtcFile) -> Result<Option<OwnedFd>, ExecError> {
    let (path, access) = match file {
        EtcFile::Untouched => return Ok(None),
        EtcFile::Text(text) => (surroundings.text(text)?, Access::ReadOnly),
        EtcFile::File { path, access } => (path.clone(), *access),
    };
    let mount = match clone_tree(&path) {
        Err(Errno::NOENT) => return Ok(None),
        other => other,
    };
    mount
        .and_then(|mount| restrict(mount, access))
        .map(Some)
        .map_err(|errno| ExecError::MountSource {
            path,
            source: errno.into(),
        })
}

/// Makes a mount read-only where asked, and deaf to mounts of the host.
fn restrict(mount: OwnedFd, access: Access) -> Result<OwnedFd, Errno> {
    let attributes = match access {
        Access::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
        Access::ReadWrite => MountAttrFlags::empty(),
    };
    sys::mount_setattr(&mount, true, attributes, libc::MS_PRIVATE)?;
    Ok(mount)
}

/// What a mount shows, not attached anywhere.
struct Source {
    mount: OwnedFd,
    /// A path inside, if it is not all to be shown.
    part: Option<CString>,
    leaf: Leaf,
}

fn source(surroundings: &Surroundings, mount: &Mount) -> Result<Source, ExecError> {
    let failed = |errno: Errno| ExecError::Mount {
        target: mount.target.clone(),
        source: errno.into(),
    };
    let (detached, part) = match &mount.source {
        MountSource::Bind { path, inside } => {
            let opened = open_inside(path, inside)?;
            let clone = rustix::mount::open_tree(
                &opened,
                "",
                OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_EMPTY_PATH
                    | OpenTreeFlags::AT_RECURSIVE,
            )
            .map_err(|errno| mount_source(path, inside, errno))?;
            (clone, None)
        }
        MountSource::Tmpfs { size_bytes, mode } => {
            let mode = format!("{mode:04o}");
            let size = size_bytes.map(|size| size.to_string());
            let mut options = vec![("mode", mode.as_str())];
            if let Some(size) = &size {
                options.push(("size", size));
            }
            (new_mount("tmpfs", &options, PLAIN).map_err(failed)?, None)
        }
        MountSource::Layers {
            lowers,
            inside,
            scratch,
        } => {
            let whole = stack(surroundings, lowers, scratch.as_ref()).map_err(|source| {
                ExecError::Mount {
                    target: mount.target.clone(),
                    source,
                }
            })?;
            (whole, Some(inside).filter(|inside| !inside.is_root()))
        }
    };
    let Some(inside) = part else {
        let leaf = file_type(&detached).map_err(failed)?;
        return Ok(Source {
            mount: restrict(detached, mount.access).map_err(failed)?,
            part: None,
            leaf,
        });
    };
    let opened = resolve_in(&detached, inside).map_err(|errno| ExecError::MountPart {
        path: inside.clone(),
        source: errno.into(),
    })?;
    Ok(Source {
        leaf: file_type(&opened).map_err(failed)?,
        mount: detached,
        part: Some(CString::new(inside.as_bytes()).map_err(|_| failed(Errno::INVAL))?),
    })
}

fn mount_step(
    surroundings: &Surroundings,
    mount: &Mount,
    source: Source,
) -> Result<MountStep, ExecError> {
    let target =
        Target::new(&mount.target, source.leaf, Remains::Removed).ok_or(ExecError::MountOnRoot)?;
    Ok(match source.part {
        None => MountStep::Attach {
            mount: source.mount,
            target,
        },
        Some(part) => MountStep::Part {
            whole: source.mount,
            staging: host_path(&surroundings.staging()),
            part,
            read_only: mount.access == Access::ReadOnly,
            target,
        },
    })
}

fn host_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("the directory exists, so it has a name")
}

/// Merges layers that are not a root.
fn stack(
    surroundings: &Surroundings,
    lowers: &[PathBuf],
    scratch: Option<&crate::Writable>,
) -> Result<OwnedFd, std::io::Error> {
    if let ([only], None) = (lowers, scratch) {
        return Ok(clone_tree(only)?);
    }
    let mut lowers = lowers.to_vec();
    if lowers.is_empty() {
        lowers.push(surroundings.empty());
    }
    overlay::mount(&OverlaySpec {
        lowers,
        upper_and_work: scratch.map(|w| (w.upper.clone(), w.work.clone())),
    })
}

/// Opens a path as if `base` were the root.
fn open_inside(base: &Path, inside: &GuestPath) -> Result<OwnedFd, ExecError> {
    let opened = rustix::fs::open(base, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let opened = match inside.is_root() {
        true => opened,
        false => opened.and_then(|base| resolve_in(&base, inside)),
    };
    opened.map_err(|errno| mount_source(base, inside, errno))
}

fn resolve_in(base: &OwnedFd, inside: &GuestPath) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        base,
        inside.as_relative(),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

fn mount_source(base: &Path, inside: &GuestPath, errno: Errno) -> ExecError {
    let path = match inside.is_root() {
        true => base.to_owned(),
        false => base.join(inside.as_relative()),
    };
    ExecError::MountSource {
        path,
        source: errno.into(),
    }
}

/// Makes the standard streams: ours and the child's.
fn streams(streams: Streams, terminals: &OwnedFd) -> Result<(OurStreams, [OwnedFd; 3]), ExecError> {
    let pipe =
        || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(ExecError::prepare("making a pipe"));
    match streams {
        Streams::Output | Streams::Piped => {
            let (their_stdin, stdin) = pipe()?;
            let (stdout, their_stdout) = pipe()?;
            let (stderr, their_stderr) = pipe()?;
            let ours = OurStreams::Pipes {
                stdin: (streams == Streams::Piped).then_some(stdin),
                stdout,
                stderr,
            };
            Ok((ours, [their_stdin, their_stdout, their_stderr]))
        }
        Streams::Terminal(size) => {
            let (master, peer) =
                open_terminal(terminals, size).map_err(ExecError::prepare("opening a terminal"))?;
            let again = || {
                rustix::io::fcntl_dupfd_cloexec(&peer, 0)
                    .map_err(ExecError::prepare("opening a terminal"))
            };
            let theirs = [again()?, again()?, again()?];
            Ok((OurStreams::Terminal(master), theirs))
        }
    }
}

/// Opens a terminal inside the job's own `/dev/pts`, so that it has a name there.
fn open_terminal(terminals: &OwnedFd, size: WindowSize) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(terminals, "ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let peer = sys::open_terminal_peer(master.as_fd())?;
    rustix::termios::tcsetwinsize(&master, winsize(size))?;
    Ok((master, peer))
}

pub(crate) fn winsize(size: WindowSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
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
    path.map_or(DEFAULT_PATH, |(_, value)| value)
        .split(':')
        .map(|directory| match directory {
            "" => format!("./{program}"),
            directory => format!("{}/{program}", directory.trim_end_matches('/')),
        })
        .collect()
}

/// Returns every prefix of an absolute path, the shortest first.
fn prefixes(path: &GuestPath) -> Result<Vec<CString>, ExecError> {
    let mut prefixes = path.ancestors();
    if !path.is_root() {
        prefixes.push(path.clone());
    }
    prefixes
        .iter()
        .map(|prefix| {
            CString::new([b"/", prefix.as_bytes()].concat()).map_err(|_| ExecError::ZeroByte {
                what: "the working directory".to_owned(),
            })
        })
        .collect()
}
