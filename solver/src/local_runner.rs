//! The runner that uses sandboxes of this machine: from a process to a job for the executor, from
//! its outcome to a layer.

mod mounts; // files of other steps, caches, secrets, agents
mod parts; // what it works with
mod root; // where the files of a process are

use std::borrow::Cow;

use kiln_cache::{BuiltLayer, LayerStack, Store};
use kiln_oci::Timestamp;
use kiln_parser::quote;
use kiln_runtime::{
    End, EtcFile, Job, JobMount, JobRoot, MountAccess, MountSource, Process, ProcessUser, Stream,
    cdi, hosts_text,
};
use kiln_snapshotter::{Layer, find_identity};
use kiln_tree::LayerId;

use crate::copy::WriteError;
use crate::graph::{Network, Presence, RunOp, Security};
use crate::runner::{Chain, ChainError, ChainProcess, RunEvents, Runner};
use crate::sandbox_context::AllowedDevices;
use crate::step_error::StepError;
use crate::step_trees::{LocalStack, Sources};
use root::root;

pub use parts::LocalRunner;

impl Runner for LocalRunner<'_> {
    fn run(
        &self,
        chain: &Chain<'_>,
        events: &mut dyn RunEvents,
    ) -> Result<Vec<LayerId>, ChainError> {
        let mut made = Vec::with_capacity(chain.processes.len());
        let mut state = Cow::Borrowed(chain.base);
        let sources = match Sources::new(self.layer_loader(), &[], chain.sources) {
            Ok(sources) => sources,
            Err(error) => return Err(ChainError { made, error }),
        };
        for (position, process) in chain.processes.iter().enumerate() {
            if position > 0
                && let Some(layer) = made.last().copied()
            {
                let created = Timestamp::now();
                state = Cow::Owned(state.with(BuiltLayer { layer, created }));
            }
            let mut events = ProcessEvents {
                events: &mut *events,
                position,
            };
            match self.run_one(process, &state, &sources, &mut events) {
                Ok(layer) => made.push(layer.id()),
                Err(error) => return Err(ChainError { made, error }),
            }
        }
        Ok(made)
    }
}

/// Tells what one process of a chain does.
struct ProcessEvents<'a> {
    events: &'a mut dyn RunEvents,
    position: usize,
}

impl ProcessEvents<'_> {
    fn begin(&mut self) {
        self.events.begin(self.position);
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        self.events.output(self.position, stream, bytes);
    }
}

impl LocalRunner<'_> {
    /// Runs one process and returns the layer of what it changed.
    fn run_one(
        &self,
        process: &ChainProcess<'_>,
        state: &LayerStack,
        sources: &Sources<'_>,
        events: &mut ProcessEvents<'_>,
    ) -> Result<Layer, StepError> {
        let run = process.run;
        let below = LocalStack::new(self.layer_loader(), state)?;
        events.begin();
        let user = process_user(&run.user, &below)?;
        let writable = self
            .snapshotter
            .prepare(below.layers())
            .map_err(WriteError::from)?;
        let mut job = self.job(run, root(&writable), &user);
        let _script = match &run.script {
            Some(script) => Some(mount_script(self.store, script, &mut job)?),
            None => None,
        };
        self.add_devices(run, &mut job)?;
        let _kept = mounts::add(self, process, &below, sources, &mut job)?;
        let mut output = |stream: Stream, bytes: &[u8]| events.output(stream, bytes);
        let outcome = self.executor.run(&job, &mut output, self.stop)?;
        for warning in &outcome.warnings {
            events.events.warn(warning.to_string());
        }
        match &outcome.end {
            End::Exited(0) => {}
            End::Cancelled => return Err(StepError::Cancelled),
            end => {
                if let Some(reason) = end.start_failure() {
                    events.output(Stream::Stderr, format!("{reason}\n").as_bytes());
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
        Ok(layer.map_err(WriteError::from)?)
    }

    /// Says in the executor's words what is run and in what sandbox, mounts and devices left out.
    fn job(&self, run: &RunOp, root: JobRoot, user: &(ProcessUser, String)) -> Job {
        let mut job = Job::new(root, process(&self.sandbox.proxies, run, user));
        job.network = match run.network {
            Network::Default => self.sandbox.network,
            Network::Host => kiln_runtime::JobNetwork::Host,
            Network::None => kiln_runtime::JobNetwork::None,
        };
        job.security = match run.security {
            Security::Sandbox => kiln_runtime::JobSecurity::Sandbox,
            Security::Insecure => kiln_runtime::JobSecurity::Insecure,
        };
        job.hostname.clone_from(&run.hostname);
        let hosts = hosts_text(&job.hostname, &self.sandbox.extra_hosts);
        job.hosts = EtcFile::Text(hosts);
        job.resolv_conf = self.sandbox.resolv_conf.clone();
        job.shm_size_bytes = self.sandbox.shm_size_bytes;
        job.ulimits.clone_from(&self.sandbox.ulimits);
        job.resources = self.sandbox.resources.clone();
        job
    }

    /// Adds the devices that a step asks for.
    fn add_devices(&self, run: &RunOp, job: &mut Job) -> Result<(), StepError> {
        if run.devices.is_empty() {
            return Ok(());
        }
        let registry = cdi::DeviceRegistry::scan(&self.sandbox.device_directories);
        let mut requests = Vec::with_capacity(run.devices.len());
        for device in &run.devices {
            let is_allowed = match &self.sandbox.devices {
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
}

/// Returns a command as errors show it: the arguments joined, the whole in quotes. Of a long one the
/// beginning is shown; the rest stands in the Dockerfile, of which the error shows the place.
fn shown(argv: &[String]) -> String {
    /// Characters.
    const MOST: usize = 2000;
    let command = argv.join(" ");
    match command.char_indices().nth(MOST) {
        None => quote(&command),
        Some((end, _)) => {
            let beginning = quote(&command[..end]);
            format!(
                "{beginning} (the first {MOST} characters of {} bytes)",
                command.len()
            )
        }
    }
}

/// Looks up who runs the command, in the passwd and group files of the root.
fn process_user(user: &str, below: &LocalStack<'_>) -> Result<(ProcessUser, String), StepError> {
    let found = find_identity(below.view(), user)?;
    let home = found.home.to_string();
    let user = ProcessUser {
        uid: found.uid,
        gid: found.gid,
        groups: found.groups,
    };
    Ok((user, home))
}

fn process(
    proxies: &[(String, String)],
    run: &RunOp,
    (user, home): &(ProcessUser, String),
) -> Process {
    let mut env = run.env.clone();
    for (name, value) in proxies {
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
    store: &Store,
    (name, content): &(String, String),
    job: &mut Job,
) -> Result<kiln_cache::WorkDir, StepError> {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = store.work_dir().map_err(StepError::Disk)?;
    let path = directory.path().join(name);
    std::fs::write(&path, content).map_err(StepError::Disk)?;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable.clone()).map_err(StepError::Disk)?;
    std::fs::set_permissions(directory.path(), executable).map_err(StepError::Disk)?;
    job.mounts.push(JobMount {
        target: kiln_files::GuestPath::new("/dev/pipes"),
        source: MountSource::Bind {
            path: directory.path().to_owned(),
            inside: kiln_files::GuestPath::ROOT,
        },
        access: MountAccess::ReadOnly,
    });
    Ok(directory)
}
