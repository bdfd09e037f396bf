//! `kiln man-pages`: the manual, one page per command, made of what `--help` says.
//!
//! Hidden, since it is for those who package kiln: `make dist` calls it.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::failure::{Exit, Failure, Outcome};
use crate::version::VERSION;

/// Environment variables that no flag's help speaks of.
const VARIABLES: [(&str, &str); 12] = [
    ("KILN_ROOT", "The state directory."),
    (
        "KILN_JOBS",
        "Default of --jobs: how many steps run at once.",
    ),
    (
        "KILN_LOG",
        "What is logged to standard error: a level (error, warn, info, debug), or levels of parts, \
         such as info,kiln_registry=debug.",
    ),
    (
        "KILN_CACHE_MAX_USED_SPACE, KILN_CACHE_RESERVED_SPACE, KILN_CACHE_MIN_FREE_SPACE, \
         KILN_CACHE_MAX_USED_INODES, KILN_CACHE_MIN_FREE_INODES, KILN_CACHE_KEEP_UNTAGGED, KILN_CACHE_MAX_AGE, \
         KILN_CACHE_AUTOMATIC",
        "Limits of the cache; see kiln-cache-prune(1).",
    ),
    (
        "KILN_UNPACK_LIMIT, KILN_UNPACK_RATIO",
        "How much a layer or an archive may unpack to: bytes, and beyond that a multiple of its own \
         size.",
    ),
    (
        "KILN_OUTER_PROC",
        "1: where the kernel refuses steps a /proc of their own, show them the one of kiln.",
    ),
    (
        "CONTAINERS_REGISTRIES_CONF",
        "The file of mirrors, locations and insecure registries; see containers-registries.conf(5).",
    ),
    (
        "DOCKER_CONFIG",
        "The directory of config.json, which holds logins.",
    ),
    (
        "DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE",
        "Further logins: the text of a config.json; a file as of containers-auth.json(5).",
    ),
    ("DOCKER_DEFAULT_PLATFORM", "Default of --platform."),
    ("NO_COLOR", "Any value: no colours."),
    (
        "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY",
        "Proxies of kiln's own connections.",
    ),
];

/// What kiln reads and writes.
const FILES: [(&str, &str); 4] = [
    (
        "/var/lib/kiln, ~/.local/share/kiln",
        "The state directory of root, and of everybody else: images, containers and the cache.",
    ),
    (
        "/etc/kiln/config.toml, ~/.config/kiln/config.toml",
        "Limits of the cache of root, and of everybody else; see kiln-cache-prune(1).",
    ),
    (
        "/etc/containers/registries.conf, ~/.config/containers/registries.conf",
        "Mirrors, locations and insecure registries.",
    ),
    (
        "/etc/subuid, /etc/subgid",
        "The ranges of ids that an ordinary user's containers have; see newuidmap(1).",
    ),
];

/// With what status kiln ends.
const STATUSES: [(&str, &str); 6] = [
    ("0", "All went well."),
    ("1", "An ordinary failure, a build that failed included."),
    (
        "125",
        "A flag is wrong, or a container could not be started.",
    ),
    (
        "126, 127",
        "A container's command cannot be executed, or is not found.",
    ),
    ("130", "The build was stopped by Ctrl-C."),
    (
        "others",
        "The status of the container's command; 128 and a signal's number if one ended it.",
    ),
];

/// Write manual pages into a directory.
#[derive(Args, Debug)]
#[command(override_usage = "kiln man-pages DIRECTORY")]
pub(crate) struct ManPagesArguments {
    /// Where they go; made if it is not there
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Writes the pages for a command line of this description.
pub(crate) fn man_pages(arguments: &ManPagesArguments, described: Command) -> Outcome {
    let directory = &arguments.directory;
    let failure = |error: std::io::Error| {
        Failure::new(format!(
            "cannot write manual pages to {}: {error}",
            directory.display()
        ))
    };
    std::fs::create_dir_all(directory).map_err(failure)?;
    let mut root = described.disable_help_subcommand(true);
    root.build();
    write(&root, "kiln", directory).map_err(failure)?;
    Ok(Exit::SUCCESS)
}

/// Writes the page of a command, which `words` call, and those of the commands below it.
fn write(command: &Command, words: &str, directory: &Path) -> std::io::Result<()> {
    let name = words.replace(' ', "-");
    std::fs::write(directory.join(format!("{name}.1")), page(command, words)?)?;
    for below in visible(command) {
        write(below, &format!("{words} {}", below.get_name()), directory)?;
    }
    Ok(())
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    let below = command.get_subcommands();
    below.filter(|command| !command.is_hide_set())
}

fn page(command: &Command, words: &str) -> std::io::Result<Vec<u8>> {
    let name = words.replace(' ', "-");
    // The empty one is the date: the pages of one version are equal whenever they are made.
    let mut text = format!(
        ".TH \"{}\" \"1\" \"\" \"kiln {VERSION}\" \"User Commands\"\n",
        name.to_uppercase()
    )
    .into_bytes();

    let mut roff = Roff::new();
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", about.trim_end_matches('.')))]);
    roff.control("SH", ["SYNOPSIS"]);
    let usage = command.clone().bin_name(words).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let rest = usage.strip_prefix(words).unwrap_or(usage);
    roff.text([bold(words), roman(rest)]);
    roff.to_writer(&mut text)?;

    if command
        .get_arguments()
        .any(|argument| !argument.is_hide_set())
    {
        Man::new(command.clone()).render_options_section(&mut text)?;
    }
    let mut roff = Roff::new();
    let commands: Vec<&Command> = visible(command).collect();
    if !commands.is_empty() {
        let entries = commands.iter().map(|below| {
            let about = below.get_about().map(ToString::to_string);
            let title = format!("{name}-{}(1)", below.get_name());
            (title, about.unwrap_or_default())
        });
        list(&mut roff, "COMMANDS", entries);
    }
    match command.get_after_help().map(ToString::to_string) {
        _ if words == "kiln" => root_sections(&mut roff),
        Some(after) => match after.strip_prefix("Examples:") {
            Some(examples) => {
                roff.control("SH", ["EXAMPLES"]);
                roff.control("nf", []);
                for line in examples.trim_matches('\n').lines() {
                    roff.text([roman(line)]);
                }
                roff.control("fi", []);
            }
            None => notes(&mut roff, &after),
        },
        None => {}
    }
    if let Some((above, _)) = words.rsplit_once(' ') {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold(above.replace(' ', "-")), roman("(1)")]);
    }
    roff.to_writer(&mut text)?;
    Ok(text)
}

fn notes(roff: &mut Roff, text: &str) {
    roff.control("SH", ["NOTES"]);
    for (number, paragraph) in text.split("\n\n").enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph)]);
    }
}

/// Appends what is true of every command.
fn root_sections(roff: &mut Roff) {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    list(roff, "ENVIRONMENT", VARIABLES.iter().map(owned));
    list(roff, "FILES", FILES.iter().map(owned));
    list(roff, "EXIT STATUS", STATUSES.iter().map(owned));
}

fn list(roff: &mut Roff, heading: &str, entries: impl Iterator<Item = (String, String)>) {
    roff.control("SH", [heading]);
    for (name, text) in entries {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(text)]);
    }
}
