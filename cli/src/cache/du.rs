//! `kiln cache du`.

use clap::Args;
use kiln_docker::rows::BUILD_CACHE;
use kiln_docker::units;
use kiln_engine::{CacheEntry, CacheUsage, verbs};
use kiln_oci::Timestamp;
use serde_json::Value;

use super::records::{filters, record};
use super::settings::settings;
use crate::environment::Environment;
use crate::failure::{Exit, Outcome};
use crate::formats::print_rows;
use crate::progress::Activity;
use crate::{session, terminal};

/// Show what the build cache takes.
#[derive(Args, Debug)]
#[command(
    override_usage = "kiln cache du [OPTIONS]",
    after_help = "\
RECLAIMABLE is false while somebody works with an entry. A * behind an ID marks what changes in \
place, a * behind a SIZE what images or containers hold too.
Filters: until=24h id= parents= description= type= inuse mutable immutable shared private, with \
=, != or ~= (contains)."
)]
pub(crate) struct DuArguments {
    /// Only entries that pass
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Format with a template, or json
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show everything about each entry
    #[arg(long)]
    verbose: bool,
}

/// Shows what the cache takes.
pub(crate) fn du(arguments: &DuArguments, environment: &Environment) -> Outcome {
    let now = Timestamp::now();
    let filters = filters(&arguments.filters, now)?;
    // Directories of other ids are not ours to read outside.
    let session = session::enter_and_open(environment)?;
    let unnamed = settings(environment)?.unnamed;
    let activity = Activity::of_files(&session, "looking at what there is");
    let mut usage = verbs::cache_usage(&session.stores, unnamed)?;
    drop(activity);
    usage.entries.retain(|entry| filters.pass(&record(entry)));
    if arguments.verbose {
        let blocks = usage
            .entries
            .iter()
            .map(|entry| record(entry).to_text(now) + "\n");
        terminal::print(&blocks.collect::<String>())?;
    } else {
        let rows: Vec<Value> = usage
            .entries
            .iter()
            .map(|entry| record(entry).to_json(now))
            .collect();
        print_rows(&BUILD_CACHE, arguments.format.as_deref(), &rows)?;
    }
    if arguments.format.is_none() {
        terminal::print(&footer(&usage, arguments.filters.is_empty()))?;
    }
    Ok(Exit::SUCCESS)
}

/// Returns the sums; of entries that were filtered only their own.
fn footer(usage: &CacheUsage, is_everything: bool) -> String {
    let line = |title: &str, bytes: u64| format!("{title:<13}{}\n", units::size(bytes));
    let listed = |entry: &CacheEntry| entry.size_bytes;
    let mut text = String::new();
    if is_everything {
        if usage.shared_bytes > 0 {
            text.push_str(&line("Shared:", usage.shared_bytes));
            text.push_str(&line("Private:", usage.private_bytes));
        }
        if usage.unused_bytes > 0 {
            text.push_str(&line("Left over:", usage.unused_bytes));
        }
        text.push_str(&line("Reclaimable:", usage.reclaimable_bytes));
    }
    let total = if is_everything {
        usage.shared_bytes + usage.private_bytes + usage.unused_bytes
    } else {
        usage.entries.iter().map(listed).sum()
    };
    text.push_str(&line("Total:", total));
    text
}
