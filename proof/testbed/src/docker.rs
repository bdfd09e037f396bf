use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Daemon, Scratch, Skip, Tool, need_root};

/// A Docker daemon with a socket and a data root of its own.
///
/// It makes no bridge and no firewall rules, so builds and containers use `--network host`.
#[derive(Debug)]
pub struct Dockerd {
    client: Tool,
    // Dropped in this order: the process first, then its files.
    daemon: Daemon,
    scratch: Scratch,
}

impl Dockerd {
    /// Starts a daemon without images.
    ///
    /// # Errors
    ///
    /// A skip without dockerd, its client or root.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start() -> Result<Self, Skip> {
        need_root()?;
        let server = Tool::find("dockerd")?;
        let client = Tool::find("docker")?;
        Tool::find("containerd")?;
        let scratch = Scratch::new();
        let log = File::create(scratch.join("log")).expect("the directory is ours");
        let errors = log.try_clone().expect("a file can be duplicated");
        let daemon = Daemon::spawn(
            server
                .command()
                .arg(format!(
                    "--host=unix://{}",
                    scratch.join("socket").display()
                ))
                .arg("--data-root")
                .arg(scratch.join("data"))
                .arg("--exec-root")
                .arg(scratch.join("exec"))
                .arg("--pidfile")
                .arg(scratch.join("pid"))
                .args([
                    "--iptables=false",
                    "--bridge=none",
                    "--storage-driver=overlay2",
                ])
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(errors),
            // It ends its containers and its own containerd first.
            Duration::from_secs(30),
        )
        .unwrap_or_else(|error| panic!("cannot start dockerd: {error}"));
        let mut docker = Self {
            client,
            daemon,
            scratch,
        };
        docker.wait_until_it_answers();
        Ok(docker)
    }

    /// Returns a docker client command bound to this daemon, with no verb yet.
    pub fn command(&self) -> Command {
        let mut command = self.client.command();
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.scratch.join("client"))
            // Debian's client then asks the daemon's BuildKit to build.
            .env("DOCKER_BUILDKIT", "1");
        command
    }

    /// Returns the path of the daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.scratch.join("socket")
    }

    /// Returns the directory that holds all of the daemon's files.
    pub fn directory(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.daemon.is_running() && Instant::now() < deadline {
            let answer = self
                .command()
                .arg("version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if answer.is_ok_and(|status| status.success()) {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
        panic!("dockerd does not start:\n{log}");
    }
}
