//! `kiln cache verify`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use kiln_engine::{Damage, Repair, RepairOutcome as Became, Verification, verbs};

use crate::environment::Environment;
use crate::failure::{Exit, Outcome};
use crate::progress::Activity;
use crate::{session, terminal};

/// Read and hash everything that is stored, and repair what is damaged.
#[derive(Args, Debug)]
#[command(
    override_usage = "kiln cache verify [OPTIONS]",
    after_help = "\
What is damaged is made again from what is whole, or else discarded: the next build or pull brings \
it back. Ends with status 1 if something is still damaged then, or an image or container lacks \
something that cannot be had again."
)]
pub(crate) struct VerifyArguments {
    /// Only say what is damaged
    #[arg(long, visible_alias = "dry-run")]
    no_repair: bool,
}

/// Verifies the state directory.
pub(crate) fn verify(arguments: &VerifyArguments, environment: &Environment) -> Outcome {
    let session = session::enter_and_open(environment)?;
    let repair = if arguments.no_repair {
        Repair::None
    } else {
        Repair::Attempt
    };
    let waiting = || terminal::tell_line("waiting for other kilns that use the state directory");
    let so_far = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let shown = Arc::clone(&so_far);
    let activity = Activity::show("verifying", move || {
        let [done, total] = [0, 1].map(|number| shown[number].load(Ordering::Relaxed));
        (done, Some(total))
    });
    let progress = |done: usize, total: usize| {
        so_far[0].fetch_max(done as u64, Ordering::Relaxed);
        so_far[1].store(total as u64, Ordering::Relaxed);
    };
    let found = verbs::verify(&session.stores, repair, &waiting, &progress)?;
    drop(activity);
    terminal::print(&report(&found))?;
    verbs::empty_trash(&session.stores);
    Ok(if found.is_whole() {
        Exit::SUCCESS
    } else {
        Exit::FAILURE
    })
}

fn report(found: &Verification) -> String {
    let mut text = String::new();
    for damage in &found.damage {
        let outcome = match damage.outcome {
            Became::Left => "damaged",
            Became::Unread => "not read",
            Became::Repaired => "repaired",
            Became::Discarded => "discarded",
        };
        text.push_str(&format!("{outcome}: {}: {}\n", damage.object, damage.what));
    }
    for lost in &found.lost {
        text.push_str(&format!("lost: {} lacks {}\n", lost.name, lost.what));
        text.push_str(&format!("hint: {}\n", lost.advice));
    }
    let plural = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    let is_unread = |damage: &&Damage| damage.outcome == Became::Unread;
    let unread = found.damage.iter().filter(is_unread).count();
    let mut damage = match found.damage.len() - unread {
        0 => "no damage".to_owned(),
        count => format!("{count} damaged"),
    };
    if unread > 0 {
        damage.push_str(&format!(
            ", {unread} could not be read and stay as they are"
        ));
    }
    text.push_str(&format!(
        "{}, {}, {}: {damage}\n",
        plural(found.layers, "layer"),
        plural(found.blobs, "blob"),
        plural(found.records, "record"),
    ));
    text
}
