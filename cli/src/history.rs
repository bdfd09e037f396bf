//! `kiln history`.

use clap::Args;
use kiln_docker::{Listing, units};
use kiln_engine::HistoryRow;
use kiln_oci::Timestamp;
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::failure::{Exit, Outcome};
use crate::formats::print_rows;
use crate::{platforms, session};

const LISTING: Listing = Listing {
    default: "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};
/// Characters of CREATED BY, as in docker.
const WIDTH: usize = 45;

/// Show the history of an image.
#[derive(Args, Debug)]
#[command(override_usage = "kiln history [OPTIONS] IMAGE")]
pub(crate) struct HistoryArguments {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Of an index, the image for this platform (default: this machine's)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Format with a template, or json
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print sizes and times as people read them
    #[arg(short = 'H', long, default_value_t = true, hide_default_value = true,
        action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    human: bool,
    /// Do not cut columns
    #[arg(long)]
    no_trunc: bool,
    /// Only show ids
    #[arg(short, long)]
    quiet: bool,
}

/// Shows how an image came about.
pub(crate) fn history(arguments: &HistoryArguments, environment: &Environment) -> Outcome {
    let platform = platforms::of_flag(arguments.platform.as_ref())?;
    let rows = session::open(environment)?.history(&arguments.image, platform.as_ref())?;
    let now = Timestamp::now();
    let rows: Vec<Value> = rows
        .iter()
        .map(|entry| row(entry, now, arguments))
        .collect();
    let format = match (&arguments.format, arguments.quiet) {
        (Some(format), _) => Some(format.as_str()),
        (None, true) => Some("{{.ID}}"),
        (None, false) => None,
    };
    print_rows(&LISTING, format, &rows)?;
    Ok(Exit::SUCCESS)
}

fn row(entry: &HistoryRow, now: Timestamp, arguments: &HistoryArguments) -> Value {
    let id = match entry.id {
        Some(id) if arguments.no_trunc => id.to_string(),
        Some(id) => id.0.short(),
        None => "<missing>".to_owned(),
    };
    let created_at = entry
        .created
        .map_or("N/A".to_owned(), |time| time.to_string());
    let since = match (entry.created, arguments.human) {
        (Some(time), true) => format!("{} ago", units::age(now.since(time))),
        (Some(_), false) => created_at.clone(),
        (None, _) => "N/A".to_owned(),
    };
    // Tabs would be taken for columns.
    let created_by = entry.created_by.replace('\t', " ");
    json!({
        "ID": id,
        "CreatedSince": since,
        "CreatedAt": created_at,
        "CreatedBy": match arguments.no_trunc {
            true => created_by,
            false => cut(&created_by),
        },
        "Size": match arguments.human {
            true => units::short_size(entry.size_bytes),
            false => entry.size_bytes.to_string(),
        },
        "Comment": entry.comment,
    })
}

fn cut(text: &str) -> String {
    match text.chars().count() > WIDTH {
        true => text.chars().take(WIDTH - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
