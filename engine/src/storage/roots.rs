//! The manifests that are kept whatever is collected.

use std::collections::HashSet;

use kiln_oci::Sha256;

use crate::Error;
use crate::images;
use crate::stores::Stores;

/// Returns the manifests of all images, named or not.
pub(crate) fn rooted_manifests(stores: &Stores) -> Result<HashSet<Sha256>, Error> {
    let named = images::names(stores)?
        .into_iter()
        .map(|named| named.manifest);
    let ids = stores
        .ids
        .starting_with("")
        .map_err(|error| Error::environment("cannot list the local images", error))?;
    Ok(named.chain(ids.into_iter().map(|(_, m)| m)).collect())
}
