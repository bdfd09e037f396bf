//! `kiln cache prune`.

use clap::Args;
use kiln_cache::Limits;
use kiln_docker::rows::BUILD_CACHE;
use kiln_docker::units;
use kiln_engine::{Amount, CacheEntry, PruneExtent, PruneRequest, PruneTurn, verbs};
use kiln_oci::Timestamp;
use serde_json::Value;

use super::records::{filters, record};
use super::settings::{parse_amount, parse_inodes, settings};
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::formats::print_rows;
use crate::progress::Activity;
use crate::session::Session;
use crate::{session, terminal};

/// Remove build cache.
#[derive(Args, Debug)]
#[command(
    override_usage = "kiln cache prune [OPTIONS]",
    after_help = "\
Without limits everything goes that no image or container holds too; with them, what is worth \
least: the seconds that making it again costs, for each byte, the less the longer it was not used. \
Sizes are bytes with k, m, g or t behind them, or hundredths of the disk (20%).

Builds collect garbage too, now and then, in the background, when the cache has more than \
max-used-space (100 GB or 60% of the disk) or leaves less than min-free-space (20 GB or 20%), \
down to no less than reserved-space (10 GB or 10%); and when it has more than max-used-inodes (60% \
of the disk's) or leaves less than min-free-inodes (10%). The [cache] table of \
~/.config/kiln/config.toml (root: /etc/kiln/config.toml) sets these, keep-untagged, max-age (such as \"720h\") and automatic (true or false); KILN_CACHE_MAX_USED_SPACE \
and so on go before it."
)]
pub(crate) struct PruneArguments {
    /// Remove also what images and containers hold
    #[arg(short, long)]
    all: bool,
    /// Only entries that pass (until=24h, type=, id=, description~=, …)
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Keep this much whatever the other limits say
    #[arg(long, visible_alias = "keep-storage", value_name = "SIZE")]
    reserved_space: Option<String>,
    /// Keep at most this much
    #[arg(long, value_name = "SIZE")]
    max_used_space: Option<String>,
    /// Leave this much of the disk free
    #[arg(long, value_name = "SIZE")]
    min_free_space: Option<String>,
    /// Keep at most so many inodes (files and directories)
    #[arg(long, value_name = "NUMBER")]
    max_used_inodes: Option<String>,
    /// Apply the limits of the configuration, as builds do
    #[arg(long, conflicts_with_all = ["reserved_space", "max_used_space", "min_free_space", "max_used_inodes"])]
    limits: bool,
    /// Show everything about each entry that goes
    #[arg(long)]
    verbose: bool,
}

/// Takes entries out of the cache.
pub(crate) fn prune(
    arguments: &PruneArguments,
    command: &'static str,
    environment: &Environment,
) -> Outcome {
    let now = Timestamp::now();
    let filters = filters(&arguments.filters, now)?;
    // What cannot be understood is said before anything is asked.
    for (flag, text) in arguments.amounts() {
        amount(flag, text)?;
    }
    let inodes = arguments.inodes()?;
    let warning = match (arguments.all, arguments.has_limits()) {
        (_, true) => "WARNING! This will remove build cache beyond the limits.",
        (true, false) => "WARNING! This will remove all build cache.",
        (false, false) => "WARNING! This will remove all dangling build cache.",
    };
    if !arguments.force
        && !terminal::confirm(&format!("{warning} Are you sure you want to continue?"))
    {
        return Ok(Exit::SUCCESS);
    }
    let wanted = settings(environment)?;
    let session = session::enter_and_open(environment)?;
    let usual = verbs::cache_limits(&session.stores, &wanted)?;
    let limits = if arguments.limits {
        Some(usual)
    } else {
        arguments.limits(&session, inodes)?
    };
    let request = PruneRequest {
        extent: if arguments.all || arguments.limits {
            PruneExtent::Everything
        } else {
            PruneExtent::Private
        },
        select: &|entry| filters.pass(&record(entry)),
        limits,
        unnamed: wanted.unnamed,
        command,
    };
    let waiting = || terminal::tell_line("waiting for other kilns that use the state directory");
    let activity = Activity::of_files(&session, "looking for what can go");
    let pruned = verbs::prune_cache(&session.stores, &request, &PruneTurn::Wait(&waiting))?;
    drop(activity);
    let pruned = pruned.unwrap_or_default();
    print(&pruned.entries, arguments.verbose, now)?;
    terminal::print_line(&format!(
        "Total reclaimed space: {}",
        units::size(pruned.freed_bytes)
    ))?;
    // Everybody has seen what went; deleting it may take a while.
    let _activity = Activity::of_files(&session, "deleting");
    verbs::empty_trash(&session.stores);
    Ok(Exit::SUCCESS)
}

/// Parses what a flag says, if it was given.
fn amount(flag: &str, text: Option<&String>) -> Result<Option<Amount>, Failure> {
    let parse = |text: &String| parse_amount(text).map_err(|error| invalid(flag, text, &error));
    text.map(parse).transpose()
}

fn invalid(flag: &str, text: &str, error: &str) -> Failure {
    Failure::flag(format!(
        "invalid argument {text:?} for \"--{flag}\" flag: {error}"
    ))
}

fn print(entries: &[CacheEntry], verbose: bool, now: Timestamp) -> Result<(), Failure> {
    if verbose {
        let blocks = entries
            .iter()
            .map(|entry| record(entry).to_text(now) + "\n");
        return terminal::print(&blocks.collect::<String>());
    }
    if entries.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = entries
        .iter()
        .map(|entry| record(entry).to_json(now))
        .collect();
    print_rows(&BUILD_CACHE, None, &rows)
}

impl PruneArguments {
    fn has_limits(&self) -> bool {
        self.limits
            || self.reserved_space.is_some()
            || self.max_used_space.is_some()
            || self.min_free_space.is_some()
            || self.max_used_inodes.is_some()
    }

    /// Returns the flags that are amounts of space.
    fn amounts(&self) -> [(&'static str, Option<&String>); 3] {
        [
            ("reserved-space", self.reserved_space.as_ref()),
            ("max-used-space", self.max_used_space.as_ref()),
            ("min-free-space", self.min_free_space.as_ref()),
        ]
    }

    /// Returns the number of inodes that may stay, if the flag was given.
    fn inodes(&self) -> Result<Option<Amount>, Failure> {
        let parse = |text: &String| {
            let parsed = parse_inodes(text);
            parsed.map_err(|error| invalid("max-used-inodes", text, &error))
        };
        self.max_used_inodes.as_ref().map(parse).transpose()
    }

    /// Returns the limits of the flags; none if there are none.
    fn limits(
        &self,
        session: &Session,
        max_used_inodes: Option<Amount>,
    ) -> Result<Option<Limits>, Failure> {
        if !self.has_limits() {
            return Ok(None);
        }
        let [reserved, max_used, min_free] = self.amounts().map(|(flag, text)| amount(flag, text));
        let (reserved, max_used, min_free) = (reserved?, max_used?, min_free?);
        let given = verbs::cache_limits(
            &session.stores,
            &kiln_engine::CacheSettings {
                reserved,
                max_used,
                min_free,
                max_used_inodes,
                ..kiln_engine::CacheSettings::default()
            },
        )?;
        // What is not asked for does not limit; what is to be kept alone is all that is kept.
        let only_reserved = max_used.is_none() && min_free.is_none() && max_used_inodes.is_none();
        let reserved_bytes = match reserved {
            Some(_) => given.reserved_bytes,
            None => 0,
        };
        Ok(Some(Limits {
            reserved_bytes,
            max_used_bytes: if only_reserved {
                Some(reserved_bytes)
            } else {
                given.max_used_bytes.filter(|_| max_used.is_some())
            },
            min_free_bytes: given.min_free_bytes.filter(|_| min_free.is_some()),
            max_used_inodes: given.max_used_inodes.filter(|_| max_used_inodes.is_some()),
            ..Limits::default()
        }))
    }
}
