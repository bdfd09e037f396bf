//! `kiln ps`.

use clap::Args;
use kiln_containers::{Container, ContainerError, ContainerStatus, Containers, Spec, StoredState};
use kiln_docker::Filters;
use kiln_docker::rows::{CONTAINER_FILTERS, CONTAINERS, ContainerRow};
use kiln_engine::verbs;
use kiln_oci::Timestamp;
use serde_json::Value;

use super::failures::failure;
use super::words::container_state;
use crate::environment::Environment;
use crate::failure::{Exit, Outcome};
use crate::formats::{print_rows, width_of};
use crate::session;

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
struct ListedContainer {
    name: String,
    spec: Spec,
    command: Vec<String>,
    state: StoredState,
}

/// Lists containers.
pub(crate) fn ps(arguments: &PsArguments, environment: &Environment) -> Outcome {
    let filters = Filters::parse(&arguments.filters, &CONTAINER_FILTERS)?;
    let containers = verbs::containers(&session::open(environment)?.stores)?;
    let mut known = look(&containers).map_err(failure)?;
    known.sort_by_key(|known| std::cmp::Reverse(known.spec.created));
    let now = Timestamp::now();
    let last = if arguments.latest {
        Some(1)
    } else {
        arguments.last.and_then(|last| usize::try_from(last).ok())
    };
    let shows_all = arguments.all
        || last.is_some()
        || !filters.values("status").is_empty()
        || !filters.values("exited").is_empty();
    let known: Vec<ListedContainer> = known
        .into_iter()
        .filter(|known| shows_all || known.state.status == ContainerStatus::Running)
        .filter(|known| known.row(now).passes(&filters))
        .take(last.unwrap_or(usize::MAX))
        .collect();
    let width = width_of(arguments.no_trunc);
    let rows: Vec<Value> = known
        .iter()
        .map(|known| known.row(now).to_json(now, width))
        .collect();
    let format = match (&arguments.format, arguments.quiet) {
        (Some(format), _) => Some(format.as_str()),
        (None, true) => Some("{{.ID}}"),
        (None, false) => None,
    };
    print_rows(&CONTAINERS, format, &rows)?;
    Ok(Exit::SUCCESS)
}

fn look(containers: &Containers) -> Result<Vec<ListedContainer>, ContainerError> {
    let look = |container: &Container| {
        let spec = container.spec()?;
        Ok(ListedContainer {
            name: container.name()?.to_string(),
            command: spec.command(),
            spec,
            state: container.state()?,
        })
    };
    let known = containers.list()?;
    let known = known.iter().map(look).filter(|known| {
        // Another process removed it meanwhile.
        !matches!(known, Err(ContainerError::NotFound(_)))
    });
    known.collect()
}

impl ListedContainer {
    fn row(&self, now: Timestamp) -> ContainerRow<'_> {
        ContainerRow {
            id: self.spec.id.as_str(),
            name: &self.name,
            image: &self.spec.config.image,
            image_id: &self.spec.image_id,
            command: &self.command,
            created: self.spec.created,
            state: container_state(&self.state, now),
            labels: self.spec.labels(),
            network: &self.spec.host_config.network_mode,
        }
    }
}
