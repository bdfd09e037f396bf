//! The flags of `kiln run`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::builds::ResourceAliases;

/// Examples below `kiln run --help`.
const EXAMPLES: &str = "\
Examples:
  kiln run --rm -it busybox sh                a shell, gone when it ends
  kiln run -d --name web -e PORT=8080 app     in the background; see kiln logs web
  kiln run --rm -v \"$PWD:/src\" -w /src app make";

/// Create and run a new container from an image.
#[derive(Args, Debug, Default)]
#[command(
    after_help = EXAMPLES,
    disable_help_flag = true,
    override_usage = "kiln run [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct RunArguments {
    /// Image, and the command to run in it instead of its own
    #[arg(
        value_name = "IMAGE [COMMAND] [ARG]",
        required = true,
        num_args = 1..,
        trailing_var_arg = true
    )]
    pub(crate) image_and_command: Vec<String>,

    /// Print the container's id and leave it running in the background
    #[arg(short, long)]
    pub(crate) detach: bool,

    /// Connect standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Remove the container when it ends
    #[arg(long)]
    pub(crate) rm: bool,

    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Set an environment variable; without a value it is copied
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,

    /// Read environment variables from a file
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,

    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    pub(crate) workdir: Option<String>,

    /// User, and group (format: name|uid[:group|gid])
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Show a file or directory of the host (format: host:container[:ro])
    #[arg(short, long = "volume", value_name = "BIND")]
    pub(crate) volumes: Vec<String>,

    /// Program to start instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,

    /// Network: host or none
    #[arg(long, alias = "net", value_name = "MODE")]
    pub(crate) network: Option<String>,

    /// Whether the image is pulled: always, missing or never
    #[arg(long, value_enum, value_name = "WHEN", hide_possible_values = true)]
    pub(crate) pull: Option<PullPolicy>,

    /// Platform of the image (default: this machine's)
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,

    /// Name of the host inside the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,

    /// Add a name to /etc/hosts (format: host=ip)
    #[arg(long = "add-host", value_name = "HOST=IP")]
    pub(crate) extra_hosts: Vec<String>,

    /// Set a label
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,

    /// Limit of the processes (format: name=soft[:hard])
    #[arg(long = "ulimit", value_name = "LIMIT")]
    pub(crate) ulimits: Vec<String>,

    /// Number of processors, such as 1.5
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) cpus: Option<String>,

    /// Number of processes, -1 for any
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,

    /// Signal that asks the container to stop
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,

    /// Seconds it is given to do so
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u64>,

    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,

    /// Print nothing about pulling
    #[arg(short, long)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) resources: ResourceAliases,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Values of `--pull`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    /// Even if it is here.
    Always,
    /// If it is not here.
    #[default]
    Missing,
    /// Not at all.
    Never,
}
