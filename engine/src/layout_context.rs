//! `oci-layout://`: images out of a layout on disk, as a build's named contexts.

use std::path::Path;

use kiln_exporter::{LayoutEntry, LoadError, load_from_layout};
use kiln_oci::{DEFAULT_TAG, Image, Platform, Sha256};

use crate::Error;
use crate::stores::Stores;

/// Loads an image of a layout into the store and returns it: that of `digest`, else of `tag`, else
/// of the tag `latest`. Of an index, it is the image for `platform`.
///
/// # Errors
/// When the layout has no such image or is damaged; the message names the layout, and the tags that
/// there are.
pub(crate) fn layout_image(
    stores: &Stores,
    directory: &Path,
    tag: Option<&str>,
    digest: Option<Sha256>,
    platform: &Platform,
) -> Result<Image, Error> {
    let wanted = match digest {
        Some(digest) => LayoutEntry::Digest(digest),
        None => LayoutEntry::Tag(tag.unwrap_or(DEFAULT_TAG)),
    };
    let limit = stores.layers.limit();
    let loaded = load_from_layout(
        directory,
        wanted,
        &stores.store,
        &stores.blobs,
        platform,
        limit,
    );
    loaded.map_err(|error| {
        let hint = match (&error, wanted) {
            (LoadError::NoTag { known, .. }, _) if !known.is_empty() => Some(format!(
                "name a tag: oci-layout://{}:{}",
                directory.display(),
                known[0]
            )),
            (LoadError::MissingMember(_), LayoutEntry::Tag(_)) => Some(
                "an OCI layout has an index.json; kiln build -o type=oci,tar=false makes one"
                    .to_owned(),
            ),
            _ => None,
        };
        Error::input_while(format!("oci-layout://{}", directory.display()), error)
            .with_hint_if(hint)
    })
}
