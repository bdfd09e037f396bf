//! Cases that run in namespaces: once for each kind of user, and several at the same time.
//!
//! Namespaces are entered while a process has one thread, so such a suite is a program with a
//! `main` of its own ([`Suite::main`]): it starts itself with `--inside` for each kind of user, and
//! there it enters them and runs its cases. It takes words and flags as Rust's own harness does, lists
//! its cases, and tells how long each took, so that `scripts/test` finds the slowest.

#![expect(clippy::print_stdout, reason = "this is a test harness")]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Instant;

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
    /// Does what the command line of this program says: runs the selected cases for each kind of
    /// user, lists them (`--list`), or plays a role.
    ///
    /// # Panics
    /// If the program cannot be found or started, or the machine gives no threads.
    #[must_use]
    pub fn main(&self) -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let first = arguments.first().map(String::as_str);
        if let Some((_, play)) = self.roles.iter().find(|(flag, _)| Some(*flag) == first) {
            return play(&arguments[1..]);
        }
        let selection = Selection::of(&arguments);
        let names = self.cases.iter().copied().flatten().map(|(name, _)| *name);
        let selected: Vec<&str> = names.filter(|name| selection.has(name)).collect();
        if selection.is_list {
            print!("{}", listing(&selected));
            return ExitCode::SUCCESS;
        }
        match first {
            _ if selected.is_empty() => {
                println!("{}", closing_line(0, 0));
                ExitCode::SUCCESS
            }
            Some("--inside") => self.inside(&selection),
            _ => run_as_each_user(&arguments),
        }
    }

    /// Enters namespaces and runs the cases.
    fn inside(&self, selection: &Selection) -> ExitCode {
        let run = || -> Result<ExitCode, Skip> {
            let level = (self.enter)()?;
            println!("{level:?}");
            let scratch = Scratch::for_everyone();
            let fixture = (self.fixture)(scratch.path(), level)?;
            Ok(run_cases(self.cases, selection, &fixture))
        };
        run().unwrap_or_else(|skip| {
            skip.announce();
            ExitCode::SUCCESS
        })
    }
}

/// Runs this program once for each kind of user: as root, as root that may not mount, as an
/// ordinary user with a range of ids, and as one without. `arguments` are passed on behind `--inside`.
fn run_as_each_user(arguments: &[String]) -> ExitCode {
    let own = std::env::current_exe().expect("this program has a path");
    let (_copy, program) = copy_for_everyone(&own);
    let mut failures = 0;
    let mut run = |who: &str, command: &mut Command| {
        println!("\nas {who}");
        let status = command.arg("--inside").args(arguments).status();
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

/// Which cases a command line selects, in the words and flags of Rust's own harness.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    words: Vec<String>,
    /// Whether a word is a whole name (`--exact`) and not a part of one.
    is_exact: bool,
    /// Whether cases are listed (`--list`) and not run.
    pub is_list: bool,
}

impl Selection {
    /// Reads arguments. Flags that change only how Rust's harness runs tests are passed over, with
    /// their values.
    #[must_use]
    pub fn of(arguments: &[String]) -> Self {
        const WITH_VALUE: [&str; 5] = ["--test-threads", "--color", "--format", "--logfile", "-Z"];
        let mut selection = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => selection.is_exact = true,
                "--list" => selection.is_list = true,
                flag if WITH_VALUE.contains(&flag) => {
                    arguments.next();
                }
                flag if flag.starts_with('-') => {}
                word => selection.words.push(word.to_owned()),
            }
        }
        selection
    }

    /// Says whether a case is selected: by one of the words, or because there is none.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let matches = |word: &String| {
            if self.is_exact {
                name == word
            } else {
                name.contains(word.as_str())
            }
        };
        self.words.is_empty() || self.words.iter().any(matches)
    }
}

/// Runs the selected cases, four at a time.
fn run_cases<F: Sync>(
    cases: &[&'static [Case<F>]],
    selection: &Selection,
    fixture: &F,
) -> ExitCode {
    let cases = cases.iter().copied().flatten();
    let cases: Vec<&Case<F>> = cases
        .filter(|(name, _)| selection.has(name))
        .rev()
        .collect();
    let count = cases.len();
    let waiting = Mutex::new(cases);
    let failed = Mutex::new(Vec::new());
    let next = || waiting.lock().expect("no thread panics with it").pop();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, case)) = next() {
                    if !run_case(name, || case(fixture)) {
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

/// Runs a case, writes its line as Rust's own harness does where times are asked for, and says whether
/// the case passed.
pub fn run_case(name: &str, case: impl FnOnce()) -> bool {
    let begun = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(case)).is_ok();
    let word = if passed { "ok" } else { "FAILED" };
    let took = begun.elapsed().as_secs_f64();
    println!("test {name} ... {word} <{took:.3}s>");
    passed
}

/// Returns the answer to `--list` as Rust's own harness gives it.
#[must_use]
pub fn listing(names: &[&str]) -> String {
    let lines: String = names.iter().map(|name| format!("{name}: test\n")).collect();
    format!("{lines}\n{} tests, 0 benchmarks\n", names.len())
}

/// Returns the closing line of a suite as Rust's own harness writes it, by which `scripts/test` adds
/// up the suites.
#[must_use]
pub fn closing_line(count: usize, failed: usize) -> String {
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let passed = count - failed;
    format!("test result: {word}. {passed} passed; {failed} failed; 0 ignored")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(arguments: &[&str]) -> Selection {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        Selection::of(&arguments)
    }

    #[test]
    fn words_and_flags_select_as_in_rusts_harness() {
        assert!(selection(&[]).has("any"));
        let by_part = selection(&["--nocapture", "--test-threads", "1", "log", "kill"]);
        assert!(by_part.has("logs_are_kept") && by_part.has("kill"));
        assert!(!by_part.has("starts") && !by_part.has("1"));
        let exact = selection(&["--inside", "--exact", "logs"]);
        assert!(exact.has("logs") && !exact.has("logs_are_kept"));
        assert!(selection(&["--list", "log"]).is_list);
        assert_eq!(
            listing(&["a", "b"]),
            "a: test\nb: test\n\n2 tests, 0 benchmarks\n"
        );
    }
}
