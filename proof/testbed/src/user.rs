//! Users who are not root.
//!
//! Rootless builds differ by whether the user has ranges of subordinate ids, so there are
//! two users: `kiln-test` with ranges and `kiln-test-nosub` without. They are made when a
//! test first asks as root, and stay, as `useradd` on a machine is a lasting thing and the
//! next run finds them. An ordinary user who runs the tests is the ordinary user.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Scratch, Skip, Tool, need_root, run, run_and_read};

/// A user of this machine with a home directory of the test's own.
#[derive(Debug)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: Scratch,
    switch: Switch,
}

/// How a command comes to run as the user.
#[derive(Debug, Clone)]
enum Switch {
    /// The test runs as this user already.
    None,
    /// The test is root and changes its ids with `setpriv`.
    Setpriv(Tool),
    /// Likewise, for a user whom no file names.
    SetprivUnnamed(Tool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ranges {
    Present,
    Absent,
}

/// Returns an ordinary user with ranges in /etc/subuid and /etc/subgid.
///
/// # Errors
///
/// A skip where none can be made.
///
/// # Panics
///
/// If root cannot make one although the programs for it are there.
pub fn ordinary_user() -> Result<User, Skip> {
    Tool::find("newuidmap")?;
    if need_root().is_ok() {
        return User::made("kiln-test", Ranges::Present);
    }
    let user = User::current();
    if user.has_ranges() {
        Ok(user)
    } else {
        Err(Skip::because(format!(
            "{} has no range in /etc/subuid",
            user.name
        )))
    }
}

/// Returns an ordinary user without any range in /etc/subuid and /etc/subgid.
///
/// # Errors
///
/// A skip for anybody but root, who alone can make one.
///
/// # Panics
///
/// As [`ordinary_user`].
pub fn user_without_subids() -> Result<User, Skip> {
    need_root()?;
    User::made("kiln-test-nosub", Ranges::Absent)
}

/// Returns a user whom no file of this machine names, who has no ranges, and of whom nothing else runs.
///
/// # Errors
///
/// A skip for anybody but root.
pub fn stranger() -> Result<User, Skip> {
    need_root()?;
    let setpriv = Tool::find("setpriv")?;
    // Far from those that programs and people are given; sixteen for each program that tests.
    static MADE: AtomicU32 = AtomicU32::new(0);
    let id = 1_000_000_000 + std::process::id() * 16 + MADE.fetch_add(1, Ordering::Relaxed);
    let switch = Switch::SetprivUnnamed(setpriv);
    Ok(User::numbered("stranger", id, id, switch))
}

/// Copies a program to where every user may run it. It is there as long as the directory is.
///
/// # Panics
///
/// If the program cannot be read.
pub fn copy_for_everyone(program: &Path) -> (Scratch, PathBuf) {
    let scratch = Scratch::for_everyone();
    let name = program.file_name().expect("a program has a name");
    let copy = scratch.join(name);
    fs::copy(program, &copy)
        .and_then(|_| fs::set_permissions(&copy, Permissions::from_mode(0o755)))
        .unwrap_or_else(|error| panic!("cannot copy {}: {error}", program.display()));
    (scratch, copy)
}

impl User {
    /// Returns the login name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns the id of the primary group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Returns the home directory that commands see, empty at first but for `run` (0700).
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns a command that starts a program as this user, in its home directory, with
    /// `HOME`, `USER`, `LOGNAME`, `SHELL`, `PATH`, `LANG` and `XDG_RUNTIME_DIR` as its whole
    /// environment.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = match &self.switch {
            Switch::None => Command::new(program.as_ref()),
            Switch::Setpriv(setpriv) => self.switched(setpriv, "--init-groups", program),
            Switch::SetprivUnnamed(setpriv) => self.switched(setpriv, "--clear-groups", program),
        };
        command
            .env_clear()
            .env("HOME", self.home())
            .env("USER", &self.name)
            .env("LOGNAME", &self.name)
            .env("SHELL", "/bin/sh")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("XDG_RUNTIME_DIR", self.home.join("run"))
            .current_dir(self.home());
        command
    }

    fn switched(&self, setpriv: &Tool, groups: &str, program: impl AsRef<Path>) -> Command {
        let mut command = setpriv.command();
        command
            .args(["--reuid", &self.uid.to_string()])
            .args(["--regid", &self.gid.to_string()])
            .args([groups, "--"])
            .arg(program.as_ref());
        command
    }

    /// Makes an empty directory that belongs to this user.
    ///
    /// # Panics
    ///
    /// If the temporary directory of the machine cannot be written.
    pub fn scratch(&self) -> Scratch {
        let scratch = Scratch::for_everyone();
        self.own(scratch.path());
        scratch
    }

    /// Gives a file or directory, but nothing below it, to this user.
    ///
    /// # Panics
    ///
    /// If the file is missing.
    pub fn own(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid))
            .unwrap_or_else(|error| panic!("cannot chown {}: {error}", path.display()));
    }

    fn made(name: &str, ranges: Ranges) -> Result<Self, Skip> {
        let setpriv = Tool::find("setpriv")?;
        make_account(name, ranges)?;
        Ok(Self::named(name, Switch::Setpriv(setpriv)))
    }

    fn current() -> Self {
        let name = run_and_read(Command::new("id").arg("--user").arg("--name"));
        Self::named(&name, Switch::None)
    }

    fn named(name: &str, switch: Switch) -> Self {
        let number = |which: &str| {
            run_and_read(Command::new("id").arg(which).arg(name))
                .parse()
                .expect("id prints a number")
        };
        Self::numbered(name, number("--user"), number("--group"), switch)
    }

    fn numbered(name: &str, uid: u32, gid: u32, switch: Switch) -> Self {
        let user = Self {
            name: name.to_owned(),
            uid,
            gid,
            home: Scratch::for_everyone(),
            switch,
        };
        let runtime = user.home.join("run");
        fs::create_dir(&runtime)
            .and_then(|()| fs::set_permissions(&runtime, Permissions::from_mode(0o700)))
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", runtime.display()));
        user.own(&runtime);
        user.own(user.home());
        user
    }

    fn has_ranges(&self) -> bool {
        lists("/etc/subuid", &self.name) && lists("/etc/subgid", &self.name)
    }
}

fn make_account(name: &str, ranges: Ranges) -> Result<(), Skip> {
    let useradd = Tool::find("useradd")?;
    let usermod = Tool::find("usermod")?;
    // Tests run side by side; useradd fails when another one holds the password file. The
    // program's own file serves as the lock, since it is there and stays.
    let lock = File::open(useradd.path()).expect("a program can be read");
    lock.lock().expect("an open file can be locked");

    if !lists("/etc/passwd", name) {
        let mut command = useradd.command();
        command.args(["--no-create-home", "--shell", "/bin/sh"]);
        command.args(["--comment", "tests of kiln"]);
        if ranges == Ranges::Absent {
            command.args(["-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]);
        }
        run(command.arg(name));
    }
    for (file, option) in [
        ("/etc/subuid", "--add-subuids"),
        ("/etc/subgid", "--add-subgids"),
    ] {
        match (ranges, lists(file, name)) {
            // Not every useradd allots ranges: it does not where the file was missing.
            (Ranges::Present, false) => {
                let first = first_free_id(file);
                let range = format!("{first}-{}", first + 65_535);
                run(usermod.command().args([option, &range, name]));
            }
            (Ranges::Absent, true) => panic!("{name} must have no range in {file}"),
            (Ranges::Present, true) | (Ranges::Absent, false) => {}
        }
    }
    Ok(())
}

/// Returns whether a colon-separated table of the system has a line for a user.
fn lists(file: &str, name: &str) -> bool {
    lines_of(file).any(|line| line.split(':').next() == Some(name))
}

/// Returns the first id above every range handed out, and above all ordinary users.
fn first_free_id(file: &str) -> u64 {
    lines_of(file)
        .filter_map(|line| {
            let mut fields = line.split(':').skip(1).map(str::parse::<u64>);
            Some(fields.next()?.ok()? + fields.next()?.ok()?)
        })
        .fold(100_000, u64::max)
}

fn lines_of(file: &str) -> impl Iterator<Item = String> {
    // A missing file hands out nothing.
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}
