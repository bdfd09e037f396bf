//! `kiln version`.

use clap::Args;
use kiln_docker::system::{ProgramVersion, VersionDescription};

use crate::failure::{Exit, Outcome};
use crate::formats::print_value;
use crate::terminal;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was made from, as `build.rs` found it; empty if nothing said it.
const COMMIT: &str = env!("KILN_COMMIT");

/// Show version information.
#[derive(Args, Debug)]
#[command(override_usage = "kiln version [OPTIONS]")]
pub(crate) struct VersionArguments {
    /// Format with a template, or json
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Prints the version on one line.
pub(crate) fn short() -> Outcome {
    terminal::print_line(&format!("kiln version {}", with_commit(VERSION, COMMIT)))?;
    Ok(Exit::SUCCESS)
}

/// Says version and commit as docker's `--version` does.
fn with_commit(version: &str, commit: &str) -> String {
    if commit.is_empty() {
        version.to_owned()
    } else {
        format!("{version}, build {commit}")
    }
}

/// Prints the version and what the program was made for.
pub(crate) fn version(arguments: &VersionArguments) -> Outcome {
    let (os, architecture) = (std::env::consts::OS, go_architecture());
    match &arguments.format {
        Some(format) => {
            let program = ProgramVersion {
                version: VERSION.to_owned(),
                git_commit: COMMIT.to_owned(),
                os: os.to_owned(),
                architecture,
            };
            print_value(format, &VersionDescription::of(&program))?;
        }
        None => {
            let commit = if COMMIT.is_empty() { "unknown" } else { COMMIT };
            terminal::print(&format!(
                "kiln:\n Version:    {VERSION}\n Git commit: {commit}\n \
                 OS/Arch:    {os}/{architecture}\n"
            ))?;
        }
    }
    Ok(Exit::SUCCESS)
}

fn go_architecture() -> String {
    kiln_oci::Platform::host().architecture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_without_a_commit_stands_alone() {
        assert_eq!(with_commit("1.2.3", ""), "1.2.3");
        assert_eq!(with_commit("1.2.3", "0a1b"), "1.2.3, build 0a1b");
    }
}
