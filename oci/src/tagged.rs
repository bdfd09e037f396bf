//! Names that say which image of their repository is meant.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Sha256;
use crate::name::{DEFAULT_TAG, ImageRef, InvalidImageRef, is_tag};

/// The name of an image that has a tag, a digest or both.
///
/// ```
/// use kiln_oci::TaggedRef;
/// let name: TaggedRef = "alpine".parse().unwrap();
/// assert_eq!(name.to_string(), "docker.io/library/alpine:latest");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaggedRef(ImageRef);

impl ImageRef {
    /// Returns the image that the name means: that with tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn tagged(mut self) -> TaggedRef {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        TaggedRef(self)
    }

    /// Returns the repository with another tag and no digest.
    ///
    /// # Errors
    /// When `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<TaggedRef, InvalidImageRef> {
        if !is_tag(tag) {
            return Err(InvalidImageRef::Format);
        }
        Ok(TaggedRef(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        }))
    }

    /// Returns the repository with a digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Sha256) -> TaggedRef {
        TaggedRef(Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        })
    }
}

impl TaggedRef {
    /// Returns what selects the image in its repository: the digest, or else the tag.
    #[must_use]
    pub fn selector(&self) -> String {
        match self.digest() {
            Some(digest) => digest.to_string(),
            None => self.tag().unwrap_or(DEFAULT_TAG).to_owned(),
        }
    }
}

impl Deref for TaggedRef {
    type Target = ImageRef;

    fn deref(&self) -> &ImageRef {
        &self.0
    }
}

impl From<TaggedRef> for ImageRef {
    fn from(name: TaggedRef) -> Self {
        name.0
    }
}

impl fmt::Display for TaggedRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TaggedRef {
    type Err = InvalidImageRef;

    /// Parses a name as people write it; without tag and digest it means `latest`.
    fn from_str(text: &str) -> Result<Self, InvalidImageRef> {
        text.parse().map(ImageRef::tagged)
    }
}

impl Serialize for TaggedRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TaggedRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ImageRef::deserialize(deserializer).map(ImageRef::tagged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_tag_and_digest_means_latest() {
        let digest = Sha256::of(b"x");
        for (text, selector, canonical) in [
            ("a".to_owned(), "latest".to_owned(), "a:latest".to_owned()),
            ("a:1".to_owned(), "1".to_owned(), "a:1".to_owned()),
            (
                format!("a@{digest}"),
                digest.to_string(),
                format!("a@{digest}"),
            ),
            (
                format!("a:1@{digest}"),
                digest.to_string(),
                format!("a:1@{digest}"),
            ),
        ] {
            let name: TaggedRef = text.parse().unwrap();
            assert_eq!((name.selector(), name.familiar()), (selector, canonical));
        }
    }

    #[test]
    fn another_tag_or_digest_replaces_both() {
        let digest = Sha256::of(b"x");
        let name: ImageRef = format!("q.io/a:1@{digest}").parse().unwrap();
        assert_eq!(name.with_tag("2").unwrap().to_string(), "q.io/a:2");
        assert_eq!(name.with_tag("-"), Err(InvalidImageRef::Format));
        let other = Sha256::of(b"y");
        assert_eq!(
            name.with_digest(other).to_string(),
            format!("q.io/a@{other}")
        );
    }
}
