//! `kiln version`.

use clap::Args;
use serde_json::json;

use crate::failure::{Exit, Outcome};
use crate::formats::print_value;
use crate::terminal;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

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
    terminal::print_line(&format!("kiln version {VERSION}"))?;
    Ok(Exit::SUCCESS)
}

/// Prints the version and what the program was made for.
pub(crate) fn version(arguments: &VersionArguments) -> Outcome {
    let (os, architecture) = (std::env::consts::OS, go_architecture());
    // Scripts ask docker for the client's version or the server's; here they are one.
    let block = json!({ "Version": VERSION, "Os": os, "Arch": architecture });
    let value = json!({ "Client": block, "Server": block, "Version": VERSION,
        "Os": os, "Arch": architecture });
    match &arguments.format {
        Some(format) => print_value(format, &value)?,
        None => terminal::print(&format!(
            "kiln:\n Version:   {VERSION}\n OS/Arch:   {os}/{architecture}\n"
        ))?,
    }
    Ok(Exit::SUCCESS)
}

fn go_architecture() -> String {
    kiln_engine::Engine::host_platform().architecture
}
