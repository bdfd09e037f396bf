//! How an image came about.

use kiln_oci::{ImageId, Platform, Timestamp};

use crate::Error;
use crate::images;
use crate::sizes;
use crate::stores::Stores;

/// One row of `kiln history`, newest first.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The image's id in the first row.
    pub id: Option<ImageId>,
    /// When the entry was made.
    pub created: Option<Timestamp>,
    /// The instruction.
    pub created_by: String,
    /// Bytes of its layer.
    pub size_bytes: u64,
    /// Which builder made it.
    pub comment: String,
}

/// Lists how an image came about, newest entry first: of an index, the image for `platform`, or
/// for this machine.
///
/// # Errors
/// When there is no such image.
pub fn history(
    stores: &Stores,
    text: &str,
    platform: Option<&Platform>,
) -> Result<Vec<HistoryEntry>, Error> {
    let (_, local) = images::find(stores, text)?;
    let image = match platform {
        Some(_) => local.choose(text, platform)?,
        None => local.representative(),
    };
    let mut sizes = image
        .layers()
        .map(|(diff_id, descriptor)| sizes::layer_size(stores, diff_id, descriptor));
    let mut rows: Vec<HistoryEntry> = image
        .config
        .history
        .iter()
        .map(|entry| HistoryEntry {
            id: None,
            created: entry.created,
            created_by: entry.created_by.clone(),
            size_bytes: if entry.empty_layer {
                0
            } else {
                sizes.next().unwrap_or(0)
            },
            comment: entry.comment.clone(),
        })
        .collect();
    rows.reverse();
    if let Some(first) = rows.first_mut() {
        first.id = Some(local.id());
    }
    Ok(rows)
}
