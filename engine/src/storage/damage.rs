//! Damaged objects of the state directory, and the repair of a layer.

use std::fmt;
use std::io;
use std::path::PathBuf;

use kiln_cache::{ActionKey, Trash};
use kiln_files::{is_about_the_file, is_there};
use kiln_oci::Sha256;
use kiln_snapshotter::Whiteouts;
use kiln_snapshotter::overlay::{self, Support};
use kiln_tree::LayerId;

use crate::error::chain;
use crate::stores::Stores;

/// An object of the state directory that is damaged.
#[derive(Clone, Debug)]
pub struct Damage {
    /// The object.
    pub object: DamagedObject,
    /// What is wrong with it.
    pub what: String,
    /// What became of it.
    pub outcome: RepairOutcome,
}

/// What can be damaged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DamagedObject {
    /// A layer.
    Layer(LayerId),
    /// A blob.
    Blob(Sha256),
    /// A record.
    Record(ActionKey),
    /// The file of an image's name.
    Name(PathBuf),
}

impl fmt::Display for DamagedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(id) => write!(f, "layer {id}"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Record(key) => write!(f, "record {key}"),
            Self::Name(path) => write!(f, "name {}", path.display()),
        }
    }
}

/// What became of something damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairOutcome {
    /// It is as it was found.
    Left,
    /// It could not be looked at now, and is as it was found. Nothing is held against it.
    Unread,
    /// It is whole again.
    Repaired,
    /// It is gone; who needs it makes or fetches it again.
    Discarded,
}

/// Says which whiteouts are to be found; those that this process could make.
pub(crate) fn whiteouts(stores: &Stores) -> io::Result<Whiteouts> {
    let scratch = match stores.store.work_dir() {
        Ok(scratch) => scratch,
        // It cannot be tried here and now, and nothing is held against the disk.
        Err(error) if cannot_write(&error) => return Ok(Whiteouts::IndexOnly),
        Err(error) => return Err(error),
    };
    Ok(match overlay::probe(scratch.path()) {
        Support::Overlay => Whiteouts::Stored,
        Support::Refused(_) => Whiteouts::IndexOnly,
    })
}

/// What a look at an object came to that is not known to be whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is damaged: in this way.
    Damaged(String),
    /// It cannot be read now, for a reason that says nothing about it. It must stay as it is: it may
    /// be whole, and there may be no other.
    Unreadable(String),
}

impl Finding {
    /// Returns what to tell.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Damaged(text) | Self::Unreadable(text) => text,
        }
    }
}

/// Looks at a blob; none if it is whole or not here.
pub(crate) fn look_at_blob(stores: &Stores, digest: Sha256) -> Option<Finding> {
    match stores.blobs.damage(digest) {
        Ok(actual) => {
            actual.map(|actual| Finding::Damaged(format!("its content is that of {actual}")))
        }
        Err(error) => {
            let text = format!("it cannot be read: {error}");
            Some(if is_about_the_file(&error) {
                Finding::Damaged(text)
            } else {
                Finding::Unreadable(text)
            })
        }
    }
}

/// Looks at a layer; none if it is whole or not here.
pub(crate) fn look_at_layer(stores: &Stores, id: LayerId, whiteouts: Whiteouts) -> Option<Finding> {
    let damage = stores.layers.verify(id, whiteouts);
    // What is certain is told first.
    let certain = damage.iter().find(|damage| damage.is_certain());
    let first = certain.or(damage.first())?;
    let text = match damage.len() {
        1 => chain(first),
        count => format!("{}, and {} more", chain(first), count - 1),
    };
    Some(match certain {
        Some(_) => Finding::Damaged(text),
        None => Finding::Unreadable(text),
    })
}

/// Says whether another look finds an object damaged: nothing is thrown away at first sight.
pub(crate) fn is_damaged_indeed(
    stores: &Stores,
    object: &DamagedObject,
    whiteouts: Whiteouts,
) -> bool {
    let found = match object {
        DamagedObject::Blob(digest) => look_at_blob(stores, *digest),
        DamagedObject::Layer(id) => look_at_layer(stores, *id, whiteouts),
        DamagedObject::Record(_) | DamagedObject::Name(_) => return true,
    };
    matches!(found, Some(Finding::Damaged(_)))
}

/// Says whether an object is not here any more, so that nothing can be wrong with it.
pub(crate) fn is_gone(stores: &Stores, object: &DamagedObject) -> bool {
    let path = match object {
        DamagedObject::Blob(digest) => stores.blobs.path(*digest),
        DamagedObject::Layer(id) => stores.layers.place(*id),
        DamagedObject::Name(path) => path.clone(),
        DamagedObject::Record(_) => return false,
    };
    is_there(&path).is_ok_and(|is_there| !is_there)
}

/// Names a layer again whose index is whole, or makes its files again from a blob that is whole;
/// says whether that worked.
pub(crate) fn is_repaired(
    stores: &Stores,
    id: LayerId,
    whiteouts: Whiteouts,
    trash: &Trash,
) -> bool {
    let layer = match stores.layers.layer(id) {
        Some(layer) if layer.tree().is_ok_and(|tree| tree.layer_id() == id) => layer,
        _ => return false,
    };
    if stores.layers.name_again(&layer).is_ok() && layer.verify(whiteouts).is_empty() {
        return true;
    }
    // Damaged files without a replacement may still be of use to the user: they are taken away only
    // when there is a blob to make them from.
    let facts = stores.layers.known_facts(id);
    let has_blob = facts
        .blobs
        .iter()
        .any(|blob| stores.blobs.has(&blob.descriptor));
    has_blob
        && stores.layers.discard_files(id, trash).is_ok()
        && stores.layers.materialise(&layer, &stores.blobs).is_ok()
        && layer.verify(whiteouts).is_empty()
}

/// Says whether nothing can be written at all: the disk is full, or the user may not write to it.
fn cannot_write(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
    )
}
