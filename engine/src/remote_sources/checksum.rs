//! What a download must be.

use std::fmt;
use std::io::{self, Read};

use kiln_oci::Sha256;
use kiln_solver::RemoteError;
use sha2::Digest as _;

use crate::remote_sources::sources::input;

/// The digest of a file, by one of the algorithms that OCI registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha256(Sha256),
    Sha384(String),
    Sha512(String),
}

/// Computes a checksum that is not the blobs' own.
pub(super) enum Hasher {
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Checksum {
    /// Parses `algorithm:hex`.
    ///
    /// # Errors
    /// When the algorithm is not known here, or the digits do not fit it.
    pub(super) fn parse(text: &str) -> Result<Self, RemoteError> {
        let invalid = || {
            input(format!(
                "invalid checksum {text:?}: expected sha256:, sha384: or sha512: and lower-case \
                 hexadecimal digits"
            ))
        };
        let (algorithm, hex) = text.split_once(':').ok_or_else(invalid)?;
        let fits = |length: usize| {
            let digits = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            (digits && hex.len() == length).then(|| hex.to_owned())
        };
        match algorithm {
            "sha256" => Sha256::from_hex(hex).ok().map(Self::Sha256),
            "sha384" => fits(96).map(Self::Sha384),
            "sha512" => fits(128).map(Self::Sha512),
            _ => None,
        }
        .ok_or_else(invalid)
    }

    /// Returns the hexadecimal digits.
    pub(super) fn hex(&self) -> String {
        match self {
            Self::Sha256(digest) => digest.hex(),
            Self::Sha384(hex) | Self::Sha512(hex) => hex.clone(),
        }
    }

    /// Returns what computes the checksum; none where storing a blob does so anyway.
    pub(super) fn hasher(&self) -> Option<Hasher> {
        match self {
            Self::Sha256(_) => None,
            Self::Sha384(_) => Some(Hasher::Sha384(sha2::Sha384::new())),
            Self::Sha512(_) => Some(Hasher::Sha512(sha2::Sha512::new())),
        }
    }

    /// Returns whether content with the digest `digest`, readable with `open`, is what it must be.
    ///
    /// # Errors
    /// When the content cannot be read.
    pub(super) fn matches<R: Read>(
        &self,
        digest: Sha256,
        open: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<bool> {
        let mut hasher = match (self, self.hasher()) {
            (Self::Sha256(wanted), _) => return Ok(*wanted == digest),
            (_, Some(hasher)) => hasher,
            (_, None) => return Ok(false),
        };
        let mut content = open()?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            match content.read(&mut buffer)? {
                0 => return Ok(hasher.finish() == *self),
                count => hasher.update(&buffer[..count]),
            }
        }
    }
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha384(hasher) => Checksum::Sha384(hex(&hasher.finalize())),
            Self::Sha512(hasher) => Checksum::Sha512(hex(&hasher.finalize())),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::Sha384(hex) => write!(f, "sha384:{hex}"),
            Self::Sha512(hex) => write!(f, "sha512:{hex}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_parsed_and_computed() {
        let digest = Sha256::of(b"abc");
        for (text, fits) in [
            (digest.to_string(), true),
            // FIPS 180-4's own examples.
            (
                "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                 8086072ba1e7cc2358baeca134c825a7"
                    .to_owned(),
                true,
            ),
            (format!("sha512:{}", "0".repeat(128)), false),
        ] {
            let checksum = Checksum::parse(&text).unwrap();
            assert_eq!(checksum.to_string(), text);
            assert_eq!(checksum.matches(digest, || Ok(&b"abc"[..])).unwrap(), fits);
        }
        for text in ["", "sha256", "sha256:ab", "md5:0", "sha512:zz"] {
            assert!(Checksum::parse(text).is_err(), "{text}");
        }
    }
}
