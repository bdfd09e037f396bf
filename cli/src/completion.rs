//! `kiln completion`.

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use crate::failure::{Exit, Failure, Outcome};
use crate::terminal;

/// Examples below `kiln completion --help`.
const EXAMPLES: &str = "\
Examples:
  source <(kiln completion bash)
  kiln completion zsh > \"${fpath[1]}/_kiln\"
  kiln completion fish > ~/.config/fish/completions/kiln.fish";

/// Print a script that completes commands in a shell.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = "kiln completion SHELL")]
pub(crate) struct CompletionArguments {
    /// bash, zsh, fish or elvish
    #[arg(value_name = "SHELL")]
    shell: String,
}

/// Prints the script for a command line of this description.
pub(crate) fn completion(arguments: &CompletionArguments, mut described: Command) -> Outcome {
    let shell = Shell::from_str(&arguments.shell, true)
        .map_err(|_| Failure::new(format!("no completion for shell {:?}", arguments.shell)))?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut described, "kiln", &mut script);
    terminal::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::SUCCESS)
}
