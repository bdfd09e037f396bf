use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Daemon, Scratch, Skip, Skopeo, Tool, run, run_and_read};

/// Debian's docker-registry on a free port of the loopback interface, empty at first.
///
/// It speaks plain HTTP, keeps everything in a directory of its own, lets manifests be
/// deleted, and ends when it is dropped.
#[derive(Debug)]
pub struct Registry {
    // Dropped in this order: the process first, then its files.
    daemon: Daemon,
    scratch: Scratch,
    port: u16,
    login: Option<Login>,
}

#[derive(Debug, Clone)]
struct Login {
    user: String,
    password: String,
}

impl Registry {
    /// Starts a registry that serves everybody.
    ///
    /// # Errors
    ///
    /// A skip where the package docker-registry is not installed.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start() -> Result<Self, Skip> {
        Self::start_with(None)
    }

    /// Starts a registry that asks for a user and a password in HTTP's basic way.
    ///
    /// # Errors
    ///
    /// As [`Registry::start`], and where the package apache2-utils is not installed.
    ///
    /// # Panics
    ///
    /// As [`Registry::start`].
    pub fn with_basic_auth(user: &str, password: &str) -> Result<Self, Skip> {
        Self::start_with(Some(Login {
            user: user.to_owned(),
            password: password.to_owned(),
        }))
    }

    /// Returns `127.0.0.1:<port>`, which is also how image names begin.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the full name of a repository here, with tag or digest if the name has one.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// Returns the directory with the registry's files, for tests that damage them.
    pub fn storage(&self) -> PathBuf {
        self.scratch.join("storage")
    }

    /// Returns what the registry wrote to its log, every request included.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// Returns a containers-registries.conf(5) that sends names without a host here.
    pub fn registries_conf(&self) -> PathBuf {
        self.scratch.join("registries.conf")
    }

    /// Returns a containers-auth.json(5) with the login, or without any for a registry that
    /// asks for none. Its directory can serve as `DOCKER_CONFIG`.
    pub fn auth_file(&self) -> PathBuf {
        self.scratch.join("docker/config.json")
    }

    /// Copies an image of an OCI layout here.
    ///
    /// # Errors
    ///
    /// A skip where skopeo is not installed.
    ///
    /// # Panics
    ///
    /// If it cannot be copied.
    pub fn push_layout(&self, layout: &Path, tag: &str, name: &str) -> Result<(), Skip> {
        let skopeo = Skopeo::new()?;
        run(skopeo
            .copy()
            .args(["--dest-tls-verify=false", "--dest-authfile"])
            .arg(self.auth_file())
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{}", self.image(name))));
        Ok(())
    }

    fn start_with(login: Option<Login>) -> Result<Self, Skip> {
        let program = Tool::find("docker-registry")?;
        let scratch = Scratch::for_everyone();
        let htpasswd = match &login {
            None => None,
            Some(login) => Some(write_htpasswd(&scratch, login)?),
        };
        // Between choosing a port and listening on it, somebody else may take it.
        for _ in 0..10 {
            let port = free_port();
            let settings = scratch.join("registry.yml");
            write(
                &settings,
                &configuration(&scratch, port, htpasswd.as_deref()),
            );
            let log = File::create(scratch.join("log")).expect("the directory is ours");
            let errors = log.try_clone().expect("a file can be duplicated");
            let mut daemon = Daemon::spawn(
                program
                    .command()
                    .arg("serve")
                    .arg(&settings)
                    .stdin(Stdio::null())
                    .stdout(log)
                    .stderr(errors),
                Duration::from_secs(5),
            )
            .unwrap_or_else(|error| panic!("cannot start docker-registry: {error}"));
            if wait_until_it_answers(&mut daemon, port) {
                let registry = Self {
                    daemon,
                    scratch,
                    port,
                    login,
                };
                registry.write_client_settings()?;
                return Ok(registry);
            }
        }
        let log = fs::read_to_string(scratch.join("log")).unwrap_or_default();
        panic!("docker-registry does not start:\n{log}");
    }

    /// Returns the process id, for tests that want to see it end.
    pub fn process_id(&self) -> u32 {
        self.daemon.id()
    }

    fn write_client_settings(&self) -> Result<(), Skip> {
        let address = self.address();
        write(
            &self.registries_conf(),
            &format!(
                "[[registry]]\nprefix = \"docker.io\"\nlocation = \"{address}\"\ninsecure = true\n\n\
                 [[registry]]\nlocation = \"{address}\"\ninsecure = true\n"
            ),
        );
        let auth_file = self.auth_file();
        let directory = auth_file.parent().expect("the path has two components");
        fs::create_dir(directory).expect("the directory is ours");
        write(&auth_file, "{}");
        if let Some(login) = &self.login {
            run(Tool::find("skopeo")?
                .command()
                .args(["login", "--tls-verify=false", "--authfile"])
                .arg(&auth_file)
                .args(["--username", &login.user, "--password", &login.password])
                .arg(&address));
        }
        Ok(())
    }
}

/// Returns a port of the loopback interface that nobody listened on a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("the loopback interface has a free port")
        .port()
}

fn configuration(scratch: &Scratch, port: u16, htpasswd: Option<&Path>) -> String {
    let storage = scratch.join("storage");
    let mut text = format!(
        "version: 0.1\n\
         log: {{level: info, formatter: text}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"}}\n",
        storage.display()
    );
    if let Some(htpasswd) = htpasswd {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "auth: {{htpasswd: {{realm: kiln, path: {}}}}}",
            htpasswd.display()
        );
    }
    text
}

fn write_htpasswd(scratch: &Scratch, login: &Login) -> Result<PathBuf, Skip> {
    let htpasswd = Tool::find("htpasswd")?;
    let path = scratch.join("htpasswd");
    // The registry accepts bcrypt hashes only, which -B makes.
    let line =
        run_and_read(
            htpasswd
                .command()
                .args(["-B", "-b", "-n", &login.user, &login.password]),
        );
    write(&path, &line);
    Ok(path)
}

/// Waits for an HTTP answer; returns whether it came from our process.
fn wait_until_it_answers(daemon: &mut Daemon, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while daemon.is_running() && Instant::now() < deadline {
        if answers(port) {
            // Had somebody else taken the port, ours would have ended by now or in a moment.
            sleep(Duration::from_millis(20));
            return daemon.is_running();
        }
        sleep(Duration::from_millis(10));
    }
    false
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut connection) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let request = format!("GET /v2/ HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut answer = String::new();
    connection.write_all(request.as_bytes()).is_ok()
        && connection.read_to_string(&mut answer).is_ok()
        // 401 is the answer of a registry that wants a login first.
        && (answer.contains(" 200 OK") || answer.contains(" 401 Unauthorized"))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
