//! Executing a `RUN`: from the step to a job for the executor, from its outcome to a layer.

mod mounts; // files of other steps, caches, secrets, agents
mod root; // where the files of a command are

use kiln_parser::quote;
use kiln_runtime::{
    Access, End, EtcFile, Job, Mount, MountSource, Process, ProcessUser, Stream, cdi, hosts_text,
};
use kiln_snapshotter::{Layer, find_identity};

use crate::below::{Below, Sources};
use crate::deps::Deps;
use crate::graph::{Network, Presence, Run, Security};
use crate::inputs::Inputs;
use crate::progress::{LogStream, Vertex};
use crate::sandbox_context::AllowedDevices;
use crate::step_error::StepError;

pub(crate) use mounts::content;
use root::root;

/// Runs the command and returns the layer of what it changed.
pub(crate) fn run(
    deps: &Deps<'_>,
    run: &Run,
    inputs: &Inputs<'_>,
    sources: &Sources<'_>,
    vertex: &Vertex<'_>,
) -> Result<Layer, StepError> {
    let below = Below::new(deps, &inputs.parent)?;
    vertex.begin();
    let user = process_user(&run.user, &below)?;
    let writable = deps
        .snapshotter
        .prepare(below.layers())
        .map_err(crate::copy::WriteError::from)?;
    let mut job = Job::new(root(&writable), process(deps, run, &user));
    job.network = match run.network {
        Network::Default => deps.sandbox.network,
        Network::Host => kiln_runtime::Network::Host,
        Network::None => kiln_runtime::Network::None,
    };
    job.security = match run.security {
        Security::Sandbox => kiln_runtime::Security::Sandbox,
        Security::Insecure => kiln_runtime::Security::Insecure,
    };
    job.hostname.clone_from(&run.hostname);
    let hosts = hosts_text(&job.hostname, &deps.sandbox.extra_hosts);
    job.hosts = EtcFile::Text(hosts);
    job.resolv_conf = deps.sandbox.resolv_conf.clone();
    job.shm_size_bytes = deps.sandbox.shm_size_bytes;
    job.ulimits.clone_from(&deps.sandbox.ulimits);
    job.resources = deps.sandbox.resources.clone();
    let _script = match &run.script {
        Some(script) => Some(mount_script(deps, script, &mut job)?),
        None => None,
    };
    devices(deps, run, &mut job)?;
    let _kept = mounts::add(deps, run, &below, inputs, sources, &mut job)?;
    let mut output = |stream: Stream, bytes: &[u8]| {
        let stream = match stream {
            Stream::Stdout => LogStream::Stdout,
            Stream::Stderr => LogStream::Stderr,
        };
        vertex.log(stream, bytes);
    };
    let outcome = deps.executor.run(&job, &mut output, deps.stop)?;
    for warning in &outcome.warnings {
        deps.reporter.warn(warning.to_string());
    }
    match &outcome.end {
        End::Exited(0) => {}
        End::Cancelled => return Err(StepError::Cancelled),
        end => {
            if let Some(reason) = end.start_failure() {
                vertex.log(LogStream::Stderr, format!("{reason}\n").as_bytes());
            }
            return Err(StepError::Process {
                command: shown(&run.argv),
                code: end.code(),
                out_of_memory: outcome.out_of_memory,
            });
        }
    }
    // The executor removes the mount points that it made itself.
    let layer = writable.commit(below.view(), &[]);
    Ok(layer.map_err(crate::copy::WriteError::from)?)
}

/// Adds the devices that a step asks for.
fn devices(deps: &Deps<'_>, run: &Run, job: &mut Job) -> Result<(), StepError> {
    if run.devices.is_empty() {
        return Ok(());
    }
    let registry = cdi::Registry::scan(&deps.sandbox.device_directories);
    let mut requests = Vec::with_capacity(run.devices.len());
    for device in &run.devices {
        let is_allowed = match &deps.sandbox.devices {
            AllowedDevices::All => true,
            AllowedDevices::Named(names) => {
                names.contains(&device.name) || registry.is_auto_allowed(&device.name)
            }
        };
        if !is_allowed {
            return Err(StepError::Device(device.name.clone()));
        }
        requests.push(cdi::DeviceRequest {
            name: device.name.clone(),
            requirement: match device.presence {
                Presence::Required => cdi::Requirement::Required,
                Presence::Optional => cdi::Requirement::Optional,
            },
        });
    }
    registry.find(&requests)?.apply(job);
    Ok(())
}

/// Returns a command as errors show it: the arguments joined, the whole in quotes.
fn shown(argv: &[String]) -> String {
    quote(&argv.join(" "))
}

/// Looks up who runs the command, in the passwd and group files of the root.
fn process_user(user: &str, below: &Below) -> Result<(ProcessUser, String), StepError> {
    let found = find_identity(below.view(), user)?;
    let home = found.home.to_string();
    let user = ProcessUser {
        uid: found.uid,
        gid: found.gid,
        groups: found.groups,
    };
    Ok((user, home))
}

fn process(deps: &Deps<'_>, run: &Run, (user, home): &(ProcessUser, String)) -> Process {
    let mut env = run.env.clone();
    for (name, value) in &deps.sandbox.proxies {
        if !env.iter().any(|(known, _)| known == name) {
            env.push((name.clone(), value.clone()));
        }
    }
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), home.clone()));
    }
    let mut process = Process::new(run.argv.iter().cloned());
    process.env = env;
    process.cwd = run.cwd.clone();
    process.user = user.clone();
    process
}

/// Makes a heredoc with an interpreter line visible as an executable file.
fn mount_script(
    deps: &Deps<'_>,
    (name, content): &(String, String),
    job: &mut Job,
) -> Result<kiln_cache::WorkDir, StepError> {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = deps.store.work_dir().map_err(StepError::Disk)?;
    let path = directory.path().join(name);
    std::fs::write(&path, content).map_err(StepError::Disk)?;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable.clone()).map_err(StepError::Disk)?;
    std::fs::set_permissions(directory.path(), executable).map_err(StepError::Disk)?;
    job.mounts.push(Mount {
        target: kiln_files::GuestPath::new("/dev/pipes"),
        source: MountSource::Bind {
            path: directory.path().to_owned(),
            inside: kiln_files::GuestPath::ROOT,
        },
        access: Access::ReadOnly,
    });
    Ok(directory)
}
