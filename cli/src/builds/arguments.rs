//! The flags of `kiln build`: docker's, and the useful ones of buildah.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Examples below `kiln build --help`.
const EXAMPLES: &str = "\
Examples:
  kiln build -t app .                          build ./Dockerfile and keep the image as app:latest
  kiln build -f docker/Dockerfile -t app .     another Dockerfile, same context
  kiln build --target test --no-cache .        one stage, every step anew
  kiln build --build-arg VERSION=1.2 -t app:1.2 --push .
  kiln build --cache-from host/app:cache --cache-to type=registry,ref=host/app:cache,mode=max .
                                               share results with other machines
  kiln build -o type=oci,dest=app.tar .        an OCI layout instead of a local image
  kiln build --plan .                          what would run, and why
  kiln build --check .                         what is questionable in ./Dockerfile
  kiln build -o out .                          the files of the result in ./out
  kiln build - < Dockerfile                    without a context";

/// Build an image from a Dockerfile.
#[derive(Args, Debug, Default)]
#[command(after_help = EXAMPLES, override_usage = "kiln build [OPTIONS] PATH | URL | -")]
pub(crate) struct BuildArguments {
    /// What COPY and ADD read: a directory, a URL (of a repository, an archive or a Dockerfile), or -
    /// for an archive or a Dockerfile from standard input
    #[arg(value_name = "PATH | URL | -")]
    pub(crate) context: OsString,

    /// Name and optionally a tag for the image (format: name:tag)
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,

    /// Name of the Dockerfile, or - for standard input (default: PATH/Dockerfile)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<OsString>,

    /// Stage to build (default: the last one)
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// Set a build argument; without a value it is taken from the environment
    #[arg(long = "build-arg", value_name = "KEY[=VALUE]")]
    pub(crate) build_args: Vec<String>,

    /// Read build arguments from a file of KEY=VALUE lines
    #[arg(long = "build-arg-file", value_name = "FILE")]
    pub(crate) build_arg_files: Vec<PathBuf>,

    /// Set a label of the image
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,

    /// Set an annotation of the result (format: [TYPE[,TYPE]:]KEY=VALUE)
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    pub(crate) annotations: Vec<String>,

    /// Platforms to build for, several for an index (default: this machine's)
    #[arg(long, value_name = "OS/ARCH,...")]
    pub(crate) platform: Vec<String>,

    /// What a name in the Dockerfile stands for: a directory, docker-image://, oci-layout:// or a URL
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    pub(crate) named_contexts: Vec<String>,

    /// Value for RUN --mount=type=secret (format: id=ID[,src=PATH][,env=NAME])
    #[arg(long = "secret", value_name = "SECRET")]
    pub(crate) secrets: Vec<String>,

    /// Agent socket or keys for RUN --mount=type=ssh (format: default or ID[=SOCKET|KEY,...])
    #[arg(long = "ssh", value_name = "AGENT")]
    pub(crate) agents: Vec<String>,

    /// Ask registries what base images mean now, even if they are known here
    #[arg(long)]
    pub(crate) pull: bool,

    /// Do not use results of earlier builds
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Do not use results of earlier builds for these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,

    /// Use results of other machines (format: NAME or type=registry|local,...)
    #[arg(long = "cache-from", value_name = "CACHE")]
    pub(crate) cache_from: Vec<String>,

    /// Give results to other machines, and what cache mounts hold if asked to
    /// (format: NAME or type=registry|local|inline,mode=min|max,mounts=true,...)
    #[arg(long = "cache-to", value_name = "CACHE")]
    pub(crate) cache_to: Vec<String>,

    /// Share all results through a registry (short for both of the above with mode=max)
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) cache_repo: Option<String>,

    /// Where the result goes (format: DIRECTORY or type=TYPE,dest=PATH,...)
    #[arg(short, long = "output", value_name = "OUTPUT")]
    pub(crate) outputs: Vec<String>,

    /// Push the result under its tags (short for --output type=registry)
    #[arg(long)]
    pub(crate) push: bool,

    /// Keep the result in the local store (the default unless there are outputs)
    #[arg(long)]
    pub(crate) load: bool,

    /// Look for mistakes in the Dockerfile instead of building (short for --call=check)
    #[arg(long)]
    pub(crate) check: bool,

    /// Ask instead of building: check, outline, targets or subrequests.describe
    /// (format: METHOD[,format=json][,ignorestatus])
    #[arg(long, value_name = "METHOD")]
    pub(crate) call: Option<String>,

    /// Say what would run and how long it took last time, and build nothing
    #[arg(long, conflicts_with_all = ["check", "call"])]
    pub(crate) plan: bool,

    /// Build, but push and keep nothing
    #[arg(long, conflicts_with = "push")]
    pub(crate) no_push: bool,

    /// Write a docker archive (short for --output type=docker,dest=FILE)
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) tar_path: Option<PathBuf>,

    /// Write an image layout (short for --output type=oci,tar=false,dest=DIRECTORY)
    #[arg(long, hide = true, value_name = "DIRECTORY")]
    pub(crate) oci_layout_path: Option<PathBuf>,

    /// Family of media types: oci or docker
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) format: Option<ImageFormat>,

    /// Let no file of new layers be newer than SOURCE_DATE_EPOCH or --timestamp
    #[arg(long)]
    pub(crate) rewrite_timestamp: bool,

    /// Build twice without the cache and show, file by file, what differs
    #[arg(long, conflicts_with_all = ["call", "check", "plan", "no_cache_filter"])]
    pub(crate) verify: bool,

    /// The same image whenever it is built: every new time is that of 1970
    #[arg(long)]
    pub(crate) reproducible: bool,

    /// File with logins to registries
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,

    /// Host that may be pushed to and pulled from without a valid certificate
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]")]
    pub(crate) insecure_registries: Vec<String>,

    /// Print nothing but the image's id
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// How progress is shown: auto, plain, tty, quiet, rawjson or none
    #[arg(long, value_enum, value_name = "MODE", hide_possible_values = true)]
    pub(crate) progress: Option<ProgressChoice>,

    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,

    /// Write the digest of the manifest or index to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,

    /// Write what is known about the result to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// Steps at the same time (default: processors, at least 16)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,

    /// Set the time of everything new, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timestamp: Option<i64>,

    /// Network of RUN: default, host or none
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,

    /// Add a name to /etc/hosts of RUN (format: host=ip)
    #[arg(long = "add-host", value_name = "HOST=IP")]
    pub(crate) extra_hosts: Vec<String>,

    /// Size of /dev/shm of RUN
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,

    /// Limit of RUN (format: name=soft[:hard])
    #[arg(long = "ulimit", value_name = "LIMIT")]
    pub(crate) ulimits: Vec<String>,

    /// Resources of RUN (format: memory=1g,cpu-quota=50000,...)
    #[arg(long = "resource", value_name = "KEY=VALUE")]
    pub(crate) resources: Vec<String>,

    /// Control group below which RUN gets its own
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,

    /// Permit what is not permitted by itself (e.g. network.host)
    #[arg(long = "allow", value_name = "ENTITLEMENT")]
    pub(crate) allowed: Vec<String>,

    #[command(flatten)]
    pub(crate) resource_aliases: ResourceAliases,

    #[command(flatten)]
    pub(crate) accepted: AcceptedFlags,
}

/// Limits one by one; `kiln build` has `--resource` besides.
#[derive(Args, Debug, Default)]
pub(crate) struct ResourceAliases {
    /// Limit of memory, such as 512m
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Limit of memory and swap together, -1 for any
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Share of the processors, relative to others
    #[arg(short, long, value_name = "NUMBER")]
    cpu_shares: Option<String>,
    /// Microseconds that --cpu-quota is of
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<String>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_quota: Option<String>,
    /// Processors to run on, such as 0-3 or 0,1
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to run on, such as 0-3 or 0,1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
}

impl ResourceAliases {
    /// Returns the flags that were given, under the keys of `--resource`.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("memory", &self.memory),
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpu-period", &self.cpu_period),
            ("cpu-quota", &self.cpu_quota),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}

/// Flags that are taken because others have them, and change nothing.
#[derive(Args, Debug, Default)]
pub(crate) struct AcceptedFlags {
    #[arg(long, hide = true)]
    pub(super) compress: bool,
    #[arg(long, hide = true)]
    pub(super) rm: bool,
    #[arg(long, hide = true)]
    pub(super) force_rm: bool,
    #[arg(long, hide = true)]
    pub(super) layers: bool,
    #[arg(long, hide = true)]
    pub(super) squash: bool,
    #[arg(long, hide = true)]
    pub(super) isolation: Option<String>,
    #[arg(long, hide = true)]
    pub(super) security_opt: Vec<String>,
    #[arg(long, hide = true)]
    pub(super) builder: Option<String>,
    #[arg(short = 'D', long, hide = true)]
    pub(super) debug: bool,
    /// Only what turns it off: nothing is attested anyway.
    #[arg(long, hide = true)]
    pub(crate) attest: Vec<String>,
    /// The same of type `provenance`.
    #[arg(long, hide = true)]
    pub(crate) provenance: Option<String>,
    /// The same of type `sbom`.
    #[arg(long, hide = true)]
    pub(crate) sbom: Option<String>,
}

impl BuildArguments {
    /// Returns a sentence for each flag that is given and does nothing, where that may surprise.
    pub(crate) fn ignored(&self) -> Vec<String> {
        let accepted = &self.accepted;
        let mut ignored = Vec::new();
        for (is_given, flag) in [
            (accepted.squash, "--squash"),
            (accepted.isolation.is_some(), "--isolation"),
            (!accepted.security_opt.is_empty(), "--security-opt"),
        ] {
            if is_given {
                ignored.push(format!("{flag} is ignored"));
            }
        }
        ignored
    }

    /// Says whether `-D` stands behind `build`, as buildx has it.
    pub(crate) fn is_debug(&self) -> bool {
        self.accepted.debug
    }

    /// Says whether nothing but the image's id is to be printed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet || self.progress == Some(ProgressChoice::Quiet)
    }
}

/// Values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormat {
    /// OCI.
    Oci,
    /// Docker schema 2.
    Docker,
}

/// Values of `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressChoice {
    /// Lines redrawn in place on a terminal, one after the other elsewhere.
    Auto,
    /// Lines.
    Plain,
    /// Lines redrawn in place.
    Tty,
    /// The image's id alone.
    Quiet,
    /// JSON.
    #[value(name = "rawjson")]
    RawJson,
    /// Nothing.
    None,
}

impl ProgressChoice {
    /// Parses the value of `BUILDKIT_PROGRESS`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::from_str(text, false).ok()
    }

    /// Returns how it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Tty => "tty",
            Self::Quiet => "quiet",
            Self::RawJson => "rawjson",
            Self::None => "none",
        }
    }
}
