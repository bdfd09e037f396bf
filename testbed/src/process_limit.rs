use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::{Skip, Tool, need_root};

/// Enters the control group $1 and becomes the program after it.
const ENTER: &str = "echo $$ > \"$1/cgroup.procs\" && shift && exec \"$@\"";

/// A control group in which few processes and threads may be.
#[derive(Debug)]
pub struct ProcessLimit {
    directory: PathBuf,
    timeout: Tool,
}

impl ProcessLimit {
    /// Makes one. `name` is that of no other on this machine.
    ///
    /// # Errors
    ///
    /// A skip for anybody but root, and where control groups do not count processes.
    pub fn new(name: &str) -> Result<Self, Skip> {
        need_root()?;
        let timeout = Tool::find("timeout")?;
        let hierarchies = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        for hierarchy in hierarchies.map(Path::new) {
            let directory = hierarchy.join(format!("kiln-test-{}-{name}", std::process::id()));
            if fs::create_dir(&directory).is_err() {
                continue;
            }
            let limit = Self { directory, timeout };
            if limit.directory.join("pids.max").exists() {
                return Ok(limit);
            }
            return Err(Skip::because("no control groups that count processes"));
        }
        Err(Skip::because("no control group can be made"))
    }

    /// Sets how many there may be.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn set(&self, most: u32) {
        let file = self.directory.join("pids.max");
        fs::write(&file, most.to_string())
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
    }

    /// Waits until nobody is inside any more: what a command left ends a moment after it.
    ///
    /// # Panics
    ///
    /// If somebody stays for ten seconds.
    pub fn wait_until_empty(&self) {
        let read = |file: &str| fs::read_to_string(self.directory.join(file)).unwrap_or_default();
        for _ in 0..1000 {
            if read("pids.current").trim() == "0" {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        let inside = read("cgroup.procs");
        let lines = inside.lines().map(|id| {
            let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            format!(
                "{id}: {}\n",
                String::from_utf8_lossy(&arguments).replace('\0', " ")
            )
        });
        panic!(
            "{} are still inside:\n{}",
            read("pids.current").trim(),
            lines.collect::<String>()
        );
    }

    /// Returns a command that does the same inside. Its status is 137 if it takes more than two
    /// minutes.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = self.timeout.command();
        inside
            .args(["-s", "KILL", "120", "/bin/sh", "-c", ENTER, "sh"])
            .arg(&self.directory)
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            inside.env(name, value.unwrap_or(OsStr::new("")));
        }
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        inside
    }
}

impl Drop for ProcessLimit {
    fn drop(&mut self) {
        // What ended a moment ago may not have left yet.
        for _ in 0..100 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
    }
}
