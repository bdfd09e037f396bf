//! Private keys that kiln answers with itself.

mod rsa; // numbers that OpenSSH's files leave out
mod scalar; // numbers that they shorten

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair,
};
use ssh_key::private::{EcdsaKeypair, KeypairData};
use ssh_key::{EcdsaCurve, PrivateKey};

use crate::protocol::{self, Request, RsaHash, push_string};

/// Private keys that sign.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<Key>,
}

/// A key pair.
struct Key {
    /// The public key as ssh writes it.
    public: Vec<u8>,
    comment: String,
    pair: Pair,
}

// What is private about it has no form to be shown in.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.comment).finish()
    }
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaCurve, EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct KeyError {
    path: PathBuf,
    problem: Problem,
}

/// What is wrong with a key.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Read(io::Error),
    #[error("not a private key in OpenSSH's format; ssh-keygen -p -f rewrites one in another")]
    Format,
    #[error("passphrase protected keys are not supported; add it to an agent")]
    Passphrase,
    #[error("{0} keys are not supported; add it to an agent")]
    Kind(String),
    #[error("the numbers of this key do not fit together, or it is too short")]
    Numbers,
}

impl Keyring {
    /// Reads keys from files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn read(paths: &[PathBuf]) -> Result<Self, KeyError> {
        let keys = paths.iter().map(|path| {
            read_key(path).map_err(|problem| KeyError {
                path: path.clone(),
                problem,
            })
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    /// Answers a request with a message without its length.
    pub(crate) fn answer(&self, request: &Request<'_>) -> Vec<u8> {
        match *request {
            Request::Identities => {
                let keys = self.keys.iter();
                protocol::identities(keys.map(|key| (key.public.as_slice(), key.comment.as_str())))
            }
            Request::Sign {
                key,
                data,
                rsa_hash,
            } => self
                .keys
                .iter()
                .find(|known| known.public == key)
                .and_then(|known| known.pair.sign(data, rsa_hash))
                .map_or_else(protocol::failure, |(algorithm, blob)| {
                    protocol::signature(algorithm, &blob)
                }),
        }
    }
}

impl Pair {
    /// Signs, and says by which algorithm. None for RSA with SHA-1, which servers refuse too.
    fn sign(&self, data: &[u8], rsa_hash: Option<RsaHash>) -> Option<(&'static str, Vec<u8>)> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(pair) => Some(("ssh-ed25519", pair.sign(data).as_ref().to_vec())),
            Self::Ecdsa(curve, pair) => {
                let signature = pair.sign(&random, data).ok()?;
                // RFC 5656, section 3.1.2: two numbers.
                let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
                let mut blob = Vec::new();
                push_string(&mut blob, &number(r));
                push_string(&mut blob, &number(s));
                let algorithm = match curve {
                    EcdsaCurve::NistP256 => "ecdsa-sha2-nistp256",
                    EcdsaCurve::NistP384 => "ecdsa-sha2-nistp384",
                    EcdsaCurve::NistP521 => "ecdsa-sha2-nistp521",
                };
                Some((algorithm, blob))
            }
            Self::Rsa(pair) => {
                let (name, padding) = match rsa_hash? {
                    RsaHash::Sha256 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    RsaHash::Sha512 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                };
                let mut blob = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, data, &mut blob).ok()?;
                Some((name, blob))
            }
        }
    }
}

fn read_key(path: &Path) -> Result<Key, Problem> {
    let text = fs::read(path).map_err(Problem::Read)?;
    let read = PrivateKey::from_openssh(&text);
    let read = read.or_else(|error| match scalar::in_full_length(&text) {
        Some(text) => PrivateKey::from_openssh(text),
        None => Err(error),
    });
    let key = read.map_err(|_| {
        if is_protected(&text) {
            Problem::Passphrase
        } else {
            Problem::Format
        }
    })?;
    if key.is_encrypted() {
        return Err(Problem::Passphrase);
    }
    let pair = match key.key_data() {
        KeypairData::Ed25519(pair) => {
            let (seed, public) = (pair.private.to_bytes(), pair.public.0);
            Ed25519KeyPair::from_seed_and_public_key(&seed, &public).map(Pair::Ed25519)
        }
        KeypairData::Ecdsa(pair) => ecdsa(pair),
        KeypairData::Rsa(pair) => rsa::key_pair(pair).map(Pair::Rsa),
        _ => return Err(Problem::Kind(key.algorithm().to_string())),
    };
    Ok(Key {
        public: key.public_key().to_bytes().map_err(|_| Problem::Format)?,
        comment: key.comment().to_owned(),
        pair: pair.map_err(|_| Problem::Numbers)?,
    })
}

fn ecdsa(pair: &EcdsaKeypair) -> Result<Pair, aws_lc_rs::error::KeyRejected> {
    let algorithm = match pair.curve() {
        EcdsaCurve::NistP256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        EcdsaCurve::NistP384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        EcdsaCurve::NistP521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
    };
    let (private, public) = (pair.private_key_bytes(), pair.public_key_bytes());
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public)
        .map(|key| Pair::Ecdsa(pair.curve(), key))
}

/// Returns whether a key in the older format, which is not read, has a passphrase.
fn is_protected(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("Proc-Type: 4,ENCRYPTED") || text.contains("BEGIN ENCRYPTED PRIVATE KEY")
}

/// Returns a number as ssh writes it (RFC 4251, section 5, `mpint`): no zeros in front, but one
/// where the first bit would make it negative.
fn number(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0);
    let digits = &bytes[start.unwrap_or(bytes.len())..];
    match digits.first() {
        Some(0x80..) => [&[0], digits].concat(),
        _ => digits.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_short_and_positive() {
        assert_eq!(number(&[0, 0, 1, 0]), [1, 0]);
        assert_eq!(number(&[0, 0x80]), [0, 0x80]);
        assert_eq!(number(&[0, 0]), [] as [u8; 0]);
    }

    #[test]
    fn unusable_keys_are_refused_with_advice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let message = |text: &str| {
            fs::write(&path, text).unwrap();
            let error = Keyring::read(std::slice::from_ref(&path)).unwrap_err();
            error
                .to_string()
                .replace(&path.display().to_string(), "KEY")
        };
        assert_eq!(
            message("hello"),
            "KEY: not a private key in OpenSSH's format; ssh-keygen -p -f rewrites one in another"
        );
        assert_eq!(
            message("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            "KEY: passphrase protected keys are not supported; add it to an agent"
        );
        let absent = Keyring::read(&[directory.path().join("absent")]).unwrap_err();
        assert!(absent.to_string().contains("No such file"), "{absent}");
    }
}
