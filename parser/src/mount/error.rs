//! Mistakes in a mount.

use thiserror::Error;

use crate::quote::quote;
use crate::suggest::{hint, suggest};

/// The types, in the order of the variants that stand for them.
pub(super) const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
/// The ways of sharing.
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];
/// The keys a misspelt one may have meant.
pub(super) const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// Fields that make no mount.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MountError {
    /// An unknown key.
    #[error("unexpected key '{key}' in '{field}'{}", hint(.suggestion.as_deref()))]
    UnknownKey {
        /// The key.
        key: String,
        /// The whole field.
        field: String,
        /// A known key close to it.
        suggestion: Option<String>,
    },
    /// A key that needs a value.
    #[error("invalid field '{0}' must be a key=value pair")]
    NotAPair(String),
    /// A key that belongs to another type.
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    WrongType {
        /// The key.
        key: String,
        /// The type in force where the key stands.
        kind: &'static str,
    },
    /// An unknown type.
    #[error("unsupported mount type {}{}", quote(.0), hint(suggest(.0, TYPES)))]
    Type(String),
    /// An unknown way of sharing.
    #[error("unsupported sharing value {}{}", quote(.0), hint(suggest(.0, SHARINGS)))]
    Sharing(String),
    /// Not a truth value or size.
    #[error("invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Not a number.
    #[error("invalid value {value} for {key}")]
    Number {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// `mode`, `uid` or `gid` where nothing is created.
    #[error("{key} not allowed for {} type mounts", quote(.kind))]
    Owner {
        /// The key.
        key: &'static str,
        /// The type.
        kind: &'static str,
    },
    /// `sharing` where nothing is shared.
    #[error("invalid cache sharing set for {0} mount")]
    SharingOnOther(&'static str),
    /// `sharing` of a secret.
    #[error("secret mount should not define sharing")]
    SecretSharing,
    /// `from` of a secret.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// A secret without any name.
    #[error("invalid secret mount. one of source, target required")]
    SecretNameless,
    /// A secret with two names.
    #[error("both source and id can't be set")]
    SecretTwoNames,
    /// `source` of an agent.
    #[error("ssh does not support source")]
    SshSource,
}

impl MountError {
    /// Says what would be accepted, where the message leaves that open.
    #[must_use]
    pub fn expectation(&self) -> Option<String> {
        let expected = |words: &[&str]| Some(format!("expected one of: {}", words.join(" ")));
        match self {
            Self::Type(_) => expected(&TYPES),
            Self::Sharing(_) => expected(&SHARINGS),
            Self::Value { key, .. } if key == "size" => {
                Some("expected bytes, with a unit if you like: 64m, 1g".to_owned())
            }
            Self::Value { .. } => expected(&["true", "false"]),
            Self::Owner { .. } => Some("only what is made for the step has them".to_owned()),
            Self::SecretNameless => Some("name the secret: type=secret,id=NAME".to_owned()),
            _ => None,
        }
    }
}
