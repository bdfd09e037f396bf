//! `kiln history`.

use clap::Args;
use kiln_docker::rows::{self, HISTORY, Numbers};
use kiln_engine::{HistoryEntry, verbs};
use kiln_oci::Timestamp;
use serde_json::Value;

use crate::environment::Environment;
use crate::failure::{Exit, Outcome};
use crate::formats::{print_rows, width_of};
use crate::{platforms, session};

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
    let rows = verbs::history(
        &session::open(environment)?.stores,
        &arguments.image,
        platform.as_ref(),
    )?;
    let now = Timestamp::now();
    let numbers = if arguments.human {
        Numbers::ForPeople
    } else {
        Numbers::Exact
    };
    let width = width_of(arguments.no_trunc);
    let rows: Vec<Value> = rows
        .iter()
        .map(|entry| row(entry).to_json(now, numbers, width))
        .collect();
    let format = match (&arguments.format, arguments.quiet) {
        (Some(format), _) => Some(format.as_str()),
        (None, true) => Some("{{.ID}}"),
        (None, false) => None,
    };
    print_rows(&HISTORY, format, &rows)?;
    Ok(Exit::SUCCESS)
}

fn row(entry: &HistoryEntry) -> rows::HistoryRow<'_> {
    rows::HistoryRow {
        id: entry.id,
        created: entry.created,
        created_by: &entry.created_by,
        size_bytes: entry.size_bytes,
        comment: &entry.comment,
    }
}
