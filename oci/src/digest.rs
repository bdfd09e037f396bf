//! Names of content: digests and the identities made of them.
//!
//! [`Sha256`] is the identity that OCI and the registries use. kiln's own digest is another type in
//! another crate, so the two can never be mixed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A text that is not a digest kiln can verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {text:?}: expected {expected}")]
pub struct InvalidDigest {
    /// The text.
    pub text: String,
    /// What a digest looks like there.
    pub expected: &'static str,
}

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
///
/// OCI image-spec v1.1, descriptor.md, "Digests".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub(crate) [u8; 32]);

impl Sha256 {
    /// Returns the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Wraps a finished hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hexadecimal digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Returns the first 12 hexadecimal digits, the form people read.
    #[must_use]
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }

    /// Parses 64 hexadecimal digits without the algorithm.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, InvalidDigest> {
        unhex_digest(text).map(Self).ok_or_else(|| InvalidDigest {
            text: text.to_owned(),
            expected: "64 lower-case hexadecimal digits",
        })
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        text.strip_prefix("sha256:")
            .and_then(unhex_digest)
            .map(Self)
            .ok_or_else(|| InvalidDigest {
                text: text.to_owned(),
                expected: "`sha256:` and 64 lower-case hexadecimal digits",
            })
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes a named identity out of a digest type: `identity! { /// Docs. DiffId(Sha256) }`. The type
/// is written, read and printed as the digest that it holds.
#[macro_export]
macro_rules! identity {
    ($(#[$doc:meta])* $name:ident($inner:ident)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::InvalidDigest;

            fn from_str(text: &str) -> Result<Self, $crate::InvalidDigest> {
                text.parse().map(Self)
            }
        }
    };
}

identity! {
    /// SHA-256 of a layer's uncompressed tar (OCI image-spec v1.1, config.md, "Layer DiffID").
    DiffId(Sha256)
}
identity! {
    /// Identity of a stack of layers (OCI image-spec v1.1, config.md, "Layer ChainID").
    ChainId(Sha256)
}
identity! {
    /// Identity of an image: the digest of its config.
    ImageId(Sha256)
}
impl DiffId {
    /// The diff id of a layer without entries: two zero blocks of 512 bytes.
    pub const EMPTY: Self = Self(Sha256([
        0x5f, 0x70, 0xbf, 0x18, 0xa0, 0x86, 0x00, 0x70, 0x16, 0xe9, 0x48, 0xb0, 0x4a, 0xed, 0x3b,
        0x82, 0x10, 0x3a, 0x36, 0xbe, 0xa4, 0x17, 0x55, 0xb6, 0xcd, 0xdf, 0xaf, 0x10, 0xac, 0xe3,
        0xc6, 0xef,
    ]));
}

impl ChainId {
    /// Returns the chain id of `layers`, lowest first; none for no layers.
    #[must_use]
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        let (first, rest) = layers.split_first()?;
        let chain = rest.iter().fold(first.0, |below, layer| {
            Sha256::of(format!("{below} {layer}").as_bytes())
        });
        Some(Self(chain))
    }
}

/// Writes bytes as pairs of lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Reads pairs of lower-case hexadecimal digits; none if the text is anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

fn unhex_digest(text: &str) -> Option<[u8; 32]> {
    // Checked first, so that a long text is not copied.
    (text.len() == 64)
        .then(|| unhex(text))
        .flatten()
        .and_then(|bytes| bytes.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_back_what_they_print() {
        let digest = Sha256::of(b"");
        assert_eq!(
            digest.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digest.to_string().parse::<Sha256>(), Ok(digest));
    }

    #[test]
    fn upper_case_short_and_foreign_digests_are_refused() {
        let hex = Sha256::of(b"").hex();
        for text in [
            hex.clone(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha512:{hex}"),
            "sha256:".to_owned(),
        ] {
            assert!(text.parse::<Sha256>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_empty_layer_is_two_zero_blocks() {
        assert_eq!(DiffId::EMPTY, DiffId(Sha256::of(&[0; 1024])));
    }

    /// OCI-023.
    #[test]
    fn chain_id_folds_the_textual_digests() {
        let (a, b) = (DiffId(Sha256::of(b"a")), DiffId(Sha256::of(b"b")));
        assert_eq!(ChainId::of(&[]), None);
        assert_eq!(ChainId::of(&[a]), Some(ChainId(a.0)));
        let expected = Sha256::of(format!("{a} {b}").as_bytes());
        assert_eq!(ChainId::of(&[a, b]), Some(ChainId(expected)));
    }
}
