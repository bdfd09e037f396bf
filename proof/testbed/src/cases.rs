//! Cases that run in namespaces: once for each kind of user, and several at the same time.
//!
//! Namespaces are entered while a process has one thread, so such a suite is a program with a
//! `main` of its own ([`Suite::main`]): started without flags it starts itself with `--inside` for
//! each kind of user, and there it enters them and runs its cases.

#![expect(clippy::print_stdout, reason = "this is a test harness")]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use crate::{
    Scratch, Skip, Tool, copy_for_everyone, need_root, ordinary_user, user_without_subids,
};

/// A test and its name.
pub type Case<F> = (&'static str, fn(&F));

/// Makes a table of cases out of the functions of a module.
#[macro_export]
macro_rules! cases {
    ($($name:ident)*) => { &[$((stringify!($name), $name)),*] };
}

/// Something else that the program of a suite does, when a case starts it with a flag: the flag,
/// and what is done with the words behind it.
pub type Role = (&'static str, fn(&[String]) -> ExitCode);

/// A suite of cases that run in namespaces.
#[derive(Debug)]
pub struct Suite<L: 'static, F: 'static> {
    /// Enters the namespaces; returns how far that went.
    pub enter: fn() -> Result<L, Skip>,
    /// Makes what the cases share, in a directory that every user may read.
    pub fixture: fn(&Path, L) -> Result<F, Skip>,
    /// The cases, module by module.
    pub cases: &'static [&'static [Case<F>]],
    /// What else the program does.
    pub roles: &'static [Role],
}

impl<L: fmt::Debug, F: Sync> Suite<L, F> {
    /// Does what the command line of this program says. Without flags, that is to run the cases
    /// for each kind of user; words select those whose names contain one of them.
    ///
    /// # Panics
    /// If the program cannot be found or started, or the machine gives no threads.
    #[must_use]
    pub fn main(&self) -> ExitCode {
        let arguments = std::env::args().skip(1);
        let (flags, words): (Vec<_>, Vec<_>) = arguments.partition(|word| word.starts_with("--"));
        let flag = flags.first().map(String::as_str);
        let role = self.roles.iter().find(|(name, _)| Some(*name) == flag);
        match (flag, role) {
            (_, Some((_, play))) => play(&words),
            (Some("--inside"), None) => self.inside(&words),
            (Some("--list"), None) => ExitCode::SUCCESS,
            (_, None) => run_as_each_user(&words),
        }
    }

    /// Enters namespaces and runs the cases.
    fn inside(&self, words: &[String]) -> ExitCode {
        let run = || -> Result<ExitCode, Skip> {
            let level = (self.enter)()?;
            println!("{level:?}");
            let scratch = Scratch::for_everyone();
            let fixture = (self.fixture)(scratch.path(), level)?;
            Ok(run_cases(self.cases, words, &fixture))
        };
        run().unwrap_or_else(|skip| {
            skip.announce();
            ExitCode::SUCCESS
        })
    }
}

/// Runs this program once for each kind of user: as root, as root that may not mount, as an
/// ordinary user with a range of ids, and as one without. `words` are passed on behind `--inside`.
fn run_as_each_user(words: &[String]) -> ExitCode {
    let own = std::env::current_exe().expect("this program has a path");
    let (_copy, program) = copy_for_everyone(&own);
    let mut failures = 0;
    let mut run = |who: &str, command: &mut Command| {
        println!("\nas {who}");
        let status = command.arg("--inside").args(words).status();
        failures += usize::from(!status.expect("this program can be run").success());
    };
    if need_root().is_ok() {
        run("root", &mut Command::new(&program));
        // As in a container that is not privileged.
        match Tool::find("setpriv") {
            Ok(setpriv) => {
                let mut command = setpriv.command();
                command
                    .args(["--bounding-set", "-sys_admin", "--"])
                    .arg(&program);
                run("root without CAP_SYS_ADMIN", &mut command);
            }
            Err(skip) => skip.announce(),
        }
    }
    match ordinary_user() {
        Ok(user) => run("an ordinary user", &mut user.command(&program)),
        Err(skip) => skip.announce(),
    }
    match user_without_subids() {
        Ok(user) => run("a user without ranges", &mut user.command(&program)),
        Err(skip) => skip.announce(),
    }
    ExitCode::from(u8::from(failures > 0))
}

/// Runs the cases whose names contain one of the words, all if there are none, four at a time.
fn run_cases<F: Sync>(cases: &[&'static [Case<F>]], words: &[String], fixture: &F) -> ExitCode {
    let selected = |case: &&Case<F>| words.is_empty() || words.iter().any(|w| case.0.contains(w));
    let cases = cases.iter().copied().flatten().filter(selected);
    let cases: Vec<&Case<F>> = cases.rev().collect();
    let count = cases.len();
    let waiting = Mutex::new(cases);
    let failed = Mutex::new(Vec::new());
    let next = || waiting.lock().expect("no thread panics with it").pop();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, case)) = next() {
                    let result = catch_unwind(AssertUnwindSafe(|| case(fixture)));
                    if result.is_ok() {
                        println!("test {name} ... ok");
                    } else {
                        println!("test {name} ... FAILED");
                        failed.lock().expect("no thread panics with it").push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics with it");
    println!("failed: {failed:?}");
    println!("{}", closing_line(count, failed.len()));
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// Returns the closing line of a suite as Rust's own harness writes it, by which `scripts/test` adds
/// up the suites.
#[must_use]
pub fn closing_line(count: usize, failed: usize) -> String {
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let passed = count - failed;
    format!("test result: {word}. {passed} passed; {failed} failed; 0 ignored")
}
