//! `kiln ps`.

use std::collections::BTreeMap;

use clap::Args;
use kiln_containers::{Container, ContainerError, Containers, Spec, State, Status};
use kiln_docker::time::date;
use kiln_docker::{Filters, Listing, units};
use kiln_oci::Timestamp;
use regex::Regex;
use serde_json::{Value, json};

use super::failure;
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::formats::print_rows;
use crate::session;

const LISTING: Listing = Listing {
    default: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.CreatedAgo}}\t{{.Status}}\t{{.Ports}}\t\
              {{.Names}}",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAgo", "CREATED"),
        ("RunningFor", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Labels", "LABELS"),
        ("Networks", "NETWORKS"),
        ("Mounts", "MOUNTS"),
        ("Size", "SIZE"),
    ],
};
const FILTERS: [&str; 6] = ["id", "name", "label", "exited", "status", "ancestor"];
/// Characters of COMMAND, as in docker.
const COMMAND_WIDTH: usize = 20;

/// List containers.
#[derive(Args, Debug)]
#[command(override_usage = "kiln ps [OPTIONS]")]
pub(crate) struct PsArguments {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    all: bool,
    /// Only containers that pass (id=, name=, label=, exited=, status=, ancestor=)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Format with a template, or json
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show the newest N containers, whatever their state
    #[arg(short = 'n', long, value_name = "N", allow_hyphen_values = true)]
    last: Option<i64>,
    /// Show the newest container, whatever its state
    #[arg(short, long)]
    latest: bool,
    /// Do not cut columns
    #[arg(long)]
    no_trunc: bool,
    /// Only show ids
    #[arg(short, long)]
    quiet: bool,
}

/// What is known of a container.
struct Known {
    name: String,
    spec: Spec,
    state: State,
}

/// Lists containers.
pub(crate) fn ps(arguments: &PsArguments, environment: &Environment) -> Outcome {
    let filters = Filters::parse(&arguments.filters, &FILTERS)?;
    let containers = session::open(environment)?.containers()?;
    let mut known = look(&containers).map_err(failure)?;
    known.sort_by_key(|known| std::cmp::Reverse(known.spec.created));
    let last = match arguments.latest {
        true => Some(1),
        false => arguments.last.and_then(|last| usize::try_from(last).ok()),
    };
    let shows_all = arguments.all
        || last.is_some()
        || !filters.values("status").is_empty()
        || !filters.values("exited").is_empty();
    let known: Vec<Known> = known
        .into_iter()
        .filter(|known| shows_all || known.state.status == Status::Running)
        .filter(|known| passes(known, &filters))
        .take(last.unwrap_or(usize::MAX))
        .collect();
    let now = Timestamp::now();
    let rows: Vec<Value> = known
        .iter()
        .map(|known| row(known, now, arguments.no_trunc))
        .collect();
    let format = match (&arguments.format, arguments.quiet) {
        (Some(format), _) => Some(format.as_str()),
        (None, true) => Some("{{.ID}}"),
        (None, false) => None,
    };
    print_rows(&LISTING, format, &rows)?;
    Ok(Exit::SUCCESS)
}

fn look(containers: &Containers) -> Result<Vec<Known>, ContainerError> {
    let look = |container: &Container| {
        Ok(Known {
            name: container.name()?.to_string(),
            spec: container.spec()?,
            state: container.state()?,
        })
    };
    let known = containers.list()?;
    let known = known.iter().map(look).filter(|known| {
        // Somebody removed it while we looked.
        !matches!(known, Err(ContainerError::NotFound(_)))
    });
    known.collect()
}

fn passes(known: &Known, filters: &Filters) -> bool {
    let code = known.state.exit_code.to_string();
    filters.any("id", |id| matches(id, known.spec.id.as_str()))
        && filters.any("name", |name| {
            matches(name, &known.name) || matches(name, &format!("/{}", known.name))
        })
        && filters.any("status", |status| status == state_word(&known.state))
        && filters.any("exited", |wanted| {
            known.state.status == Status::Exited && wanted == code
        })
        && filters.any("ancestor", |image| is_image(known, image))
        && filters.labels(&known.spec.labels)
}

/// Matches a regular expression, anywhere in a text unless it is anchored, or the text itself. As
/// for docker, what is no regular expression matches nothing else.
fn matches(pattern: &str, text: &str) -> bool {
    pattern == text || Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

fn is_image(known: &Known, text: &str) -> bool {
    let id = known.spec.image_id.trim_start_matches("sha256:");
    known.spec.image == text
        || known.spec.image.strip_suffix(":latest") == Some(text)
        || (text.len() >= 4 && id.starts_with(text.trim_start_matches("sha256:")))
}

/// Returns docker's word for a state.
pub(super) fn state_word(state: &State) -> &'static str {
    match state.status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Exited => "exited",
    }
}

fn status(state: &State, now: Timestamp) -> String {
    let age = |time: Option<Timestamp>| units::age(now.since(time.unwrap_or(now)));
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", age(state.started)),
        Status::Exited => {
            format!("Exited ({}) {} ago", state.exit_code, age(state.finished))
        }
    }
}

fn row(known: &Known, now: Timestamp, whole: bool) -> Value {
    let spec = &known.spec;
    let command = spec.job.process.argv.join(" ");
    let command = match whole || command.chars().count() <= COMMAND_WIDTH {
        true => command,
        false => command
            .chars()
            .take(COMMAND_WIDTH - 1)
            .chain(['…'])
            .collect(),
    };
    let ago = format!("{} ago", units::age(now.since(spec.created)));
    json!({
        "ID": match whole {
            true => spec.id.as_str(),
            false => spec.id.short(),
        },
        "Image": spec.image,
        "Command": format!("{command:?}"),
        "CreatedAgo": ago,
        "RunningFor": ago,
        "CreatedAt": date(spec.created),
        "State": state_word(&known.state),
        "Status": status(&known.state, now),
        "Ports": "",
        "Names": known.name,
        "Labels": labels(&spec.labels),
        "Label": spec.labels,
        "Networks": match spec.job.network {
            kiln_runtime::Network::Host => "host",
            kiln_runtime::Network::None => "none",
        },
        "Mounts": "",
        "Size": "0B",
    })
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// Finds a container by name or id.
pub(super) fn find(containers: &Containers, text: &str) -> Result<Container, Failure> {
    containers.find(text).map_err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_as_docker_matches_them() {
        for (pattern, text, expected) in [
            ("web", "web2", true),
            ("^web$", "web2", false),
            ("^web$", "web", true),
            ("^/web$", "/web", true),
            ("w.b", "web", true),
            ("^(web|db)$", "db", true),
            ("we[", "web", false),
            ("(", "(", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn statuses_are_dockers() {
        let state = |status, exit_code| State {
            status,
            process: None,
            started: Some(Timestamp::from_seconds(100)),
            finished: Some(Timestamp::from_seconds(160)),
            exit_code,
            out_of_memory: false,
            error: None,
            lost_log_lines: 0,
        };
        let now = Timestamp::from_seconds(280);
        for (state, expected) in [
            (state(Status::Created, 0), "Created"),
            (state(Status::Running, 0), "Up 3 minutes"),
            (state(Status::Exited, 137), "Exited (137) 2 minutes ago"),
        ] {
            assert_eq!(status(&state, now), expected);
        }
    }
}
