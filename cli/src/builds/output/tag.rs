//! Names that images are given.

use kiln_oci::TaggedRef;

/// Parses a name that an image is to get.
pub(crate) fn parse_tag(text: &str) -> Result<TaggedRef, String> {
    let name: TaggedRef = text
        .parse()
        .map_err(|error| format!("invalid tag {text:?}: {error}"))?;
    match name.digest() {
        Some(_) => Err(format!(
            "invalid tag {text:?}: refusing to create a tag with a digest reference"
        )),
        None => Ok(name),
    }
}
