use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Daemon, Tool, run, run_and_read};
use crate::scratch::Scratch;
use crate::skip::Skip;
use crate::web::{WebAnswer, WebRequest};

/// Git repositories of a test, all below one directory that servers can serve.
#[derive(Debug)]
pub struct GitSite {
    git: Tool,
    scratch: Scratch,
}

impl GitSite {
    /// Starts without repositories.
    ///
    /// # Errors
    ///
    /// A skip if there is no git.
    pub fn new() -> Result<Self, Skip> {
        Ok(Self {
            git: Tool::find("git")?,
            scratch: Scratch::new(),
        })
    }

    /// Returns the directory that holds the repositories.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns the repository `<name>.git`; makes one with a branch `main` and no commits if there is
    /// none.
    ///
    /// # Panics
    ///
    /// If git fails.
    pub fn repository(&self, name: &str) -> GitRepository<'_> {
        let path = self.scratch.join(format!("{name}.git"));
        let is_new = !path.exists();
        fs::create_dir_all(&path).expect("the directory is ours");
        let repository = GitRepository { site: self, path };
        if is_new {
            repository.git(&["init", "--quiet", "--initial-branch=main"]);
        }
        repository
    }

    /// Starts a server for the protocol `git://`, and returns its host and port too.
    ///
    /// # Errors
    ///
    /// A skip if this git has no such server.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn serve(&self) -> Result<(Daemon, String), Skip> {
        let programs = run_and_read(self.git.command().arg("--exec-path"));
        if !Path::new(&programs).join("git-daemon").exists() {
            return Err(Skip::because("no git-daemon on this machine"));
        }
        let patience = Duration::from_secs(30);
        // Between finding a free port and using it, another process may.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").expect("loopback should have a free port");
            let address = free.local_addr().expect("the listener is bound");
            drop(free);
            let mut command = Command::new(Path::new(&programs).join("git-daemon"));
            command
                .arg("--listen=127.0.0.1")
                .arg(format!("--port={}", address.port()))
                .args(["--reuseaddr", "--export-all"])
                .arg(format!("--base-path={}", self.path().display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut daemon = Daemon::spawn(&mut command, patience).expect("git is installed");
            let deadline = Instant::now() + patience;
            while daemon.is_running() && Instant::now() < deadline {
                if TcpStream::connect(address).is_ok() {
                    return Ok((daemon, address.to_string()));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        panic!("git-daemon does not start");
    }

    /// Answers a request of git for `/<name>.git/…` as a server for smart HTTP.
    ///
    /// # Panics
    ///
    /// If git's own part of such a server is not there.
    pub fn answer(&self, request: &WebRequest) -> WebAnswer {
        let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
        // git-http-backend(1): repositories with a tree keep theirs in `.git`.
        let path = request.path.replacen(".git/", ".git/.git/", 1);
        let mut child = self
            .git
            .command()
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", self.path())
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_PROTOCOL", header("git-protocol"))
            .env("REQUEST_METHOD", &request.method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", &request.query)
            .env("CONTENT_TYPE", header("content-type"))
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("git is installed");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let body = request.body.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&body));
        let output = child.wait_with_output().expect("git was started").stdout;
        // It need not read all of it.
        let _ = writer.join();
        let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let end = end.expect("a CGI program writes headers");
        let mut answer = WebAnswer::new(200, &output[end + 4..]);
        for line in String::from_utf8_lossy(&output[..end]).lines() {
            match line.split_once(": ") {
                Some(("Status", status)) => {
                    answer.status = status[..3].parse().expect("a status has three digits");
                }
                Some((name, value)) => answer = answer.with(name, value),
                None => {}
            }
        }
        answer
    }

    /// Answers a request for a file of `/<name>.git/…`, as any server of files does.
    pub fn answer_with_file(&self, request: &WebRequest) -> WebAnswer {
        let path = request.path.replacen(".git/", ".git/.git/", 1);
        match fs::read(self.path().join(path.trim_start_matches('/'))) {
            Ok(content) => WebAnswer::new(200, content),
            Err(_) => WebAnswer::new(404, ""),
        }
    }
}

/// A repository of a [`GitSite`], with a work tree.
#[derive(Debug)]
pub struct GitRepository<'a> {
    site: &'a GitSite,
    path: PathBuf,
}

impl GitRepository<'_> {
    /// Returns the work tree.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs git in the work tree and returns what it printed.
    ///
    /// # Panics
    ///
    /// If git fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        let mut command = self.site.git.command();
        command
            .args(arguments)
            .current_dir(&self.path)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ALLOW_PROTOCOL", "file:git:http")
            .envs([
                ("GIT_AUTHOR_NAME", "A"),
                ("GIT_AUTHOR_EMAIL", "a@example.com"),
                ("GIT_COMMITTER_NAME", "A"),
                ("GIT_COMMITTER_EMAIL", "a@example.com"),
                ("GIT_AUTHOR_DATE", "1700000000 +0000"),
                ("GIT_COMMITTER_DATE", "1700000000 +0000"),
            ]);
        run_and_read(&mut command)
    }

    /// Writes a file.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().expect("a file has a directory"))
            .expect("the directory is ours");
        fs::write(path, text).expect("the directory is ours");
        self
    }

    /// Commits everything, at 2023-11-14T22:13:20Z, and returns the commit.
    ///
    /// # Panics
    ///
    /// If git fails.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.publish();
        self.git(&["rev-parse", "HEAD"])
    }

    /// Writes down what servers of plain files need.
    ///
    /// # Panics
    ///
    /// If git fails.
    pub fn publish(&self) {
        run(self
            .site
            .git
            .command()
            .arg("update-server-info")
            .current_dir(&self.path));
    }
}
