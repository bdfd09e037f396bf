//! `kiln info`, alias `kiln doctor`: what this machine offers, and what to do about what it lacks.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use kiln_docker::system::InfoDescription;
use kiln_engine::verbs;
use kiln_runtime::userns::PrivilegeLevel;
use kiln_runtime::{OuterProc, limits_refused, proc_is_refused};

use crate::environment::Environment;
use crate::failure::{Exit, Outcome};
use crate::formats::print_value;
use crate::version::VERSION;
use crate::{session, terminal};

/// Programs that kiln starts when they are there, and what for.
const PROGRAMS: [(&str, &str); 3] = [
    ("newuidmap", "ranges of ids without root"),
    ("newgidmap", "ranges of ids without root"),
    ("git", "ADD of git repositories"),
];

/// Show what this machine offers and what is missing.
#[derive(Args, Debug)]
#[command(override_usage = "kiln info [OPTIONS]")]
pub(crate) struct InfoArguments {
    /// Format with a template, or json
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Shows what this machine offers.
pub(crate) fn info(arguments: &InfoArguments, environment: &Environment) -> Outcome {
    let root = environment.state_directory()?;
    let kernel = read_line("/proc/sys/kernel/osrelease");
    let programs =
        PROGRAMS.map(|(program, purpose)| (program, purpose, search(program, environment)));
    // From here on the process is in its namespaces, as a build would be.
    let level = session::enter()?;
    let session = session::open_to_work(environment)?;
    let processes = processes(&level, environment);
    let refusal = limits_refused();
    let facts = HostFacts {
        root,
        kernel,
        rootless: !environment.is_root(),
        namespaces: describe(&level),
        limits: match refusal {
            None => "memory and processors can be limited",
            Some(_) => "nothing can be limited",
        },
        advice: advice(&level, processes, refusal),
        processes,
        overlay: lists("/proc/filesystems", "overlay"),
        cgroups: cgroups(),
        images: verbs::images(&session.stores)?.len(),
    };
    match &arguments.format {
        Some(format) => print_value(format, &facts.in_docker_words())?,
        None => {
            terminal::print(&facts.to_text())?;
            terminal::print("Programs:\n")?;
            for (program, purpose, path) in &programs {
                let place = match path {
                    Some(path) => path.display().to_string(),
                    None => format!("missing, needed for {purpose}"),
                };
                terminal::print_line(&format!(" {program}: {place}"))?;
            }
            for line in &facts.advice {
                terminal::print_line(&format!("hint: {line}"))?;
            }
        }
    }
    Ok(Exit::SUCCESS)
}

struct HostFacts {
    root: PathBuf,
    kernel: String,
    rootless: bool,
    namespaces: String,
    processes: Processes,
    advice: Vec<String>,
    overlay: bool,
    cgroups: &'static str,
    limits: &'static str,
    images: usize,
}

impl HostFacts {
    fn to_text(&self) -> String {
        let overlay = if self.overlay {
            "overlay"
        } else {
            "copies (the kernel does not list overlay)"
        };
        format!(
            "Version: {VERSION}\nState directory: {}\nImages: {}\nKernel: {}\nRootless: {}\n\
             Namespaces: {}\nProcesses: {}\nLayers: {overlay}\nControl groups: {}\nLimits: {}\n",
            self.root.display(),
            self.images,
            self.kernel,
            self.rootless,
            self.namespaces,
            self.processes.describe(),
            self.cgroups,
            self.limits,
        )
    }

    fn in_docker_words(self) -> InfoDescription {
        InfoDescription {
            server_version: VERSION.to_owned(),
            docker_root_dir: self.root.display().to_string(),
            images: self.images,
            kernel_version: self.kernel,
            rootless: self.rootless,
            namespaces: self.namespaces,
            processes: self.processes.describe().to_owned(),
            driver: if self.overlay { "overlay" } else { "copy" }.to_owned(),
            cgroup_version: self.cgroups.to_owned(),
            limits: self.limits.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            os_type: std::env::consts::OS.to_owned(),
            warnings: self.advice,
        }
    }
}

fn describe(level: &PrivilegeLevel) -> String {
    match level {
        PrivilegeLevel::Root => "root, no user namespace needed".to_owned(),
        PrivilegeLevel::Subordinate { users, groups } => {
            format!("user namespace with {users} user ids and {groups} group ids")
        }
        PrivilegeLevel::SingleId { .. } => "user namespace with a single id".to_owned(),
        PrivilegeLevel::None { .. } => "none: nothing can be run or mounted".to_owned(),
    }
}

/// What commands see of the processes of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Processes {
    Hidden,
    Shown,
    Refused,
}

impl Processes {
    fn describe(self) -> &'static str {
        match self {
            Self::Hidden => "those of others are hidden from commands",
            Self::Shown => "all are seen by commands (KILN_OUTER_PROC)",
            Self::Refused => "no commands can be run: the kernel refuses a new /proc",
        }
    }
}

fn processes(level: &PrivilegeLevel, environment: &Environment) -> Processes {
    // Without namespaces there are no commands, and the level says so.
    let refused =
        !matches!(level, PrivilegeLevel::None { .. }) && proc_is_refused().unwrap_or(false);
    match (refused, environment.outer_proc()) {
        (false, _) => Processes::Hidden,
        (true, OuterProc::Shown) => Processes::Shown,
        (true, OuterProc::Refused) => Processes::Refused,
    }
}

fn advice(level: &PrivilegeLevel, processes: Processes, limits: Option<String>) -> Vec<String> {
    let refused = "parts of /proc are hidden here, as in containers, so commands cannot have one of \
                   their own; run kiln where they are not, or let commands see all processes with \
                   KILN_OUTER_PROC=1";
    let of_processes = (processes == Processes::Refused).then(|| refused.to_owned());
    let advice = of_level(level).into_iter().chain(of_processes);
    advice.chain(limits).collect()
}

fn of_level(level: &PrivilegeLevel) -> Vec<String> {
    match level {
        PrivilegeLevel::Root | PrivilegeLevel::Subordinate { .. } => Vec::new(),
        PrivilegeLevel::SingleId { reason } => {
            vec![format!("files of other users cannot be made: {reason}")]
        }
        PrivilegeLevel::None { reason } => vec![reason.to_string()],
    }
}

fn read_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn lists(path: &str, word: &str) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().any(|found| found == word)
}

/// cgroups(7): the file of controllers exists in the root of a version 2 tree only.
fn cgroups() -> &'static str {
    let root = Path::new("/sys/fs/cgroup");
    match () {
        () if root.join("cgroup.controllers").exists() => "2",
        () if root.join("memory").is_dir() => "1",
        () => "none",
    }
}

fn search(program: &str, environment: &Environment) -> Option<PathBuf> {
    let path = environment.variable("PATH")?;
    std::env::split_paths(path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}
