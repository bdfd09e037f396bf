use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Skip;

/// Where Debian's packages put programs, before where a machine's owner puts other versions.
/// An ordinary user's search path lacks the sbin ones.
const DIRECTORIES: [&str; 6] = [
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
];

/// A program that is installed on this machine.
#[derive(Debug, Clone)]
pub struct Tool {
    path: PathBuf,
}

impl Tool {
    /// Finds a program by name.
    ///
    /// # Errors
    ///
    /// A skip that names the program where no package put it.
    pub fn find(name: &str) -> Result<Self, Skip> {
        DIRECTORIES
            .iter()
            .map(|directory| Path::new(directory).join(name))
            .find(|path| path.is_file())
            .map(|path| Self { path })
            .ok_or_else(|| Skip::because(format!("no {name} on this machine")))
    }

    /// Returns where the program lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a command that starts the program, with no arguments yet.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }
}

/// Runs a command to its end and returns what it printed.
///
/// # Panics
///
/// If the command cannot be started or fails; the message holds its output.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n--- standard output\n{}--- standard error\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// Runs a command to its end and returns its standard output as text, less the final newline.
///
/// # Panics
///
/// As [`run`].
pub fn run_and_read(command: &mut Command) -> String {
    let output = run(command);
    String::from_utf8_lossy(&output.stdout)
        .trim_end_matches('\n')
        .to_owned()
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; -1 if a signal ended the command.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Runs a command to its end.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output();
        Self::from(output.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    /// Returns itself if the command, which is named in the message, succeeded.
    ///
    /// # Panics
    ///
    /// If it did not; the message holds its output.
    #[track_caller]
    pub fn succeeded(self, arguments: &[&str]) -> Self {
        assert_eq!(self.code, 0, "{arguments:?}: {self:#?}");
        self
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A process in the background that ends with its owner.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// How long it may take to end by itself before it is killed.
    patience: Duration,
}

impl Daemon {
    /// Starts a command in the background.
    ///
    /// # Errors
    ///
    /// Those of starting a process.
    pub fn spawn(command: &mut Command, patience: Duration) -> io::Result<Self> {
        let child = command.spawn()?;
        Ok(Self { child, patience })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the process to end, insists after its patience is over, and returns its status.
    ///
    /// # Errors
    ///
    /// Those of waiting for a process.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        // The child is not reaped yet, so its id is still its own.
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing better can be done here than what `stop` already tried.
        let _ = self.stop();
    }
}
