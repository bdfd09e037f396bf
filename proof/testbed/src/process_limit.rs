use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::{Skip, Tool, User, need_root};

/// Enters the control group $1 and becomes the program after it.
const ENTER: &str = "echo $$ > \"$1/cgroup.procs\" && shift && exec \"$@\"";

/// Where few processes and threads may be.
#[derive(Debug)]
pub struct ProcessLimit {
    place: LimitedProcesses,
    timeout: Tool,
}

#[derive(Debug)]
enum LimitedProcesses {
    /// A control group.
    Group(PathBuf),
    /// Everything of a user, by `ulimit -u`.
    User { uid: u32, prlimit: Tool },
}

impl ProcessLimit {
    /// Makes a control group for it. `name` is that of no other on this machine.
    ///
    /// # Errors
    ///
    /// A skip for anybody but root, and where control groups do not count processes.
    pub fn in_group(name: &str) -> Result<Self, Skip> {
        need_root()?;
        let timeout = Tool::find("timeout")?;
        let hierarchies = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        for hierarchy in hierarchies.map(Path::new) {
            let directory = hierarchy.join(format!("kiln-test-{}-{name}", std::process::id()));
            if fs::create_dir(&directory).is_err() {
                continue;
            }
            let counts = directory.join("pids.max").exists();
            let limit = Self {
                place: LimitedProcesses::Group(directory),
                timeout,
            };
            return if counts {
                Ok(limit)
            } else {
                Err(Skip::because("no control groups that count processes"))
            };
        }
        Err(Skip::because("no control group can be made"))
    }

    /// Limits what a user has. No other test may use this user.
    ///
    /// # Errors
    ///
    /// A skip for anybody but root, and where there is no `prlimit`.
    pub fn of_user(user: &User) -> Result<Self, Skip> {
        need_root()?;
        let place = LimitedProcesses::User {
            uid: user.uid(),
            prlimit: Tool::find("prlimit")?,
        };
        Ok(Self {
            place,
            timeout: Tool::find("timeout")?,
        })
    }

    /// Waits until no process is inside any more: what a command left ends a moment after it.
    ///
    /// # Panics
    ///
    /// If a process stays for ten seconds.
    pub fn wait_until_empty(&self) {
        for _ in 0..1000 {
            if self.is_empty() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        let lines = self.processes().into_iter().map(|id| {
            let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            format!(
                "{id}: {}\n",
                String::from_utf8_lossy(&arguments).replace('\0', " ")
            )
        });
        panic!("are still inside:\n{}", lines.collect::<String>());
    }

    fn is_empty(&self) -> bool {
        match &self.place {
            // What has no number any more counts here too.
            LimitedProcesses::Group(directory) => {
                let count = fs::read_to_string(directory.join("pids.current"));
                count.unwrap_or_default().trim() == "0"
            }
            LimitedProcesses::User { .. } => self.processes().is_empty(),
        }
    }

    /// Returns the numbers of those inside.
    fn processes(&self) -> Vec<String> {
        let uid = match &self.place {
            LimitedProcesses::Group(directory) => {
                let inside = fs::read_to_string(directory.join("cgroup.procs"));
                return inside
                    .unwrap_or_default()
                    .lines()
                    .map(str::to_owned)
                    .collect();
            }
            LimitedProcesses::User { uid, .. } => uid.to_string(),
        };
        let all = fs::read_dir("/proc").expect("/proc can be listed");
        let numbers = all
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let is_inside = |number: &String| {
            let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
            ids.and_then(|ids| ids.split_whitespace().next()) == Some(&uid)
        };
        numbers.filter(is_inside).collect()
    }

    /// Returns a command that does the same where there may be so many. Its status is 137 if it takes
    /// more than two minutes.
    ///
    /// # Panics
    ///
    /// If the kernel refuses the limit.
    pub fn inside(&self, most: u32, command: &Command) -> Command {
        let mut inside = self.timeout.command();
        inside.args(["-s", "KILL", "120"]);
        match &self.place {
            LimitedProcesses::Group(directory) => {
                let file = directory.join("pids.max");
                fs::write(&file, most.to_string())
                    .unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
                inside.args(["/bin/sh", "-c", ENTER, "sh"]).arg(directory);
            }
            LimitedProcesses::User { prlimit, .. } => {
                inside.arg(prlimit.path()).arg(format!("--nproc={most}"));
            }
        }
        inside.arg(command.get_program()).args(command.get_args());
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
        let LimitedProcesses::Group(directory) = &self.place else {
            return;
        };
        // What ended a moment ago may not have left yet.
        for _ in 0..100 {
            if fs::remove_dir(directory).is_ok() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
    }
}
