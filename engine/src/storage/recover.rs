//! After a kill or a loss of power: what may be damaged is compared with its digest before anything
//! is made of it.
//!
//! Names lead to nothing that was not on disk when they were given, so what is damaged here was not
//! finished: the next command that wants it makes it again.

use std::collections::BTreeSet;
use std::io;

use kiln_cache::{Trash, Unsettled};
use rayon::prelude::*;

use super::damage::{Damage, DamagedObject, Finding, RepairOutcome};
use crate::Error;
use crate::storage::damage;
use crate::stores::Stores;

/// Looks at everything that other kilns left behind unsettled, and returns what was damaged.
///
/// # Errors
/// When the state directory cannot be read or written.
pub(crate) fn recover(stores: &Stores) -> Result<Vec<Damage>, Error> {
    let failed = |error: io::Error| {
        Error::environment("cannot look at what another kiln left behind", error)
    };
    if stores.store.left_behind().map_err(failed)?.is_empty() {
        return Ok(Vec::new());
    }
    let mut damage = Vec::new();
    stores
        .store
        .recover(|left| {
            let judged = judge(stores, left)?;
            damage = judged.damage;
            // What could not be looked at is left to the next kiln.
            Ok(left - &judged.unseen)
        })
        .map_err(failed)?;
    Ok(damage)
}

/// What came of a look at what was left behind.
struct Judgement {
    damage: Vec<Damage>,
    /// What could not be read now.
    unseen: BTreeSet<Unsettled>,
}

fn judge(stores: &Stores, left: &BTreeSet<Unsettled>) -> io::Result<Judgement> {
    // An image is not put together again without a look at its layers: a name of theirs may have
    // been lost, though they were not.
    stores.assembled.retain(|_| false)?;
    let whiteouts = damage::whiteouts(stores)?;
    let left: Vec<Unsettled> = left.iter().copied().collect();
    kiln_threads::prepare_pool();
    let found = left.par_iter().filter_map(|object| {
        let finding = match *object {
            Unsettled::Blob(digest) => damage::look_at_blob(stores, digest)?,
            Unsettled::Layer(id) => damage::look_at_layer(stores, id, whiteouts)?,
        };
        Some((*object, finding))
    });
    let mut found: Vec<(Unsettled, Finding)> = found.collect();
    // Layers are repaired with blobs that are whole.
    found.sort_by_key(|(object, _)| matches!(object, Unsettled::Layer(_)));
    let trash = Trash::new(&stores.store);
    let mut judgement = Judgement {
        damage: Vec::new(),
        unseen: BTreeSet::new(),
    };
    for (object, finding) in found {
        let named = match object {
            Unsettled::Layer(id) => DamagedObject::Layer(id),
            Unsettled::Blob(digest) => DamagedObject::Blob(digest),
        };
        let is_repaired = || match object {
            Unsettled::Layer(id) => damage::is_repaired(stores, id, whiteouts, &trash),
            Unsettled::Blob(_) => false,
        };
        let outcome = if matches!(finding, Finding::Unreadable(_)) {
            RepairOutcome::Unread
        } else if is_repaired() {
            RepairOutcome::Repaired
        } else if damage::is_damaged_indeed(stores, &named, whiteouts) {
            match object {
                Unsettled::Layer(id) => {
                    let discarded = stores.layers.discard(id, &trash);
                    discarded.map_err(io::Error::other)?;
                }
                Unsettled::Blob(digest) => stores.blobs.discard_damaged(digest),
            }
            RepairOutcome::Discarded
        } else {
            RepairOutcome::Unread
        };
        if outcome == RepairOutcome::Unread {
            judgement.unseen.insert(object);
        }
        judgement.damage.push(Damage {
            object: named,
            what: finding.into_text(),
            outcome,
        });
    }
    Ok(judgement)
}
