//! Running git: its environment, its end, its words.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::ScopedJoinHandle;

use kiln_threads::Stop;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::error::{Error, GitRefusal, may_be_ours};
use crate::output::{read_answer, read_messages};

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

/// How git is run for one remote.
pub struct GitSettings<'a> {
    /// The remote's address, without a password.
    pub remote: String,
    /// What of it may be shown.
    pub shown: String,
    /// What git may know of the caller's environment: where programs are, proxies, certificates.
    pub environment: &'a [(OsString, OsString)],
    /// The directory that all repositories lie in: git looks for none further up.
    pub ceiling: &'a Path,
    /// An empty directory for what is made meanwhile, on the mirror's file system.
    pub work: &'a Path,
    /// What proves who the user is to a server behind HTTP.
    pub authorization: Option<Authorization>,
    /// Files with the keys of ssh servers. To the first one git adds those that it meets.
    pub known_hosts: Vec<PathBuf>,
    /// The socket of the ssh agent that proves who the user is.
    pub agent: Option<&'a Path>,
    /// Done to each call of git before it starts.
    pub prepare: fn(&mut Command),
    /// Ends git when it is asked.
    pub stop: &'a Stop,
}

// What is given of the environment may hold passwords.
impl fmt::Debug for GitSettings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitSettings")
            .field("remote", &self.shown)
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

/// A header that proves who the user is, and whom to.
pub struct Authorization {
    /// The beginning of all URLs that it is for.
    pub scope: String,
    /// The value of `Authorization`.
    pub value: String,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = &self.scope;
        f.debug_struct("Authorization")
            .field("scope", scope)
            .finish_non_exhaustive()
    }
}

/// Git, for one remote.
#[derive(Debug)]
pub struct Git<'a> {
    settings: GitSettings<'a>,
    /// An empty home, for programs that look for their configuration there.
    home: PathBuf,
}

/// What a call of git may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GitReach {
    /// Servers.
    Network,
    /// Other repositories on this machine.
    Machine,
}

impl<'a> Git<'a> {
    /// Prepares for running git.
    ///
    /// # Errors
    /// When its home cannot be made.
    pub fn new(settings: GitSettings<'a>) -> Result<Self, Error> {
        let home = settings.work.join("home");
        std::fs::create_dir_all(&home).map_err(Error::Write)?;
        Ok(Self { settings, home })
    }

    /// Returns the address of the remote, with nothing in it that is secret.
    #[must_use]
    pub fn remote(&self) -> &str {
        &self.settings.remote
    }

    /// Returns what of the address may be shown.
    pub(crate) fn shown(&self) -> &str {
        &self.settings.shown
    }

    /// Returns the directory for what is made meanwhile.
    pub(crate) fn work(&self) -> &Path {
        self.settings.work
    }

    /// Runs git in a directory and returns what it printed.
    pub(crate) fn run<I, S>(
        &self,
        directory: Option<&Path>,
        reach: GitReach,
        arguments: I,
    ) -> Result<Vec<u8>, Error>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(directory.unwrap_or(&self.home))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What it starts is found by its group.
            .process_group(0);
        self.set_environment(&mut command, reach);
        (self.settings.prepare)(&mut command);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NotInstalled(self.shown().to_owned()),
            _ => Error::Run(error),
        })?;
        let (status, stdout, stderr) = self.attend(&mut child).map_err(Error::Run)?;
        if self.settings.stop.is_asked() {
            return Err(Error::Stopped);
        }
        if status.success() {
            return Ok(stdout);
        }
        let words = self.words(&stderr, status);
        Err(Error::Refused(GitRefusal {
            remote: self.shown().to_owned(),
            may_be_ours: may_be_ours(&words, reach == GitReach::Network),
            words,
            is_spoken: !stderr.is_empty(),
        }))
    }

    /// Reads what git says until it ends, by itself or because the build does.
    fn attend(&self, child: &mut Child) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let stderr = child.stderr.take().expect("standard error is a pipe");
        std::thread::scope(|scope| {
            let stdout = kiln_threads::spawn_or_fail(scope, move || read_answer(stdout));
            let stderr = kiln_threads::spawn_or_fail(scope, move || read_messages(stderr));
            let (stdout, stderr) = match (stdout, stderr) {
                (Ok(stdout), Ok(stderr)) => (stdout, stderr),
                // A git whose output is not read waits for ever once the pipe is full.
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
                PollFd::from_borrowed_fd(self.settings.stop.pollable()?, PollFlags::IN),
            ];
            match poll(&mut events, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.settings.stop.is_asked() {
                return end(child);
            }
            if !events[0].revents().is_empty() {
                return child.wait();
            }
        }
    }

    fn set_environment(&self, command: &mut Command, reach: GitReach) {
        let settings = &self.settings;
        command
            .env_clear()
            .envs(
                settings
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            // A repository that is none any more is not looked for further up.
            .env("GIT_CEILING_DIRECTORIES", settings.ceiling)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_SSH_COMMAND", self.ssh_command());
        if let Some(socket) = settings.agent {
            command.env("SSH_AUTH_SOCK", socket);
        }
        let allowed = match reach {
            GitReach::Network => NETWORK,
            GitReach::Machine => "file",
        };
        command.env("GIT_ALLOW_PROTOCOL", allowed);
        let mut configuration: Vec<(String, String)> = SETTINGS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        // Other users of the machine see the arguments of a process, not its environment.
        if let Some(Authorization { scope, value }) = &settings.authorization
            && reach == GitReach::Network
        {
            configuration.push((
                format!("http.{scope}.extraHeader"),
                format!("Authorization: {value}"),
            ));
            // Behind a redirect git goes on as if the new address had been given, headers and all.
            configuration.push((format!("http.{scope}.followRedirects"), "false".to_owned()));
        }
        command.env("GIT_CONFIG_COUNT", configuration.len().to_string());
        for (number, (name, value)) in configuration.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
    }

    /// Returns how ssh is called: no configuration and no keys but the agent's. A host that is met
    /// for the first time is believed and remembered; one that changed is not.
    fn ssh_command(&self) -> OsString {
        let mut hosts = OsString::new();
        for path in &self.settings.known_hosts {
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
        if self.settings.authorization.is_some() && words.contains("returned error: 30") {
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

/// Ends git and whatever it started.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    // Not reaped yet, so the id is still that of the group.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()
}
