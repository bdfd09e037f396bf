//! The command `kiln`: arguments, progress, diagnostics, exit codes.
//!
//! A module per command or family of commands. What kiln does is done by the engine, and by
//! `kiln_containers` for containers that exist; this crate says what is wanted, shows how it goes and
//! what came of it. It alone prints, reads the environment and exits.

mod arguments; // every command and its aliases
mod dispatch; // from arguments to commands
mod environment; // variables, and what they mean
mod failure; // how a command ends
mod interrupt; // Ctrl-C
mod logging; // -D, KILN_LOG
mod session; // namespaces and the engine
mod usage; // command lines that are not understood

mod unsupported; // flags and commands of docker that kiln does not have

mod builds; // kiln build
mod cache; // kiln cache, kiln builder du, kiln builder prune
mod completion; // kiln completion
mod containers; // kiln run, ps, logs, start, stop, kill, wait, rm
mod history; // kiln history
mod images; // kiln images, tag, rmi
mod info; // kiln info
mod inspect; // kiln inspect
mod login; // kiln login, logout
mod man; // kiln man-pages
mod system; // kiln system df, kiln system prune, kiln image prune, kiln container prune
mod transfer; // kiln pull, push, save, load
mod version; // kiln version
mod why; // kiln why

mod diagnostics; // what is wrong with a Dockerfile
mod progress; // what builds, pulls and pushes look like on the way

mod clean; // foreign text, without what a terminal would obey
mod formats; // --format
mod platforms; // --platform
mod terminal; // the standard streams

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // The commonest question of scripts needs no description of the command line.
    if let [_, only] = arguments.as_slice()
        && (only == "--version" || only == "-v")
    {
        return ExitCode::from(dispatch::end("kiln", version::short()).0);
    }
    keep_others_from_writing();
    kiln_runtime::share_heap();
    kiln_runtime::await_children();
    kiln_runtime::survive_file_limits();
    // What stands beside a container is this program too.
    if let [_, command, directory] = arguments.as_slice()
        && command == containers::MONITOR
    {
        return ExitCode::from(dispatch::end("kiln", containers::monitor(directory.as_ref())).0);
    }
    // So is what collects garbage behind a build.
    if let [_, command, rest @ ..] = arguments.as_slice()
        && command == cache::COLLECTOR
    {
        return ExitCode::from(dispatch::end("kiln", cache::collect(rest)).0);
    }
    let exit = match usage::parse(&arguments) {
        Ok(cli) => dispatch::dispatch(cli),
        Err(exit) => exit,
    };
    ExitCode::from(exit.0)
}

/// Takes from files that are made here, and by programs that work for kiln, what the caller's umask may
/// leave: that anybody can write to it.
fn keep_others_from_writing() {
    use rustix::fs::Mode;
    let others = Mode::WGRP | Mode::WOTH;
    let asked = rustix::process::umask(others);
    rustix::process::umask(asked | others);
}
