//! Running git: its environment, its end, its words.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::ScopedJoinHandle;

use kiln_cache::WorkDir;
use kiln_parser::Address;
use kiln_parser::mount::FileOwner;
use kiln_registry::Secret;
use kiln_solver::{AgentSocket, Fault, RemoteError};
use kiln_threads::Stop;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::output::{read_answer, read_messages};
use crate::remote::authorization;
use crate::remote::sources::{RemoteSources, cancelled, input, local, shown};

/// Protocols that a remote, and the submodules that it names, may use.
const NETWORK: &str = "http:https:git:ssh";

/// Settings that hold whatever a repository says.
const SETTINGS: [(&str, &str); 12] = [
    ("advice.detachedHead", "false"),
    ("core.autocrlf", "false"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.logAllRefUpdates", "false"),
    ("core.symlinks", "true"),
    // Nothing in the background.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // A connection on which nothing comes for a minute is dead.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("init.defaultBranch", "master"),
    ("submodule.fetchJobs", "4"),
];

/// Git, for one remote.
#[derive(Debug)]
pub(super) struct Git<'a> {
    /// Its address, without a password.
    remote: String,
    environment: &'a [(OsString, OsString)],
    /// The state directory: all that is read lies in it.
    state: &'a Path,
    /// What proves who we are, and the URLs that it is for.
    authorization: Option<(String, Secret)>,
    /// An empty home, for programs that look for their configuration there.
    home: WorkDir,
    known_hosts: Vec<PathBuf>,
    agent: Option<Box<dyn AgentSocket>>,
    stop: &'a Stop,
}

/// What a call of git may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GitReach {
    /// Servers.
    Network,
    /// Other repositories on this machine.
    Machine,
}

/// Why git did not do what it should.
#[derive(Debug)]
pub(super) enum GitError {
    /// It said no.
    Refused(Refusal),
    /// It did not get that far.
    Other(RemoteError),
}

/// A no of git's.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What it was asked for.
    doing: String,
    reach: GitReach,
    /// Whether it said anything.
    pub(super) is_spoken: bool,
    /// Its words, cleaned.
    pub(super) words: String,
}

impl<'a> Git<'a> {
    pub(super) fn new(
        sources: &RemoteSources<'a>,
        remote: &'a str,
        stop: &'a Stop,
    ) -> Result<Self, RemoteError> {
        let stores = sources.stores;
        let programs = &sources.outside.programs;
        let agent = if Address::of(remote).is_ssh() {
            let owner = FileOwner {
                mode: 0o600,
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
            };
            sources
                .agents
                .open("default", owner)
                .map_err(local("cannot reach the ssh agent"))?
        } else {
            None
        };
        let own = stores.store.path("git/known_hosts");
        if let Some(directory) = own.parent().filter(|_| Address::of(remote).is_ssh()) {
            std::fs::create_dir_all(directory)
                .map_err(local("cannot write to the state directory"))?;
        }
        Ok(Self {
            remote: Address::of(remote).without_password(),
            environment: &programs.environment,
            state: stores.store.root(),
            authorization: authorization::for_repository(remote, sources.secrets)?,
            home: stores
                .store
                .work_dir()
                .map_err(local("cannot write to the state directory"))?,
            known_hosts: [own]
                .into_iter()
                .chain(programs.known_hosts.clone())
                .collect(),
            agent,
            stop,
        })
    }

    /// Returns the address of the remote, with nothing in it that is secret.
    pub(super) fn remote(&self) -> &str {
        &self.remote
    }

    /// Runs git in a directory and returns what it printed.
    pub(super) fn run<I, S>(
        &self,
        directory: Option<&Path>,
        reach: GitReach,
        arguments: I,
    ) -> Result<Vec<u8>, GitError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(directory.unwrap_or(self.home.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What it starts is found by its group.
            .process_group(0);
        self.set_environment(&mut command, reach);
        kiln_runtime::end_with_parent(&mut command);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::Other(input(format!(
                "git is not installed, and {} is a git repository: install the program git",
                shown(&self.remote)
            ))),
            _ => GitError::Other(local("cannot run git")(error)),
        })?;
        let (status, stdout, stderr) = self
            .attend(&mut child)
            .map_err(|error| GitError::Other(local("cannot run git")(error)))?;
        if self.stop.is_asked() {
            return Err(GitError::Other(cancelled()));
        }
        if status.success() {
            Ok(stdout)
        } else {
            Err(GitError::Refused(Refusal {
                doing: format!("git could not read {}", shown(&self.remote)),
                reach,
                is_spoken: !stderr.is_empty(),
                words: self.words(&stderr, status),
            }))
        }
    }

    /// Reads what git says until it ends, by itself or because the build does.
    fn attend(&self, child: &mut Child) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let stderr = child.stderr.take().expect("standard error is a pipe");
        std::thread::scope(|scope| {
            let stdout = kiln_threads::beside(scope, move || read_answer(stdout));
            let stderr = kiln_threads::beside(scope, move || read_messages(stderr));
            let (stdout, stderr) = match (stdout, stderr) {
                (Ok(stdout), Ok(stderr)) => (stdout, stderr),
                // What has nobody who listens would wait for ever.
                (Err(error), _) | (_, Err(error)) => {
                    end(child)?;
                    return Err(error);
                }
            };
            let status = self.wait(child);
            let read = |thread: ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            Ok((status?, read(stdout)?, read(stderr)?))
        })
    }

    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        let handle: OwnedFd = pidfd_open(pid, PidfdFlags::empty())?;
        loop {
            let mut events = [
                PollFd::new(&handle, PollFlags::IN),
                PollFd::from_borrowed_fd(self.stop.pollable()?, PollFlags::IN),
            ];
            match poll(&mut events, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.stop.is_asked() {
                return end(child);
            }
            if !events[0].revents().is_empty() {
                return child.wait();
            }
        }
    }

    fn set_environment(&self, command: &mut Command, reach: GitReach) {
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("HOME", self.home.path())
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            // A repository that is none any more is not looked for further up.
            .env("GIT_CEILING_DIRECTORIES", self.state)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_SSH_COMMAND", self.ssh_command());
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent.path());
        }
        let allowed = match reach {
            GitReach::Network => NETWORK,
            GitReach::Machine => "file",
        };
        command.env("GIT_ALLOW_PROTOCOL", allowed);
        let mut settings: Vec<(String, String)> = SETTINGS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        // Other users of the machine see the arguments of a process, not its environment.
        if let Some((scope, secret)) = &self.authorization
            && reach == GitReach::Network
        {
            settings.push((
                format!("http.{scope}.extraHeader"),
                format!("Authorization: {}", secret.expose()),
            ));
            // Behind a redirect git goes on as if the new address had been given, headers and all.
            settings.push((format!("http.{scope}.followRedirects"), "false".to_owned()));
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (name, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
    }

    /// Returns how ssh is called: no configuration and no keys but the agent's. A host that is met
    /// for the first time is believed and remembered; one that changed is not.
    fn ssh_command(&self) -> OsString {
        let mut hosts = OsString::new();
        for path in &self.known_hosts {
            hosts.push(" \"");
            hosts.push(path);
            hosts.push("\"");
        }
        let hosts = hosts.to_string_lossy().replace('\'', r"'\''");
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o IdentityFile=none \
             -o StrictHostKeyChecking=accept-new -o 'UserKnownHostsFile={}'",
            hosts.trim_start()
        )
        .into()
    }

    /// Makes one line of what git said.
    fn words(&self, stderr: &[u8], status: ExitStatus) -> String {
        /// Characters. More than any message of git, less than a server's page.
        const LONGEST: usize = 1000;
        let text = String::from_utf8_lossy(stderr);
        let said = |line: &&str| {
            ["fatal: ", "error: ", "remote: "]
                .iter()
                .any(|start| line.starts_with(start))
        };
        let mut lines: Vec<&str> = text.lines().filter(said).collect();
        if lines.is_empty() {
            lines = text.lines().filter(|line| !line.is_empty()).collect();
        }
        let mut words = if lines.is_empty() {
            status.to_string()
        } else {
            lines.join("; ")
        };
        if self.authorization.is_some() && words.contains("returned error: 30") {
            words.push_str(
                "; a token is not taken along to where a server leads: name that address",
            );
        }
        words
            .chars()
            .filter(|c| !c.is_control())
            .take(LONGEST)
            .collect()
    }
}

impl GitError {
    /// Returns whether git said something with this in it.
    pub(super) fn mentions(&self, text: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.words.contains(text))
    }
}

/// What git, curl and ssh say when the network or a server is at fault, or the disk.
const ENVIRONMENT: [&str; 10] = [
    "Could not resolve host",
    "Name or service not known",
    "Temporary failure in name resolution",
    "onnection refused",
    "onnection reset",
    "timed out",
    "unable to connect",
    "ailed to connect",
    "hung up unexpectedly",
    NO_SPACE,
];
const NO_SPACE: &str = "No space left on device";

/// What they say when a server does not give what it was asked for.
const SERVER: [&str; 4] = [
    "remote error: ",
    "unable to access '",
    "returned error: ",
    "does not appear to be a git repository",
];

/// What they say when they want to know who we are, and what helps.
const ADVICE: [(&str, &str); 4] = [
    (
        "could not read Username",
        "give a token with --secret id=GIT_AUTH_TOKEN",
    ),
    (
        "Authentication failed",
        "give another token with --secret id=GIT_AUTH_TOKEN",
    ),
    (
        "Permission denied (publickey",
        "give a key that may read it with --ssh default",
    ),
    (
        "Host key verification failed",
        "if the host's key was really changed, remove the old one from known_hosts",
    ),
];

impl Refusal {
    /// Returns whether the reason may be what lies on this machine.
    pub(super) fn may_be_ours(&self) -> bool {
        let says = |text: &str| self.words.contains(text);
        match self.reach {
            GitReach::Machine => !says(NO_SPACE),
            GitReach::Network => {
                let advice = ADVICE.iter().map(|(text, _)| *text);
                let mut elsewhere = ENVIRONMENT.into_iter().chain(SERVER).chain(advice);
                !elsewhere.any(says)
            }
        }
    }
}

impl From<RemoteError> for GitError {
    fn from(error: RemoteError) -> Self {
        Self::Other(error)
    }
}

impl From<GitError> for RemoteError {
    fn from(error: GitError) -> Self {
        match error {
            GitError::Other(error) => error,
            GitError::Refused(Refusal { doing, words, .. }) => {
                let says = |text: &&&str| words.contains(**text);
                let fault = match ENVIRONMENT.iter().find(says) {
                    Some(_) => Fault::Environment,
                    None => Fault::Input,
                };
                let advice = ADVICE.iter().find(|(text, _)| words.contains(text));
                let advice = advice.map_or(String::new(), |(_, advice)| format!("; {advice}"));
                Self {
                    message: format!("{doing}: {words}{advice}"),
                    fault,
                }
            }
        }
    }
}

/// Ends git and whatever it started.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    // Not reaped yet, so the id is still that of the group.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()
}
