//! After a kill or a loss of power: what may be damaged is compared with its digest before anything
//! is made of it.
//!
//! Names lead to nothing that was not on disk when they were given, so what is damaged here was not
//! finished: the next command that wants it makes it again.

use std::collections::BTreeSet;
use std::io;

use kiln_cache::{Trash, Unsettled};
use rayon::prelude::*;

use super::damage::{Damage, DamagedObject, RepairOutcome};
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
            damage = judge(stores, left)?;
            Ok(left.clone())
        })
        .map_err(failed)?;
    Ok(damage)
}

fn judge(stores: &Stores, left: &BTreeSet<Unsettled>) -> io::Result<Vec<Damage>> {
    // An image is not put together again without a look at its layers: a name of theirs may have
    // been lost, though they were not.
    stores.assembled.retain(|_| false)?;
    let whiteouts = damage::whiteouts(stores)?;
    let left: Vec<Unsettled> = left.iter().copied().collect();
    kiln_threads::prepare_pool();
    let damaged = left.par_iter().filter_map(|object| match *object {
        Unsettled::Blob(digest) => Some((
            DamagedObject::Blob(digest),
            damage::damage_of_blob(stores, digest)?,
        )),
        Unsettled::Layer(id) => Some((
            DamagedObject::Layer(id),
            damage::damage_of_layer(stores, id, whiteouts)?,
        )),
    });
    let mut damaged: Vec<(DamagedObject, String)> = damaged.collect();
    // Layers are repaired with blobs that are whole.
    damaged.sort_by_key(|(object, _)| matches!(object, DamagedObject::Layer(_)));
    let trash = Trash::new(&stores.store);
    let judged = damaged.into_iter().map(|(object, what)| {
        let outcome = match &object {
            DamagedObject::Layer(id) if damage::is_repaired(stores, *id, whiteouts, &trash) => {
                RepairOutcome::Repaired
            }
            DamagedObject::Layer(id) => {
                stores
                    .layers
                    .discard(*id, &trash)
                    .map_err(io::Error::other)?;
                RepairOutcome::Discarded
            }
            DamagedObject::Blob(digest) => {
                stores.blobs.discard_damaged(*digest);
                RepairOutcome::Discarded
            }
            DamagedObject::Record(_) | DamagedObject::Name(_) => RepairOutcome::Left,
        };
        Ok(Damage {
            object,
            what,
            outcome,
        })
    });
    judged.collect()
}
