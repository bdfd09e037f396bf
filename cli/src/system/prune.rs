//! `kiln system prune`, `kiln image prune` and `kiln container prune`.

use std::collections::BTreeMap;

use clap::Args;
use kiln_containers::{ContainerError, ContainerStatus, Force};
use kiln_docker::{Filters, units};
use kiln_engine::{ImageRemoval, PruneExtent, PruneRequest, PruneTurn, Unneeded, verbs};
use kiln_oci::Timestamp;

use crate::cache;
use crate::containers::{failure, parse_time};
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::Activity;
use crate::session::Session;
use crate::{images, session, terminal};

const FILTERS: [&str; 3] = ["until", "label", "label!"];

/// Remove unused images.
#[derive(Args, Debug)]
#[command(override_usage = "kiln image prune [OPTIONS]")]
pub(crate) struct ImagePruneArguments {
    /// Remove all images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Only images that pass (until=24h, label=, label!=)
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Remove all stopped containers.
#[derive(Args, Debug)]
#[command(override_usage = "kiln container prune [OPTIONS]")]
pub(crate) struct ContainerPruneArguments {
    /// Only containers that pass (until=24h, label=, label!=)
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Remove stopped containers, unused images and build cache.
#[derive(Args, Debug)]
#[command(override_usage = "kiln system prune [OPTIONS]")]
pub(crate) struct SystemPruneArguments {
    /// Remove all images that no container uses, and all build cache
    #[arg(short, long)]
    all: bool,
    /// Only what passes (until=24h, label=, label!=)
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Accepted; there are no volumes yet
    #[arg(long, hide = true)]
    volumes: bool,
}

/// What filters of these commands ask for.
#[derive(Debug)]
struct Wanted {
    until: Option<Timestamp>,
    filters: Filters,
}

impl Wanted {
    fn parse(texts: &[String]) -> Result<Self, Failure> {
        let filters = Filters::parse(texts, &FILTERS)?;
        let now = Timestamp::now();
        let until = filters.values("until").last();
        Ok(Self {
            until: until.map(|text| parse_time(text, now)).transpose()?,
            filters,
        })
    }

    fn pass(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        let is_old = self
            .until
            .is_none_or(|until| created.is_none_or(|c| c <= until));
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        is_old && self.filters.labels(labels) && !self.filters.values("label!").iter().any(has)
    }
}

/// Removes unused images.
pub(crate) fn prune_images(arguments: &ImagePruneArguments, environment: &Environment) -> Outcome {
    let wanted = Wanted::parse(&arguments.filters)?;
    let what = if arguments.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    if !arguments.force && !confirm_one(what) {
        return Ok(Exit::SUCCESS);
    }
    let session = session::enter_and_open(environment)?;
    images_of(&session, arguments.all, &wanted)?;
    let request = PruneRequest::leftovers("kiln image prune");
    sweep(&session, &request, 0)
}

/// Removes containers that ended or never began.
pub(crate) fn prune_containers(
    arguments: &ContainerPruneArguments,
    environment: &Environment,
) -> Outcome {
    let wanted = Wanted::parse(&arguments.filters)?;
    if !arguments.force && !confirm_one("all stopped containers") {
        return Ok(Exit::SUCCESS);
    }
    let session = session::enter_and_open(environment)?;
    let freed = containers_of(&session, &wanted)?;
    total(freed)?;
    Ok(Exit::SUCCESS)
}

/// Removes all that is unused.
pub(crate) fn prune_system(arguments: &SystemPruneArguments, environment: &Environment) -> Outcome {
    let wanted = Wanted::parse(&arguments.filters)?;
    let (images, cache) = if arguments.all {
        (
            "all images without at least one container associated to them",
            "all build cache",
        )
    } else {
        ("all dangling images", "unused build cache")
    };
    let question = format!(
        "WARNING! This will remove:\n  - all stopped containers\n  - {images}\n  - {cache}\n\n\
         Are you sure you want to continue?"
    );
    if !arguments.force && !terminal::confirm(&question) {
        return Ok(Exit::SUCCESS);
    }
    let session = session::enter_and_open(environment)?;
    let freed = containers_of(&session, &wanted)?;
    images_of(&session, arguments.all, &wanted)?;
    let until = wanted.until;
    let has_labels = ["label", "label!"]
        .iter()
        .any(|key| !wanted.filters.values(key).is_empty());
    let select = |entry: &kiln_engine::CacheEntry| {
        // Entries of the cache have no labels, so a filter of labels leaves them.
        !has_labels && until.is_none_or(|until| entry.last_used <= until)
    };
    let request = PruneRequest {
        extent: if arguments.all {
            PruneExtent::Everything
        } else {
            PruneExtent::Private
        },
        select: &select,
        limits: None,
        unnamed: cache::settings(environment)?.unnamed,
        command: "kiln system prune",
    };
    sweep(&session, &request, freed)
}

fn confirm_one(what: &str) -> bool {
    terminal::confirm(&format!(
        "WARNING! This will remove {what}.\nAre you sure you want to continue?"
    ))
}

fn images_of(session: &Session, all: bool, wanted: &Wanted) -> Result<(), Failure> {
    let unneeded = if all {
        Unneeded::Unused
    } else {
        Unneeded::Dangling
    };
    let removals = verbs::prune_images(&session.stores, unneeded, &|image| {
        wanted.pass(image.created, &images::labels(session, image))
    })?;
    if !removals.is_empty() {
        terminal::print_line("Deleted Images:")?;
    }
    for removal in &removals {
        terminal::print_line(&match removal {
            ImageRemoval::Untagged(name) => format!("untagged: {}", name.familiar()),
            ImageRemoval::Deleted(id) => format!("deleted: {id}"),
        })?;
    }
    if !removals.is_empty() {
        terminal::print_line("")?;
    }
    Ok(())
}

/// Removes stopped containers and returns the bytes that they had written.
fn containers_of(session: &Session, wanted: &Wanted) -> Result<u64, Failure> {
    let mut removed = Vec::new();
    let mut freed = 0;
    let containers = verbs::containers(&session.stores)?;
    containers.sweep().map_err(failure)?;
    for container in containers.list().map_err(failure)? {
        let remove = || -> Result<Option<u64>, ContainerError> {
            let (spec, state) = (container.spec()?, container.state()?);
            // One that is made and not started yet is held by the kiln that is about to start it.
            let is_needed = state.status == ContainerStatus::Running || container.is_held()?;
            if is_needed || !wanted.pass(Some(spec.created), spec.labels()) {
                return Ok(None);
            }
            // What cannot be measured is removed all the same.
            let usage = kiln_cache::DiskUsage::of_tree(container.directory()).unwrap_or_default();
            container.remove(Force::No)?;
            Ok(Some(usage.bytes))
        };
        match remove() {
            Ok(Some(bytes)) => {
                freed += bytes;
                removed.push(container.id().to_string());
            }
            // It runs, or another kiln was faster.
            Ok(None)
            | Err(
                ContainerError::NotFound(_)
                | ContainerError::Running(_)
                | ContainerError::AlreadyRunning(_),
            ) => {}
            Err(error) => return Err(failure(error)),
        }
    }
    if !removed.is_empty() {
        terminal::print(&format!("Deleted Containers:\n{}\n\n", removed.join("\n")))?;
    }
    Ok(freed)
}

/// Takes from the store what is asked for and what is unused.
fn sweep(session: &Session, request: &PruneRequest<'_>, freed: u64) -> Outcome {
    let waiting = || terminal::tell_line("waiting for other kilns that use the state directory");
    let activity = Activity::of_files(session, "looking for what can go");
    let pruned = verbs::prune_cache(&session.stores, request, &PruneTurn::Wait(&waiting))?;
    drop(activity);
    let pruned = pruned.unwrap_or_default();
    if !pruned.entries.is_empty() {
        terminal::print_line("Deleted build cache objects:")?;
        for entry in &pruned.entries {
            terminal::print_line(&entry.id)?;
        }
        terminal::print_line("")?;
    }
    total(freed + pruned.freed_bytes)?;
    // Everybody has seen what went; deleting it may take a while.
    let _activity = Activity::of_files(session, "deleting");
    verbs::empty_trash(&session.stores);
    Ok(Exit::SUCCESS)
}

fn total(freed: u64) -> Result<(), Failure> {
    terminal::print_line(&format!("Total reclaimed space: {}", units::size(freed)))
}
