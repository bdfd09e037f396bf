//! `kiln images`, `kiln tag` and `kiln rmi`.

use std::collections::BTreeMap;

use clap::Args;
use kiln_docker::Filters;
use kiln_docker::rows::{
    IMAGE_FILTERS, IMAGES, IMAGES_WITH_DIGESTS, ImageRow, is_named, matches_reference,
};
use kiln_engine::{ImageRemoval, ImageSummary, verbs};
use kiln_oci::{TaggedRef, Timestamp};
use serde_json::Value;

use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::formats::{print_rows, width_of};
use crate::session::Session;
use crate::{session, terminal};

/// List images.
#[derive(Args, Debug)]
#[command(override_usage = "kiln images [OPTIONS] [REPOSITORY[:TAG]]")]
pub(crate) struct ImagesArguments {
    /// Only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Show also images without a name
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Only images that pass (dangling=, label=, reference=, before=, since=)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Format with a template, or json
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Only show ids
    #[arg(short, long)]
    quiet: bool,
}

/// Lists images.
pub(crate) fn images(arguments: &ImagesArguments, environment: &Environment) -> Outcome {
    let filters = Filters::parse(&arguments.filters, &IMAGE_FILTERS)?;
    let session = session::open(environment)?;
    let images: Vec<ImageSummary> = verbs::images(&session.stores)?
        .into_iter()
        .filter(|image| {
            arguments
                .name
                .as_deref()
                .is_none_or(|name| is_named(image.name.as_deref(), name))
        })
        .collect();
    let images = select(images, arguments.all, &filters, &session)?;
    let now = Timestamp::now();
    let rows: Vec<Value> = images
        .iter()
        .map(|image| row(image).to_json(now, width_of(arguments.no_trunc)))
        .collect();
    let format = match (&arguments.format, arguments.quiet, arguments.digests) {
        (Some(format), _, _) => Some(format.as_str()),
        (None, true, _) => Some("{{.ID}}"),
        (None, false, true) => Some(IMAGES_WITH_DIGESTS),
        (None, false, false) => None,
    };
    print_rows(&IMAGES, format, &rows)?;
    Ok(Exit::SUCCESS)
}

fn select(
    images: Vec<ImageSummary>,
    all: bool,
    filters: &Filters,
    session: &Session,
) -> Result<Vec<ImageSummary>, Failure> {
    // As docker does since 29: images without a name are not listed unless they are asked for.
    let dangling = match filters.boolean("dangling")? {
        None if !all => Some(false),
        asked => asked,
    };
    let created = |key: &str| {
        let Some(text) = filters.values(key).last() else {
            return Ok(None);
        };
        let (_, image) = verbs::find(&session.stores, text)?;
        Ok::<_, Failure>(image.representative().config.created)
    };
    let (before, since) = (created("before")?, created("since")?);
    let passes = |image: &ImageSummary| {
        dangling.is_none_or(|dangling| dangling == image.name.is_none())
            && filters.any("reference", |pattern| {
                matches_reference(image.name.as_deref(), pattern)
            })
            && before.is_none_or(|time| image.created < Some(time))
            && since.is_none_or(|time| image.created > Some(time))
            && (filters.values("label").is_empty() || filters.labels(&labels(session, image)))
    };
    Ok(images.into_iter().filter(passes).collect())
}

/// Returns the labels of an image.
pub(crate) fn labels(session: &Session, image: &ImageSummary) -> BTreeMap<String, String> {
    let found = verbs::find(&session.stores, &image.id.to_string());
    found.map_or_else(
        |_| BTreeMap::new(),
        |(_, image)| image.representative().config.config.labels.clone(),
    )
}

fn row(image: &ImageSummary) -> ImageRow<'_> {
    ImageRow {
        id: image.id,
        name: image.name.as_deref(),
        manifest: image.manifest,
        created: image.created,
        size_bytes: image.size_bytes,
    }
}

/// Give an image another name.
#[derive(Args, Debug)]
#[command(override_usage = "kiln tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]")]
pub(crate) struct TagArguments {
    /// Name or id of the image
    #[arg(value_name = "SOURCE_IMAGE")]
    source: String,
    /// The other name
    #[arg(value_name = "TARGET_IMAGE")]
    target: String,
}

/// Names an image.
pub(crate) fn tag(arguments: &TagArguments, environment: &Environment) -> Outcome {
    let target: TaggedRef = arguments.target.parse().map_err(|error| {
        Failure::new(format!(
            "error parsing reference: {:?}: {error}",
            arguments.target
        ))
    })?;
    if target.digest().is_some() {
        return Err(Failure::new(
            "refusing to create a tag with a digest reference",
        ));
    }
    verbs::tag(
        &session::open(environment)?.stores,
        &arguments.source,
        &target,
    )?;
    Ok(Exit::SUCCESS)
}

/// Remove one or more images.
#[derive(Args, Debug)]
#[command(override_usage = "kiln rmi [OPTIONS] IMAGE [IMAGE...]")]
pub(crate) struct RmiArguments {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true, num_args = 1..)]
    images: Vec<String>,
    /// Remove images with several names by id, and do not mind missing ones
    #[arg(short, long)]
    force: bool,
    /// Accepted; what nothing needs goes when garbage is collected
    #[arg(long, hide = true)]
    no_prune: bool,
}

/// Removes images.
pub(crate) fn rmi(arguments: &RmiArguments, environment: &Environment) -> Outcome {
    let session = session::open(environment)?;
    let mut exit = Exit::SUCCESS;
    let mut tell = |removed: Result<Vec<ImageRemoval>, kiln_engine::Error>| {
        let removals = match removed {
            Ok(removals) => removals,
            Err(error) => {
                terminal::tell_line(&format!("Error: {}", error.full_message()));
                let is_missing = matches!(error, kiln_engine::Error::NoSuchImage(_));
                if !(arguments.force && is_missing) {
                    exit = Exit::FAILURE;
                }
                return Ok(());
            }
        };
        for removal in removals {
            terminal::print_line(&match removal {
                ImageRemoval::Untagged(name) => format!("Untagged: {}", name.familiar()),
                ImageRemoval::Deleted(id) => format!("Deleted: {id}"),
            })?;
        }
        Ok::<(), Failure>(())
    };
    verbs::remove_images(
        &session.stores,
        &arguments.images,
        arguments.force,
        &mut tell,
    )?;
    Ok(exit)
}
