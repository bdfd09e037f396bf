//! Benchmarks of kiln, of other builders and of the physical limit, side by side in one run.
//!
//! A [`scenarios::Scenario`] says what is done and what the result must look like, a
//! [`builders::Builder`] how one program does it, and [`contest::hold`] lets them take turns.
//! Nothing here knows kiln's crates: kiln is a binary like the others.

mod arguments; // the command line
mod error;

mod cgroups; // which control groups this process is in
mod enclosure; // namespaces around a run, so that nothing outlives it
mod machine; // what the figures were measured on

mod action; // what is timed
mod memory; // the most that a builder had at once
mod meter; // wall and CPU time of an action and everything it causes
mod statistics; // medians and minima

mod archive; // what a builder exported, looked into
mod area; // the directory that holds everything of a run
mod base; // the images everybody starts from
mod builders; // kiln, buildah, docker, podman, runc
mod context; // directories to build from
mod image; // what a builder produced, looked into
mod limits; // the same work by raw means
mod mirror; // packages on the loopback interface
mod stat_walk; // the least a rebuild can cost

mod contest; // rounds in which everybody takes a turn
mod growth; // what kiln costs with more and more of everything
mod report; // tables of the figures
mod scenarios; // what is measured
mod targets; // how much of it kiln may take

use std::process::ExitCode;

use crate::arguments::Arguments;
use crate::error::Error;

fn main() -> ExitCode {
    let arguments = Arguments::from_command_line();
    let result = match &arguments.enclosed {
        None => enclosure::enter().map(|never| match never {}),
        Some(directory) => measure(&arguments, directory),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios within the enclosure and prints the report.
fn measure(arguments: &Arguments, directory: &std::path::Path) -> Result<(), Error> {
    let text = if arguments.growth {
        growth::report(arguments, directory, &say)?
    } else {
        contest::hold_all(arguments, directory, &say)?.to_string()
    };
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, &text).map_err(Error::at(file))?;
    }
    print(&text);
    Ok(())
}

/// Tells the person at the terminal how far things are.
#[expect(clippy::print_stderr, reason = "a command reports its progress here")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "a command prints its result here")]
fn print(text: &str) {
    print!("{text}");
}
