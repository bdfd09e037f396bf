//! `kiln system df`.

use clap::Args;
use kiln_containers::Status;
use kiln_docker::time::date;
use kiln_docker::{Listing, units};
use kiln_engine::{ContainerUsage, ImageUsage, StorageSummary, Usability};
use kiln_oci::{ImageRef, Timestamp};
use serde_json::{Value, json};

use crate::cache;
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::formats::print_rows;
use crate::{session, terminal};

const SUMMARY: Listing = Listing {
    default: "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};
const IMAGES: Listing = Listing {
    default: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t\
              {{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    titles: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
};
const CONTAINERS: Listing = Listing {
    default: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t\
              {{.CreatedSince}}\t{{.Status}}\t{{.Names}}",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
};
const ENTRIES: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t\
     {{.Cost}}\t{{.Description}}";

/// Show what images, containers and the build cache take.
#[derive(Args, Debug)]
#[command(override_usage = "kiln system df [OPTIONS]")]
pub(crate) struct DfArguments {
    /// Format with a template, or json
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show each of them
    #[arg(short, long)]
    verbose: bool,
}

/// Shows what everything takes.
pub(crate) fn df(arguments: &DfArguments, environment: &Environment) -> Outcome {
    if arguments.verbose && arguments.format.is_some() {
        return Err(Failure::new(
            "the verbose option and the format option cannot be used together",
        ));
    }
    // Directories of other ids are not ours to read outside.
    let engine = session::enter_and_open(environment)?;
    let storage = engine.storage()?;
    match arguments.verbose {
        true => verbose(&storage, Timestamp::now())?,
        false => print_rows(&SUMMARY, arguments.format.as_deref(), &summary(&storage))?,
    }
    Ok(Exit::SUCCESS)
}

fn summary(storage: &StorageSummary) -> Vec<Value> {
    let row = |kind: &str, total: usize, active: usize, size: u64, reclaimable: u64| {
        let part = match (reclaimable * 100).checked_div(size) {
            Some(percent) => format!(" ({percent}%)"),
            None => String::new(),
        };
        json!({
            "Type": kind,
            "TotalCount": total.to_string(),
            "Active": active.to_string(),
            "Size": units::size(size),
            "Reclaimable": format!("{}{part}", units::size(reclaimable)),
        })
    };
    let is_active = |image: &&ImageUsage| image.containers > 0;
    let runs = |container: &&ContainerUsage| container.status == Status::Running;
    let containers = storage.containers.iter();
    let written: u64 = containers
        .clone()
        .map(|container| container.size_bytes)
        .sum();
    let running: u64 = containers.clone().filter(runs).map(|c| c.size_bytes).sum();
    let cache = &storage.cache;
    let busy = cache.entries.iter();
    let busy = busy.filter(|entry| entry.usability == Usability::InUse);
    vec![
        row(
            "Images",
            storage.images.len(),
            storage.images.iter().filter(is_active).count(),
            storage.images_bytes,
            storage.images_reclaimable_bytes,
        ),
        row(
            "Containers",
            storage.containers.len(),
            containers.filter(runs).count(),
            written,
            written - running,
        ),
        row("Local Volumes", 0, 0, 0, 0),
        row(
            "Build Cache",
            cache.entries.len(),
            busy.count(),
            cache.private_bytes + cache.unused_bytes,
            cache.reclaimable_bytes,
        ),
    ]
}

fn verbose(storage: &StorageSummary, now: Timestamp) -> Result<(), Failure> {
    let ago = |time: Timestamp| format!("{} ago", units::age(now.since(time)));
    terminal::print("Images space usage:\n\n")?;
    let mut images = Vec::new();
    for image in &storage.images {
        let names = match image.names.is_empty() {
            true => vec![None],
            false => image.names.iter().map(Some).collect(),
        };
        let part = |part: Option<String>| part.unwrap_or_else(|| "<none>".to_owned());
        images.extend(names.into_iter().map(|name| {
            json!({
                "Repository": part(name.map(ImageRef::familiar_repository)),
                "Tag": part(name.and_then(ImageRef::tag).map(str::to_owned)),
                "ID": image.id.0.short(),
                "CreatedSince": image.created.map_or_else(|| "N/A".to_owned(), ago),
                "Size": units::size(image.size_bytes),
                "SharedSize": units::size(image.size_bytes - image.unique_bytes),
                "UniqueSize": units::size(image.unique_bytes),
                "Containers": image.containers.to_string(),
            })
        }));
    }
    print_rows(&IMAGES, None, &images)?;
    terminal::print("\nContainers space usage:\n\n")?;
    let containers = storage.containers.iter().map(|container| {
        json!({
            "ID": container.id.get(..12).unwrap_or(&container.id),
            "Image": container.image,
            "Command": format!("{:?}", container.command.join(" ")),
            "LocalVolumes": "0",
            "Size": units::size(container.size_bytes),
            "CreatedSince": ago(container.created),
            "CreatedAt": date(container.created),
            "Status": match container.status {
                Status::Created => "Created",
                Status::Running => "Up",
                Status::Exited => "Exited",
            },
            "Names": container.name,
        })
    });
    print_rows(&CONTAINERS, None, &containers.collect::<Vec<_>>())?;
    terminal::print("\nLocal Volumes space usage:\n\nVOLUME NAME   LINKS     SIZE\n")?;
    let cache = &storage.cache;
    terminal::print(&format!(
        "\nBuild cache usage: {}\n\n",
        units::size(cache.private_bytes + cache.unused_bytes)
    ))?;
    let rows = cache.entries.iter().map(|entry| cache::row(entry, now));
    print_rows(&cache::LISTING, Some(ENTRIES), &rows.collect::<Vec<_>>())
}
