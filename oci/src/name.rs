//! Names of images: `[domain/]path[:tag][@digest]`, and Docker's rules for short ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Sha256;

/// The registry that a name without a domain means.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag that a name without tag and digest means.
pub const DEFAULT_TAG: &str = "latest";

/// Bytes. The grammar's limit on domain and path together.
const LONGEST_NAME: usize = 255;
/// Bytes. The grammar's limit on a tag.
const LONGEST_TAG: usize = 128;

/// The name of an image, in canonical form: the domain always present, `library/` written out.
///
/// ```
/// use kiln_oci::ImageRef;
/// let name: ImageRef = "alpine".parse().unwrap();
/// assert_eq!(name.to_string(), "docker.io/library/alpine");
/// assert_eq!(name.familiar(), "alpine");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    pub(crate) domain: String,
    pub(crate) path: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<Sha256>,
}

/// Why a text is not the name of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImageRef {
    /// Upper-case letters in the path.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCase(String),
    /// 64 hexadecimal digits, which would read like an image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// The word that image ids begin with. docker tags nothing so either.
    #[error("invalid repository name (sha256), it would read like an image id")]
    DigestAlgorithm,
    /// Domain and path are too long.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// Anything else that the grammar does not allow.
    #[error("invalid reference format")]
    Format,
}

impl ImageRef {
    /// Returns the registry's host and port, e.g. `docker.io` or `localhost:5000`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the repository's path in the registry, e.g. `library/alpine`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns domain and path, e.g. `docker.io/library/alpine`.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the tag, if one is written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the manifest digest, if one is written. It selects the content even beside a tag.
    #[must_use]
    pub fn digest(&self) -> Option<Sha256> {
        self.digest
    }

    /// Returns the same path, tag and digest under another domain and path prefix.
    ///
    /// # Errors
    /// When the result is not a name.
    pub fn relocated(&self, repository: &str) -> Result<Self, InvalidImageRef> {
        let (domain, path) = repository.split_once('/').ok_or(InvalidImageRef::Format)?;
        check_domain(domain)?;
        check_path(path)?;
        Ok(Self {
            domain: domain.to_owned(),
            path: path.to_owned(),
            ..self.clone()
        })
    }

    /// Returns the form people write: without `docker.io/` and `library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_repository();
        self.push_suffix(&mut text);
        text
    }

    /// Returns the repository as people write it.
    #[must_use]
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix("library/") {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.repository();
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for ImageRef {
    type Err = InvalidImageRef;

    /// Parses a name and normalises it as Docker does (docs/spec/oci.md 7).
    fn from_str(text: &str) -> Result<Self, InvalidImageRef> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| InvalidImageRef::Format)?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        if is_hex_id(rest) {
            return Err(InvalidImageRef::LooksLikeId(rest.to_owned()));
        }
        // The tag's colon stands after the last slash; one before it belongs to a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let (domain, path) = split_domain(name);
        let path = if path.contains('/') || domain != DEFAULT_DOMAIN {
            path.to_owned()
        } else {
            format!("library/{path}")
        };
        check_path(&path)?;
        check_domain(domain)?;
        if (domain, path.as_str()) == (DEFAULT_DOMAIN, "library/sha256") {
            return Err(InvalidImageRef::DigestAlgorithm);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(InvalidImageRef::Format);
        }
        if domain.len() + 1 + path.len() > LONGEST_NAME {
            return Err(InvalidImageRef::TooLong);
        }
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl Serialize for ImageRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.contains(|c: char| c.is_ascii_uppercase()) =>
        {
            match first {
                "index.docker.io" => (DEFAULT_DOMAIN, rest),
                _ => (first, rest),
            }
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn check_domain(domain: &str) -> Result<(), InvalidImageRef> {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or(InvalidImageRef::Format)?;
            let valid =
                !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !valid {
                return Err(InvalidImageRef::Format);
            }
            match rest {
                "" => return Ok(()),
                _ => ("v6", rest.strip_prefix(':').ok_or(InvalidImageRef::Format)?),
            }
        }
        None => match domain.split_once(':') {
            Some(parts) => parts,
            None => (domain, "0"),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let port_is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if host.split('.').all(label) && port_is_number {
        Ok(())
    } else {
        Err(InvalidImageRef::Format)
    }
}

fn check_path(path: &str) -> Result<(), InvalidImageRef> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(InvalidImageRef::UpperCase(path.to_owned()));
    }
    if path.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err(InvalidImageRef::Format)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    is_word(first)
        && is_word(last)
        && bytes
            .split(|&b| is_word(b))
            .filter(|separator| !separator.is_empty())
            .all(|separator| {
                matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-')
            })
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`
pub(crate) fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OCI-001, OCI-002 and docs/spec/oci.md 7.
    #[test]
    fn names_are_normalised_as_docker_does() {
        let digest = Sha256::of(b"x");
        for (text, canonical) in [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("foo/bar", "docker.io/foo/bar"),
            ("index.docker.io/foo/bar", "docker.io/foo/bar"),
            ("docker.io/alpine", "docker.io/library/alpine"),
            ("localhost/x", "localhost/x"),
            ("a.b/x", "a.b/x"),
            ("h:5000/x:v1", "h:5000/x:v1"),
            ("[::1]:5000/x", "[::1]:5000/x"),
            ("Host/x", "Host/x"),
            ("a__b-c--d.e", "docker.io/library/a__b-c--d.e"),
        ] {
            let name: ImageRef = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(name.to_string(), canonical);
        }
        let name: ImageRef = format!("q.io/x:v1@{digest}").parse().unwrap();
        assert_eq!((name.tag(), name.digest()), (Some("v1"), Some(digest)));
    }

    #[test]
    fn a_name_tells_its_parts() {
        let name: ImageRef = "h:5000/a/b:v1".parse().unwrap();
        assert_eq!((name.domain(), name.path()), ("h:5000", "a/b"));
        let name: ImageRef = "alpine".parse().unwrap();
        assert_eq!(
            (name.domain(), name.path()),
            ("docker.io", "library/alpine")
        );
    }

    #[test]
    fn a_relocated_name_keeps_tag_and_digest() {
        let digest = Sha256::of(b"x");
        let name: ImageRef = format!("alpine:3@{digest}").parse().unwrap();
        let mirrored = name.relocated("mirror:5000/hub/alpine").unwrap();
        assert_eq!(
            mirrored.to_string(),
            format!("mirror:5000/hub/alpine:3@{digest}")
        );
        for repository in ["mirror", "mirror/", "mirror/UPPER", "mir ror/x"] {
            assert!(name.relocated(repository).is_err(), "{repository}");
        }
    }

    #[test]
    fn familiar_names_read_back() {
        for text in [
            "alpine",
            "alpine:3",
            "foo/bar:1",
            "library/a/b",
            "localhost:5000/library/x",
        ] {
            assert_eq!(text.parse::<ImageRef>().unwrap().familiar(), text);
        }
    }

    /// The registry's domain and the slash behind it count.
    #[test]
    fn a_name_has_at_most_255_characters() {
        let of_length = |length: usize| format!("h:5000/{}", "a".repeat(length - 7));
        assert!(of_length(255).parse::<ImageRef>().is_ok());
        assert_eq!(
            of_length(256).parse::<ImageRef>(),
            Err(InvalidImageRef::TooLong)
        );
    }

    #[test]
    fn bad_names_say_why() {
        for (text, message) in [
            (
                "UPPER/Case",
                "invalid reference format: repository name (Case) must be lowercase",
            ),
            (
                "Case",
                "invalid reference format: repository name (library/Case) must be lowercase",
            ),
            ("", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a:-x", "invalid reference format"),
            ("h:port/x", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
            ("a b", "invalid reference format"),
            (
                "sha256:ef5e21e1adc6",
                "invalid repository name (sha256), it would read like an image id",
            ),
        ] {
            match text.parse::<ImageRef>() {
                Ok(name) => panic!("{text} was taken as {name}"),
                Err(error) => assert_eq!(error.to_string(), message, "{text}"),
            }
        }
        let id = Sha256::of(b"").hex();
        assert!(matches!(
            id.parse::<ImageRef>(),
            Err(InvalidImageRef::LooksLikeId(_))
        ));
        assert_eq!(
            "a/".repeat(150).trim_end_matches('/').parse::<ImageRef>(),
            Err(InvalidImageRef::TooLong)
        );
    }
}
