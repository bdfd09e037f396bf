//! Debian's docker-registry: one for all tests of a program, or one of a test's own.
//!
//! Starting one takes a moment and a process, so tests share [`Registry::shared`], in which each has
//! repositories of its own, told apart by the first component of their names. A test that damages
//! what a registry stores, asks for a login, or counts on being alone starts its own.
//!
//! A test program does not run to the end of `main`, and may be killed. So a shell watches over the
//! shared registry: it reads from a pipe that the test program holds and never writes to. When the
//! program is gone, however it ended, the shell ends the registry and removes its files.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Daemon, Scratch, Skip, Skopeo, Tool, run, run_and_read};

/// What the shell does that watches over a shared registry: `$1` is the registry's process id, `$2`
/// the directory of its files. The id counts only while its command line names that directory.
const WATCH: &str = r#"
read -r _
serves() { grep -qsF "$2" "/proc/$1/cmdline"; }
if serves "$1" "$2"; then kill "$1"; fi
for _ in $(seq 500); do serves "$1" "$2" || break; sleep 0.01; done
rm -rf "$2"
"#;

/// Debian's docker-registry on a free port of the loopback interface, empty at first.
///
/// It speaks plain HTTP and lets manifests be deleted. One of a test's own ends, and its files go,
/// when it is dropped; the shared one does with the test program.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    /// What the names of repositories begin with, with a slash at its end; empty for all.
    prefix: String,
    /// What clients read: which registry to ask, and logins.
    settings: PathBuf,
    login: Option<Login>,
}

#[derive(Debug)]
enum Server {
    Own(Serving),
    Shared(&'static Shared),
}

/// A process that serves.
#[derive(Debug)]
struct Serving {
    // Dropped in this order: the process first, then its files.
    daemon: Daemon,
    scratch: Scratch,
    port: u16,
}

/// The registry that all tests of this process share.
#[derive(Debug)]
struct Shared {
    serving: Serving,
    /// The shell that watches, with the pipe that it reads.
    _watching: Child,
    /// Repositories that were filled once, for all.
    filled: Mutex<BTreeSet<String>>,
    /// How many tests were given a part of it.
    parts: AtomicU32,
}

#[derive(Debug, Clone)]
struct Login {
    user: String,
    password: String,
}

impl Registry {
    /// Returns repositories of the caller's own in the registry that all tests of this process share;
    /// starts it for the first of them. Names without a host are sought among these repositories.
    ///
    /// # Errors
    ///
    /// As [`Registry::start`].
    ///
    /// # Panics
    ///
    /// As [`Registry::start`].
    pub fn shared() -> Result<Self, Skip> {
        static SHARED: OnceLock<Result<Shared, Skip>> = OnceLock::new();
        let shared = SHARED.get_or_init(Shared::start).as_ref();
        let shared = shared.map_err(Clone::clone)?;
        let part = shared.parts.fetch_add(1, Ordering::Relaxed);
        let registry = Self {
            server: Server::Shared(shared),
            prefix: format!("test-{part}/"),
            settings: shared.serving.scratch.join(format!("settings-{part}")),
            login: None,
        };
        registry.write_client_settings()?;
        Ok(registry)
    }

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

    /// Returns `127.0.0.1:<port>`, the host of image names.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.serving().port)
    }

    /// Returns what the names of all images here begin with, without the slash behind it: the host,
    /// and what sets this test's repositories apart from those of others.
    pub fn repositories(&self) -> String {
        let address = self.address();
        format!("{address}/{}", self.prefix)
            .trim_end_matches('/')
            .to_owned()
    }

    /// Returns the name of a repository here without the host.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the full name of a repository here, with tag or digest if the name has one.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{}", self.address(), self.path(name))
    }

    /// Returns the directory with the registry's files, for tests that damage them.
    ///
    /// # Panics
    ///
    /// If it is the shared one: its files are others' too.
    pub fn storage(&self) -> PathBuf {
        match &self.server {
            Server::Own(serving) => serving.scratch.join("storage"),
            Server::Shared(_) => panic!("the files of a shared registry are others' too"),
        }
    }

    /// Returns what the registry wrote to its log, every request included; of the shared one, what
    /// concerns repositories of the caller's.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.serving().scratch.join("log")).unwrap_or_default();
        let is_own = |line: &&str| line.contains(&format!("/v2/{}", self.prefix));
        match &self.server {
            Server::Own(_) => log,
            Server::Shared(_) => log.split_inclusive('\n').filter(is_own).collect(),
        }
    }

    fn serving(&self) -> &Serving {
        match &self.server {
            Server::Own(serving) => serving,
            Server::Shared(shared) => &shared.serving,
        }
    }

    /// Returns a containers-registries.conf(5) that sends names without a host here.
    pub fn registries_conf(&self) -> PathBuf {
        self.settings.join("registries.conf")
    }

    /// Returns a containers-auth.json(5) with the login, or without any for a registry that
    /// asks for none. Its directory can serve as `DOCKER_CONFIG`.
    pub fn auth_file(&self) -> PathBuf {
        self.settings.join("docker/config.json")
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
        self.copy_layout(layout, tag, &self.image(name))
    }

    /// Copies an image of an OCI layout, tagged `latest`, to `library/<name>` for all tests that
    /// share this registry, unless one did so before, and lets names without a host find it there.
    /// `group` tells apart what is called the same and is not.
    ///
    /// # Errors
    ///
    /// As [`Registry::push_layout`].
    ///
    /// # Panics
    ///
    /// As [`Registry::push_layout`].
    pub(crate) fn share_layout(&self, layout: &Path, group: &str, name: &str) -> Result<(), Skip> {
        let Server::Shared(shared) = &self.server else {
            return self.push_layout(layout, "latest", &format!("library/{name}"));
        };
        let repository = format!("{}/{group}/library/{name}", self.address());
        // Held during the copy, so that no other test asks for half an image.
        let mut filled = shared.filled.lock().unwrap_or_else(PoisonError::into_inner);
        if !filled.contains(&repository) {
            self.copy_layout(layout, "latest", &repository)?;
            filled.insert(repository.clone());
        }
        drop(filled);
        let mut settings = File::options()
            .append(true)
            .open(self.registries_conf())
            .expect("the directory is ours");
        settings
            .write_all(
                format!(
                    "\n[[registry]]\nprefix = \"docker.io/library/{name}\"\n\
                     location = \"{repository}\"\ninsecure = true\n"
                )
                .as_bytes(),
            )
            .expect("the directory is ours");
        Ok(())
    }

    fn copy_layout(&self, layout: &Path, tag: &str, image: &str) -> Result<(), Skip> {
        let skopeo = Skopeo::new()?;
        run(skopeo
            .copy()
            .args(["--dest-tls-verify=false", "--dest-authfile"])
            .arg(self.auth_file())
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{image}")));
        Ok(())
    }

    fn start_with(login: Option<Login>) -> Result<Self, Skip> {
        let serving = Serving::start(login.as_ref())?;
        let registry = Self {
            settings: serving.scratch.join("settings"),
            server: Server::Own(serving),
            prefix: String::new(),
            login,
        };
        registry.write_client_settings()?;
        Ok(registry)
    }

    /// Returns the process id, for tests that want to see it end.
    pub fn process_id(&self) -> u32 {
        self.serving().daemon.id()
    }

    fn write_client_settings(&self) -> Result<(), Skip> {
        let (address, repositories) = (self.address(), self.repositories());
        let auth_file = self.auth_file();
        let directory = auth_file.parent().expect("the path has two components");
        fs::create_dir_all(directory).expect("the directory is ours");
        write(
            &self.registries_conf(),
            &format!(
                "[[registry]]\nprefix = \"docker.io\"\nlocation = \"{repositories}\"\n\
                 insecure = true\n\n\
                 [[registry]]\nlocation = \"{address}\"\ninsecure = true\n"
            ),
        );
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

impl Shared {
    fn start() -> Result<Self, Skip> {
        let serving = Serving::start(None)?;
        // In a process group of its own, which an interrupt of the tests does not reach.
        let watching = Command::new("sh")
            .args(["-c", WATCH, "sh", &serving.daemon.id().to_string()])
            .arg(serving.scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start a shell: {error}"));
        Ok(Self {
            serving,
            _watching: watching,
            filled: Mutex::new(BTreeSet::new()),
            parts: AtomicU32::new(0),
        })
    }
}

impl Serving {
    /// Starts a registry and waits until it answers.
    fn start(login: Option<&Login>) -> Result<Self, Skip> {
        let program = Tool::find("docker-registry")?;
        let scratch = Scratch::for_everyone();
        let htpasswd = match login {
            None => None,
            Some(login) => Some(write_htpasswd(&scratch, login)?),
        };
        // Between choosing a port and listening on it, another process may take it.
        for _ in 0..10 {
            let port = free_port();
            let settings = scratch.join("registry.yml");
            write(
                &settings,
                &configuration(&scratch, port, htpasswd.as_deref()),
            );
            let log = File::create(scratch.join("log")).expect("the directory is ours");
            let errors = log.try_clone().expect("a file can be duplicated");
            let mut command = program.command();
            command
                .arg("serve")
                .arg(&settings)
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(errors);
            let mut daemon = Daemon::spawn(&mut command, Duration::from_secs(5))
                .unwrap_or_else(|error| panic!("cannot start docker-registry: {error}"));
            if wait_until_it_answers(&mut daemon, port) {
                return Ok(Self {
                    daemon,
                    scratch,
                    port,
                });
            }
        }
        let log = fs::read_to_string(scratch.join("log")).unwrap_or_default();
        panic!("docker-registry does not start:\n{log}");
    }
}

/// Returns a port of the loopback interface that was free a moment ago.
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
            // Had another process taken the port, ours would have ended by now or in a moment.
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
