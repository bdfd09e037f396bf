//! `kiln system df`.

use clap::Args;
use kiln_containers::ContainerStatus;
use kiln_docker::rows::{
    self, BUILD_CACHE, BUILD_CACHE_USAGE, CONTAINER_USAGE, IMAGE_USAGE, USAGE, UsageRow,
};
use kiln_docker::units;
use kiln_engine::{ContainerDiskUsage, ImageDiskUsage, StorageSummary, Usability, verbs};
use kiln_oci::{ImageRef, Timestamp};
use serde_json::Value;

use crate::cache::{self, record};
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::formats::print_rows;
use crate::progress::Activity;
use crate::{session, terminal};

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
    let session = session::enter_and_open(environment)?;
    let unnamed = cache::settings(environment)?.unnamed;
    let activity = Activity::of_files(&session, "looking at what there is");
    let storage = verbs::usage(&session.stores, unnamed)?;
    drop(activity);
    if arguments.verbose {
        verbose(&storage, Timestamp::now())?;
    } else {
        print_rows(&USAGE, arguments.format.as_deref(), &summary(&storage))?;
    }
    Ok(Exit::SUCCESS)
}

fn summary(storage: &StorageSummary) -> Vec<Value> {
    let is_active = |image: &&ImageDiskUsage| image.containers > 0;
    let runs = |container: &&ContainerDiskUsage| container.status == ContainerStatus::Running;
    let containers = storage.containers.iter();
    let written: u64 = containers
        .clone()
        .map(|container| container.size_bytes)
        .sum();
    let running: u64 = containers.clone().filter(runs).map(|c| c.size_bytes).sum();
    let cache = &storage.cache;
    let busy = cache.entries.iter();
    let busy = busy.filter(|entry| entry.usability == Usability::InUse);
    let rows = [
        UsageRow {
            kind: "Images",
            total: storage.images.len(),
            active: storage.images.iter().filter(is_active).count(),
            size_bytes: storage.images_bytes,
            reclaimable_bytes: storage.images_reclaimable_bytes,
        },
        UsageRow {
            kind: "Containers",
            total: storage.containers.len(),
            active: containers.filter(runs).count(),
            size_bytes: written,
            reclaimable_bytes: written - running,
        },
        UsageRow {
            kind: "Local Volumes",
            total: 0,
            active: 0,
            size_bytes: 0,
            reclaimable_bytes: 0,
        },
        UsageRow {
            kind: "Build Cache",
            total: cache.entries.len(),
            active: busy.count(),
            size_bytes: cache.private_bytes + cache.unused_bytes,
            reclaimable_bytes: cache.reclaimable_bytes,
        },
    ];
    rows.iter().map(UsageRow::to_json).collect()
}

fn verbose(storage: &StorageSummary, now: Timestamp) -> Result<(), Failure> {
    terminal::print("Images space usage:\n\n")?;
    let images: Vec<Value> = storage
        .images
        .iter()
        .flat_map(|image| image_rows(image, now))
        .collect();
    print_rows(&IMAGE_USAGE, None, &images)?;
    terminal::print("\nContainers space usage:\n\n")?;
    let containers = storage.containers.iter();
    let containers: Vec<Value> = containers.map(|found| container_row(found, now)).collect();
    print_rows(&CONTAINER_USAGE, None, &containers)?;
    terminal::print("\nLocal Volumes space usage:\n\nVOLUME NAME   LINKS     SIZE\n")?;
    let cache = &storage.cache;
    terminal::print(&format!(
        "\nBuild cache usage: {}\n\n",
        units::size(cache.private_bytes + cache.unused_bytes)
    ))?;
    let entries = cache.entries.iter();
    let rows: Vec<Value> = entries.map(|entry| record(entry).to_json(now)).collect();
    print_rows(&BUILD_CACHE, Some(BUILD_CACHE_USAGE), &rows)
}

/// Returns a row for each name of an image, or one without.
fn image_rows(image: &ImageDiskUsage, now: Timestamp) -> Vec<Value> {
    let names: Vec<Option<&ImageRef>> = if image.names.is_empty() {
        vec![None]
    } else {
        image.names.iter().map(|name| Some(&**name)).collect()
    };
    let row = |name| {
        let row = rows::ImageUsage {
            name,
            id: image.id,
            created: image.created,
            size_bytes: image.size_bytes,
            unique_bytes: image.unique_bytes,
            containers: image.containers,
        };
        row.to_json(now)
    };
    names.into_iter().map(row).collect()
}

fn container_row(container: &ContainerDiskUsage, now: Timestamp) -> Value {
    let row = rows::ContainerUsage {
        id: &container.id,
        name: &container.name,
        image: &container.image,
        command: &container.command,
        size_bytes: container.size_bytes,
        created: container.created,
        status: match container.status {
            ContainerStatus::Created => "Created",
            ContainerStatus::Running => "Up",
            ContainerStatus::Exited => "Exited",
        },
    };
    row.to_json(now)
}
