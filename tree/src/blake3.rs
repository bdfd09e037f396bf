//! kiln's own digest, for keys and for content that no other program names.

use std::fmt;
use std::str::FromStr;

use kiln_oci::{InvalidDigest, hex, identity, unhex};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A BLAKE3 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Blake3([u8; 32]);

impl Blake3 {
    /// Returns the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
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

    /// Returns the 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl From<blake3::Hash> for Blake3 {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Blake3 {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        unhex(text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| InvalidDigest {
                text: text.to_owned(),
                expected: "64 lower-case hexadecimal digits",
            })
    }
}

impl Serialize for Blake3 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Blake3 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

identity! {
    /// kiln's own identity of a layer: the BLAKE3 of its index (see [`crate::Tree`]).
    ///
    /// It is known as soon as the files are, without a tar stream; the [`DiffId`](kiln_oci::DiffId)
    /// follows from it.
    LayerId(Blake3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_back_what_they_print() {
        let blake = Blake3::of(b"");
        assert_eq!(blake.to_string().parse::<Blake3>(), Ok(blake));
        let hex = blake.hex();
        for text in [hex.to_uppercase(), hex[1..].to_owned(), format!("{hex}00")] {
            assert!(text.parse::<Blake3>().is_err(), "{text}");
        }
    }
}
