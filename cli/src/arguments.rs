//! The command line as a whole: every command, its aliases, and docker's habits with flags.

use clap::{ArgAction, CommandFactory as _, Parser, Subcommand};
use kiln_parser::parse_bool;

use crate::builds::BuildArguments;
use crate::{
    cache, completion, containers, history, images, info, inspect, login, man, system, transfer,
    version, why,
};

/// What stands below `kiln --help`.
const AFTER_HELP: &str = "\
Run 'kiln COMMAND --help' for more information about a command.
State is kept in $KILN_ROOT, else /var/lib/kiln (root) or ~/.local/share/kiln.";

/// Builds OCI images from Dockerfiles and runs them, without a daemon and without root.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    after_help = AFTER_HELP,
    override_usage = "kiln COMMAND",
    subcommand_value_name = "COMMAND",
    subcommand_help_heading = "Commands",
    disable_version_flag = true
)]
pub(crate) struct Cli {
    /// Print version information and quit
    #[arg(short, long)]
    pub(crate) version: bool,

    /// Log what is done to standard error; KILN_LOG says in more detail what
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Cli {
    /// Says whether debugging is asked for, before the command or, as buildx has it, behind `build`.
    pub(crate) fn is_debug(&self) -> bool {
        let build = match &self.command {
            Some(
                Command::Build(build)
                | Command::Image(ImageCommand::Build(build))
                | Command::Builder(BuilderCommand::Build(build)),
            ) => build.is_debug(),
            _ => false,
        };
        self.debug || build
    }
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    Build(Box<BuildArguments>),
    /// Say why steps of the last build ran
    Why(why::WhyArguments),
    /// Create and run a new container from an image
    Run(Box<containers::RunArguments>),
    /// List containers
    Ps(containers::PsArguments),
    /// Fetch the logs of a container
    Logs(containers::LogsArguments),
    /// Start one or more stopped containers
    Start(containers::StartArguments),
    /// Stop one or more running containers
    Stop(containers::StopArguments),
    /// Kill one or more running containers
    Kill(containers::KillArguments),
    /// Wait until containers stop, then print their exit codes
    Wait(containers::WaitArguments),
    /// Remove one or more containers
    Rm(containers::RmArguments),
    /// List images
    Images(images::ImagesArguments),
    /// Give an image another name
    Tag(images::TagArguments),
    /// Remove one or more images
    Rmi(images::RmiArguments),
    /// Show the history of an image
    History(history::HistoryArguments),
    /// Return low-level information on images and containers
    Inspect(inspect::InspectArguments),
    /// Download an image from a registry
    Pull(transfer::PullArguments),
    /// Upload an image to a registry
    Push(transfer::PushArguments),
    /// Save one or more images to a tar archive
    Save(transfer::SaveArguments),
    /// Load images from a tar archive
    Load(transfer::LoadArguments),
    /// Authenticate to a registry
    Login(login::LoginArguments),
    /// Log out from a registry
    Logout(login::LogoutArguments),
    /// Show what this machine offers and what is missing
    #[command(alias = "doctor")]
    Info(info::InfoArguments),
    /// Show version information
    Version(version::VersionArguments),
    /// Print a script that completes commands in a shell
    Completion(completion::CompletionArguments),
    /// Write manual pages into a directory
    #[command(hide = true)]
    ManPages(man::ManPagesArguments),

    /// Manage images
    #[command(subcommand, override_usage = "kiln image COMMAND")]
    Image(ImageCommand),
    /// Manage containers
    #[command(subcommand, override_usage = "kiln container COMMAND")]
    Container(ContainerCommand),
    /// Build images
    #[command(subcommand, alias = "buildx", override_usage = "kiln builder COMMAND")]
    Builder(BuilderCommand),
    /// Look after the build cache
    #[command(subcommand, override_usage = "kiln cache COMMAND")]
    Cache(CacheCommand),
    /// Look at the system
    #[command(subcommand, override_usage = "kiln system COMMAND")]
    System(SystemCommand),
}

/// `kiln image …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(Box<BuildArguments>),
    /// List images
    #[command(alias = "list")]
    Ls(images::ImagesArguments),
    /// Give an image another name
    Tag(images::TagArguments),
    /// Remove one or more images
    #[command(alias = "remove")]
    Rm(images::RmiArguments),
    /// Show the history of an image
    History(history::HistoryArguments),
    /// Return low-level information on images
    Inspect(inspect::ImageInspectArguments),
    /// Remove unused images
    Prune(system::ImagePruneArguments),
    /// Download an image from a registry
    Pull(transfer::PullArguments),
    /// Upload an image to a registry
    Push(transfer::PushArguments),
    /// Save one or more images to a tar archive
    Save(transfer::SaveArguments),
    /// Load images from a tar archive
    Load(transfer::LoadArguments),
}

/// `kiln container …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Create and run a new container from an image
    Run(Box<containers::RunArguments>),
    /// List containers
    #[command(visible_alias = "ps", alias = "list")]
    Ls(containers::PsArguments),
    /// Fetch the logs of a container
    Logs(containers::LogsArguments),
    /// Start one or more stopped containers
    Start(containers::StartArguments),
    /// Stop one or more running containers
    Stop(containers::StopArguments),
    /// Kill one or more running containers
    Kill(containers::KillArguments),
    /// Wait until containers stop, then print their exit codes
    Wait(containers::WaitArguments),
    /// Remove one or more containers
    #[command(alias = "remove")]
    Rm(containers::RmArguments),
    /// Return low-level information on containers
    Inspect(inspect::ContainerInspectArguments),
    /// Remove all stopped containers
    Prune(system::ContainerPruneArguments),
}

/// `kiln builder …` and `kiln buildx …`.
#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Build an image from a Dockerfile
    Build(Box<BuildArguments>),
    /// Show what the build cache takes
    Du(cache::DuArguments),
    /// Remove build cache
    Prune(cache::PruneArguments),
}

/// `kiln cache …`.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show what the build cache takes
    Du(cache::DuArguments),
    /// Remove build cache
    Prune(cache::PruneArguments),
    /// Read and hash everything that is stored, and repair what is damaged
    Verify(cache::VerifyArguments),
}

/// `kiln system …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Show what images, containers and the build cache take
    Df(system::DfArguments),
    /// Remove stopped containers, unused images and build cache
    Prune(system::SystemPruneArguments),
    /// Show what this machine offers and what is missing
    Info(info::InfoArguments),
}

/// Returns the description of the command line for parsing it.
///
/// Docker's flags allow two things that clap's do not: `--rm=false` and repetition, of which the
/// last counts.
pub(crate) fn command() -> clap::Command {
    tolerant(Cli::command())
}

/// Lets a description take what docker's flags allow.
pub(crate) fn tolerant(command: clap::Command) -> clap::Command {
    command
        .args_override_self(true)
        .mut_args(|argument| match argument.get_action() {
            ArgAction::SetTrue => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .default_value("false")
                .value_parser(switch),
            _ => argument,
        })
        .mut_subcommands(tolerant)
}

fn switch(text: &str) -> Result<bool, String> {
    parse_bool(text).ok_or_else(|| "expected true or false".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        let arguments = ["kiln"].iter().chain(arguments);
        Cli::from_arg_matches(&command().try_get_matches_from(arguments)?)
    }

    fn build(arguments: &[&str]) -> BuildArguments {
        match parse(arguments).unwrap().command {
            Some(Command::Build(build)) => *build,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_description_is_consistent() {
        command().debug_assert();
        Cli::command().debug_assert();
    }

    #[test]
    fn switches_take_values_and_repetition() {
        assert!(build(&["build", "--pull", "."]).pull);
        assert!(build(&["build", "--pull=true", "--push", "."]).pull);
        assert!(!build(&["build", "--pull=false", "."]).pull);
        assert!(!build(&["build", "--pull", "--pull=0", "."]).pull);
        let twice = build(&["build", "--target", "a", "--target", "b", "."]);
        assert_eq!(twice.target.as_deref(), Some("b"));
        assert!(parse(&["build", "--pull=maybe", "."]).is_err());
    }

    #[test]
    fn options_of_run_end_at_the_image() {
        let Some(Command::Run(run)) = parse(&[
            "run",
            "--rm",
            "-it",
            "image",
            "sh",
            "-c",
            "--rm=false",
            "-d",
        ])
        .unwrap()
        .command
        else {
            panic!("it is run");
        };
        assert!(run.rm && run.interactive && run.tty && !run.detach);
        assert_eq!(
            run.image_and_command,
            ["image", "sh", "-c", "--rm=false", "-d"]
        );
    }
}
