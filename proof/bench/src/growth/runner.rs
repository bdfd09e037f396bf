use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::curve::Point;
use crate::area::Area;
use crate::error::Error;
use crate::memory::size_in;
use crate::meter::Meter;

/// Between two looks at how much memory a command has.
const GLANCE: Duration = Duration::from_millis(1);

/// Commands that are over sooner are repeated; the least counts.
const SHORT: Duration = Duration::from_millis(300);
const REPEATS: usize = 5;

/// Runs commands and measures them.
pub(super) struct CommandRunner<'run> {
    kiln: PathBuf,
    pub(super) area: &'run Area,
    meter: &'run Meter,
    log: PathBuf,
}

/// What a command took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) cpu: Duration,
    private_bytes: Option<u64>,
}

impl Cost {
    /// Returns the cost at a size.
    pub(super) fn at(self, size: u64, limit: Option<Self>) -> Point {
        Point {
            size,
            cpu: self.cpu,
            private_bytes: self.private_bytes,
            limit: limit.map(|limit| limit.cpu),
        }
    }
}

impl<'run> CommandRunner<'run> {
    pub(super) fn new(kiln: &Path, area: &'run Area, meter: &'run Meter) -> Result<Self, Error> {
        let kiln = kiln
            .canonicalize()
            .map_err(|error| Error::Lacking(format!("{}: {error}", kiln.display())))?;
        Ok(Self {
            kiln,
            area,
            meter,
            log: area.unused("log"),
        })
    }

    /// Returns kiln with a state directory.
    pub(super) fn kiln(&self, state: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kiln);
        command
            .env("KILN_ROOT", state)
            .env("KILN_CACHE_MIN_FREE_SPACE", "0")
            .args(arguments);
        command
    }

    /// Runs a command that prepares something.
    pub(super) fn prepare(&self, command: &mut Command) -> Result<(), Error> {
        self.run(command).map(drop)
    }

    /// Runs a command once and measures it.
    pub(super) fn once(&self, command: &mut Command) -> Result<Cost, Error> {
        let before = self.meter.cpu()?;
        let private_bytes = self.run(command)?;
        // The kernel books what a process used when it leaves the CPU.
        sleep(Duration::from_millis(5));
        let cpu = self.meter.cpu()?.saturating_sub(before);
        Ok(Cost { cpu, private_bytes })
    }

    /// Runs commands that change nothing, the short ones several times.
    pub(super) fn again(&self, command: impl Fn() -> Command) -> Result<Cost, Error> {
        let mut best = self.once(&mut command())?;
        for _ in 1..REPEATS {
            if best.cpu >= SHORT {
                break;
            }
            let next = self.once(&mut command())?;
            best = Cost {
                cpu: best.cpu.min(next.cpu),
                private_bytes: best.private_bytes.max(next.private_bytes),
            };
        }
        Ok(best)
    }

    /// Runs a command and returns the most private memory that it was seen to have.
    fn run(&self, command: &mut Command) -> Result<Option<u64>, Error> {
        let log = File::create(&self.log).map_err(Error::at(&self.log))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let doing = format!("{command:?}");
        let fail = |said: String| Error::Preparation {
            doing: doing.clone(),
            said,
        };
        let mut child = command.spawn().map_err(|error| fail(error.to_string()))?;
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut most = None;
        let ended = loop {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(ended)) => break ended,
                Err(error) => return Err(fail(error.to_string())),
            }
            let text = fs::read_to_string(&status).unwrap_or_default();
            most = most.max(size_in(&text, "RssAnon:"));
            sleep(GLANCE);
        };
        if ended.success() {
            Ok(most)
        } else {
            Err(fail(fs::read_to_string(&self.log).unwrap_or_default()))
        }
    }

    /// Writes a Dockerfile.
    pub(super) fn dockerfile(&self, path: &Path, text: &str) -> Result<(), Error> {
        let write = || File::create(path)?.write_all(text.as_bytes());
        write().map_err(Error::at(path))
    }
}
