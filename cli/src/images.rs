//! `kiln images`, `kiln tag` and `kiln rmi`.

use std::collections::BTreeMap;

use clap::Args;
use kiln_docker::time::date;
use kiln_docker::{Filters, Listing, matches_pattern, units};
use kiln_engine::{Engine, ImageSummary, Removal};
use kiln_oci::{ImageRef, Timestamp};
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::formats::print_rows;
use crate::{session, terminal};

const LISTING: Listing = Listing {
    default: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    titles: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};
const WITH_DIGESTS: &str =
    "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const FILTERS: [&str; 5] = ["dangling", "label", "reference", "before", "since"];
/// What stands for a missing part.
const NONE: &str = "<none>";

/// List images.
#[derive(Args, Debug)]
#[command(override_usage = "kiln images [OPTIONS] [REPOSITORY[:TAG]]")]
pub(crate) struct ImagesArguments {
    /// Only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Show all images
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
    let filters = Filters::parse(&arguments.filters, &FILTERS)?;
    let engine = session::open(environment)?;
    let images: Vec<ImageSummary> = engine
        .images()?
        .into_iter()
        .filter(|image| {
            arguments
                .name
                .as_deref()
                .is_none_or(|name| is_named(image, name))
        })
        .collect();
    let images = select(images, &filters, &engine)?;
    let rows: Vec<Value> = images
        .iter()
        .map(|image| row(image, Timestamp::now(), arguments.no_trunc))
        .collect();
    let format = match (&arguments.format, arguments.quiet, arguments.digests) {
        (Some(format), _, _) => Some(format.as_str()),
        (None, true, _) => Some("{{.ID}}"),
        (None, false, true) => Some(WITH_DIGESTS),
        (None, false, false) => None,
    };
    print_rows(&LISTING, format, &rows)?;
    Ok(Exit::SUCCESS)
}

fn select(
    images: Vec<ImageSummary>,
    filters: &Filters,
    engine: &Engine,
) -> Result<Vec<ImageSummary>, Failure> {
    let dangling = filters.boolean("dangling")?;
    let created = |key: &str| {
        let Some(text) = filters.values(key).last() else {
            return Ok(None);
        };
        let (_, image) = engine.find(text)?;
        Ok::<_, Failure>(image.representative().config.created)
    };
    let (before, since) = (created("before")?, created("since")?);
    let passes = |image: &ImageSummary| {
        dangling.is_none_or(|dangling| dangling == image.name.is_none())
            && filters.any("reference", |pattern| matches_reference(image, pattern))
            && before.is_none_or(|time| image.created < Some(time))
            && since.is_none_or(|time| image.created > Some(time))
            && (filters.values("label").is_empty() || filters.labels(&labels(engine, image)))
    };
    Ok(images.into_iter().filter(passes).collect())
}

/// Returns the labels of an image.
pub(crate) fn labels(engine: &Engine, image: &ImageSummary) -> BTreeMap<String, String> {
    let found = engine.find(&image.id.to_string());
    found.map_or_else(
        |_| BTreeMap::new(),
        |(_, image)| image.representative().config.config.labels.clone(),
    )
}

/// Says whether an image is of a repository, and of a tag if one is given.
fn is_named(image: &ImageSummary, wanted: &str) -> bool {
    let Some(name) = &image.name else {
        return false;
    };
    match wanted.parse::<ImageRef>() {
        Ok(wanted) => {
            wanted.repository() == name.repository()
                && wanted.tag().is_none_or(|tag| Some(tag) == name.tag())
        }
        // Not a name, perhaps a pattern.
        Err(_) => matches_reference(image, wanted),
    }
}

fn matches_reference(image: &ImageSummary, pattern: &str) -> bool {
    image.name.as_ref().is_some_and(|name| {
        matches_pattern(pattern, &name.familiar())
            || matches_pattern(pattern, &name.familiar_repository())
    })
}

fn row(image: &ImageSummary, now: Timestamp, whole_ids: bool) -> Value {
    let since = image.created.map_or("N/A".to_owned(), |created| {
        format!("{} ago", units::age(now.since(created)))
    });
    let part = |part: Option<String>| part.unwrap_or_else(|| NONE.to_owned());
    let name = image.name.as_ref();
    json!({
        "ID": match whole_ids {
            true => image.id.to_string(),
            false => image.id.0.short(),
        },
        "Repository": part(name.map(ImageRef::familiar_repository)),
        "Tag": part(name.and_then(ImageRef::tag).map(str::to_owned)),
        "Digest": image.manifest.to_string(),
        "CreatedSince": since,
        "CreatedAt": image.created.map_or("N/A".to_owned(), date),
        "Size": units::short_size(image.size_bytes),
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
    })
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
    let target: ImageRef = arguments.target.parse().map_err(|error| {
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
    session::open(environment)?.tag(&arguments.source, &target)?;
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
    let engine = session::open(environment)?;
    let mut exit = Exit::SUCCESS;
    for image in &arguments.images {
        match engine.remove_image(image, arguments.force) {
            Ok(removals) => {
                for removal in removals {
                    terminal::print_line(&match removal {
                        Removal::Untagged(name) => format!("Untagged: {}", name.familiar()),
                        Removal::Deleted(id) => format!("Deleted: {id}"),
                    })?;
                }
            }
            Err(error) => {
                terminal::tell_line(&format!("Error: {error}"));
                let is_missing = matches!(error, kiln_engine::Error::NoSuchImage(_));
                if !(arguments.force && is_missing) {
                    exit = Exit::FAILURE;
                }
            }
        }
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use kiln_oci::{ImageId, Sha256};

    use super::*;

    fn summary(name: Option<&str>) -> ImageSummary {
        ImageSummary {
            name: name.map(|name| name.parse().unwrap()),
            id: ImageId(Sha256::of(b"config")),
            manifest: Sha256::of(b"manifest"),
            created: Some(Timestamp::from_seconds(1_700_000_000)),
            size_bytes: 7_810,
        }
    }

    #[test]
    fn rows_have_dockers_fields() {
        let now = Timestamp::from_seconds(1_700_000_000 + 7200);
        let fields = |image: &ImageSummary| {
            let row = row(image, now, false);
            let field = |name: &str| row[name].as_str().unwrap().to_owned();
            ["Repository", "Tag", "CreatedSince", "CreatedAt", "Size"].map(field)
        };
        assert_eq!(
            fields(&summary(Some("team/app:v1"))),
            [
                "team/app",
                "v1",
                "2 hours ago",
                "2023-11-14 22:13:20 +0000 UTC",
                "7.81kB"
            ]
        );
        assert_eq!(fields(&summary(None))[..2], ["<none>", "<none>"]);
    }

    #[test]
    fn names_select_repositories_and_tags() {
        let image = summary(Some("team/app:v1"));
        for (wanted, expected) in [
            ("team/app", true),
            ("team/app:v1", true),
            ("docker.io/team/app", true),
            ("team/app:v2", false),
            ("app", false),
            ("team/*", true),
        ] {
            assert_eq!(is_named(&image, wanted), expected, "{wanted}");
        }
    }
}
