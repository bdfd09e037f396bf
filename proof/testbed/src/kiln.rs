//! kiln, with all that a test's machine would otherwise add to it left out.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Bases, Ended, Leftover, Registry, Scratch, Skip, User, busybox, copy_for_everyone, leftovers,
};

/// Where commands of root are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The state directory that commands use if none is named.
const STATE: &str = "state";

/// What tells kiln which registry to ask.
const SETTINGS: &str = "registries.conf";

/// A kiln program with a home, settings and state of its own, which go with it.
///
/// A test that fails may leave containers running: they are stopped then.
#[derive(Debug)]
pub struct Kiln {
    program: PathBuf,
    /// Who runs it, if that is not the test's own user.
    user: Option<User>,
    /// Where the program lies if the user cannot run it where it was built.
    _place: Option<Scratch>,
    /// The working directory of all commands; state, settings and contexts lie in it.
    pub scratch: Scratch,
}

impl Kiln {
    /// Binds a program to an empty state directory.
    pub fn new(program: &Path) -> Self {
        Self::in_scratch(program, Scratch::new())
    }

    /// As [`Kiln::new`], in a directory of the caller's choice.
    pub fn in_scratch(program: &Path, scratch: Scratch) -> Self {
        Self {
            program: program.to_owned(),
            user: None,
            _place: None,
            scratch,
        }
    }

    /// As [`Kiln::new`], run by another user.
    pub fn of_user(program: &Path, user: User) -> Self {
        let (place, program) = copy_for_everyone(program);
        let scratch = user.scratch();
        Self {
            program,
            user: Some(user),
            _place: Some(place),
            scratch,
        }
    }

    /// As [`Kiln::new`], where builds are possible: a static busybox is in the context `ctx`.
    ///
    /// # Errors
    ///
    /// A skip where there are no user namespaces, or no busybox.
    ///
    /// # Panics
    ///
    /// If the context cannot be written.
    pub fn for_builds(program: &Path) -> Result<Self, Skip> {
        let kiln = Self::new(program);
        let namespaces = kiln.ok(&["info", "--format", "{{.Namespaces}}"]);
        if namespaces.starts_with("none") {
            return Err(Skip::because("no user namespaces"));
        }
        let context = kiln.scratch.join("ctx");
        fs::create_dir(&context).expect("the directory is ours");
        fs::copy(busybox()?, context.join("busybox")).expect("the directory is ours");
        Ok(kiln)
    }

    /// As [`Kiln::new`], beside a part of the shared registry with base images, which kiln knows.
    ///
    /// # Errors
    ///
    /// As [`Bases::serve`].
    ///
    /// # Panics
    ///
    /// As [`Bases::serve`].
    pub fn with_bases(program: &Path, bases: &[&str]) -> Result<(Self, Registry), Skip> {
        let registry = Bases::by(program).serve(bases)?;
        let kiln = Self::new(program);
        kiln.knows(&registry);
        Ok((kiln, registry))
    }

    /// Returns where the program lies.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the user who runs it, if that is not the test's own.
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Returns the state directory of commands that name no other.
    pub fn state(&self) -> PathBuf {
        self.scratch.join(STATE)
    }

    /// Returns a kiln command without arguments.
    pub fn command(&self) -> Command {
        self.command_on(&self.state())
    }

    /// As [`Kiln::command`], on another state directory.
    pub fn command_on(&self, state: &Path) -> Command {
        self.bind(self.command_of_user(&self.program), state)
    }

    /// Returns a command of the user who runs kiln.
    pub fn command_of_user(&self, program: &Path) -> Command {
        match &self.user {
            Some(user) => user.command(program),
            None => Command::new(program),
        }
    }

    /// Binds a command that starts kiln in a roundabout way to a state directory. Nothing is in
    /// its environment that is not the test's.
    pub fn bind(&self, mut command: Command, state: &Path) -> Command {
        if self.user.is_none() {
            command
                .env_clear()
                .env("PATH", PATH)
                .env("HOME", self.scratch.path());
        }
        command
            .env("KILN_ROOT", state)
            .env("CONTAINERS_REGISTRIES_CONF", self.scratch.join(SETTINGS))
            .current_dir(self.scratch.path())
            .stdin(Stdio::null());
        command
    }

    /// Tells kiln that names without a host are this registry's, and that it speaks plain HTTP.
    ///
    /// # Panics
    ///
    /// If the settings cannot be written.
    pub fn knows(&self, registry: &Registry) {
        fs::copy(registry.registries_conf(), self.scratch.join(SETTINGS))
            .expect("the directory is ours");
    }

    /// Runs kiln.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command().args(arguments))
    }

    /// Runs kiln with something on standard input.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn run_with(&self, input: impl AsRef<[u8]>, arguments: &[&str]) -> Ended {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kiln can be started");
        let mut stdin = child.stdin.take().expect("it is a pipe");
        let input = input.as_ref().to_vec();
        // kiln need not read all of it: a command that is refused for its flags reads nothing.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("a child can be waited for");
        writer.join().expect("the writer does not panic");
        Ended::from(output)
    }

    /// Runs kiln, which must succeed, and returns its standard output less the final line end.
    ///
    /// # Panics
    ///
    /// If it fails; the message holds its output.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).succeeded(arguments);
        ended.stdout.trim_end_matches('\n').to_owned()
    }

    /// Builds a context with plain progress, and returns that.
    ///
    /// # Panics
    ///
    /// As [`Kiln::ok`].
    #[track_caller]
    pub fn build(&self, context: &Path, arguments: &[&str]) -> String {
        let mut command = self.command();
        command
            .args(["build", "--progress", "plain"])
            .args(arguments);
        Ended::of(command.arg(context)).succeeded(arguments).stderr
    }

    /// Builds an image of `ctx` with a shell and the given further instructions.
    ///
    /// # Panics
    ///
    /// As [`Kiln::ok`].
    #[track_caller]
    pub fn build_shell(&self, name: &str, further: &str) {
        self.dockerfile(&format!(
            "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n{further}\n"
        ));
        self.ok(&["build", "-t", name, "ctx"]);
    }

    /// Writes a Dockerfile into the context `ctx`.
    ///
    /// # Panics
    ///
    /// As [`Kiln::write`].
    pub fn dockerfile(&self, text: &str) {
        self.write("ctx/Dockerfile", text);
    }

    /// Writes a context out of file names and contents.
    ///
    /// # Panics
    ///
    /// As [`Kiln::write`].
    pub fn context(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = Path::new(name);
        for (file, content) in files {
            self.write(directory.join(file), content);
        }
        self.scratch.join(name)
    }

    /// Writes a file of the scratch directory.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.scratch.join(path);
        let directory = path.parent().expect("the scratch directory is above");
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&path, text))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }

    /// Stops all containers of all state directories, and what else is at work there.
    fn stop(&self) {
        for entry in fs::read_dir(self.scratch.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let containers = fs::read_dir(entry.path().join("containers"));
            let all = containers.into_iter().flatten().flatten();
            let are_kept = all.filter(|entry| entry.path().is_dir());
            let ids: Vec<_> = are_kept.map(|entry| entry.file_name()).collect();
            if !ids.is_empty() {
                let mut remove = self.command_on(&entry.path());
                // What kiln cannot remove any more is killed below.
                let _ = remove.args(["rm", "--force"]).args(ids).output();
            }
        }
        for leftover in leftovers(self.scratch.path()) {
            if let Leftover::Process { id, .. } = leftover
                && let Some(id) = Pid::from_raw(id.cast_signed())
            {
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }
}

impl Drop for Kiln {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop();
        }
    }
}
