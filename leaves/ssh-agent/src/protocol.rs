//! The two messages that matter.
//!
//! draft-ietf-sshm-ssh-agent: a message is a length of four bytes, big-endian, and as many bytes, the
//! first of which says what it is. Strings inside have such a length too.

use std::io;

/// Bytes. OpenSSH's own limit (AGENT_MAX_LEN, authfd.c).
pub(crate) const LONGEST: usize = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// What a client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// For the public keys.
    Identities,
    /// For a signature.
    Sign {
        /// The public key of the pair to sign with.
        key: &'a [u8],
        /// What to sign.
        data: &'a [u8],
        /// How, if the key is an RSA key.
        rsa_hash: Option<RsaHash>,
    },
}

/// A hash for RSA signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RsaHash {
    /// `rsa-sha2-256`.
    Sha256,
    /// `rsa-sha2-512`.
    Sha512,
}

impl<'a> Request<'a> {
    /// Reads a message without its length; none for everything that is refused.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let (kind, mut rest) = message.split_first()?;
        match *kind {
            REQUEST_IDENTITIES if rest.is_empty() => Some(Self::Identities),
            SIGN_REQUEST => {
                let key = take_string(&mut rest)?;
                let data = take_string(&mut rest)?;
                let flags = u32::from_be_bytes(rest.try_into().ok()?);
                Some(Self::Sign {
                    key,
                    data,
                    rsa_hash: match flags {
                        flags if flags & RSA_SHA2_512 != 0 => Some(RsaHash::Sha512),
                        flags if flags & RSA_SHA2_256 != 0 => Some(RsaHash::Sha256),
                        _ => None,
                    },
                })
            }
            _ => None,
        }
    }
}

/// Returns the answer that says no, without its length.
pub(crate) fn failure() -> Vec<u8> {
    vec![FAILURE]
}

/// Returns the answer that lists public keys and their comments, without its length.
pub(crate) fn identities<'a>(keys: impl ExactSizeIterator<Item = (&'a [u8], &'a str)>) -> Vec<u8> {
    let mut answer = vec![IDENTITIES_ANSWER];
    answer.extend(length(keys.len()));
    for (key, comment) in keys {
        push_string(&mut answer, key);
        push_string(&mut answer, comment.as_bytes());
    }
    answer
}

/// Returns the answer that holds a signature, without its length.
pub(crate) fn signature(algorithm: &str, blob: &[u8]) -> Vec<u8> {
    let mut signature = Vec::new();
    push_string(&mut signature, algorithm.as_bytes());
    push_string(&mut signature, blob);
    let mut answer = vec![SIGN_RESPONSE];
    push_string(&mut answer, &signature);
    answer
}

/// Returns a message with its length in front.
///
/// # Errors
/// When it is longer than messages may be.
pub(crate) fn framed(message: &[u8]) -> io::Result<Vec<u8>> {
    if message.len() > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut framed = length(message.len()).to_vec();
    framed.extend_from_slice(message);
    Ok(framed)
}

/// Appends a string with its length.
pub(crate) fn push_string(bytes: &mut Vec<u8>, string: &[u8]) {
    bytes.extend(length(string.len()));
    bytes.extend_from_slice(string);
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("nothing here comes near 4 GiB")
        .to_be_bytes()
}

pub(crate) fn take_string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_requests_are_understood() {
        assert_eq!(Request::parse(&[11]), Some(Request::Identities));
        let mut sign = vec![13];
        push_string(&mut sign, b"key");
        push_string(&mut sign, b"data");
        sign.extend(4_u32.to_be_bytes());
        assert_eq!(
            Request::parse(&sign),
            Some(Request::Sign {
                key: b"key",
                data: b"data",
                rsa_hash: Some(RsaHash::Sha512)
            })
        );
        // Cut short, with too much, or something else: remove all, add, lock, extension.
        for cut in 1..sign.len() {
            assert_eq!(Request::parse(&sign[..cut]), None);
        }
        sign.push(0);
        assert_eq!(Request::parse(&sign), None);
        for other in [&[][..], &[11, 0], &[9], &[17], &[18], &[19], &[22], &[27]] {
            assert_eq!(Request::parse(other), None);
        }
        assert_eq!(Request::parse(&[13, 0xff, 0xff, 0xff, 0xff, 1]), None);
    }

    #[test]
    fn answers_are_written_as_the_draft_has_them() {
        let keys = [(&b"k"[..], "c")];
        assert_eq!(
            identities(keys.into_iter()),
            [12, 0, 0, 0, 1, 0, 0, 0, 1, b'k', 0, 0, 0, 1, b'c']
        );
        assert_eq!(framed(&failure()).unwrap(), [0, 0, 0, 1, 5]);
        assert!(framed(&vec![0; LONGEST + 1]).is_err());
    }
}
