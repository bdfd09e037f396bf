//! Entries of the cache as people see them.

use std::fmt;
use std::time::Duration;

use kiln_cache::Receipt;
use kiln_oci::Timestamp;

/// Something that the cache keeps and may lose.
#[derive(Clone, Debug)]
pub struct CacheEntry {
    /// Its name: twelve or more hexadecimal digits.
    pub id: String,
    /// What kind of thing it is.
    pub kind: EntryKind,
    /// What it is, in words.
    pub description: String,
    /// The entries that it was made from and cannot do without.
    pub parents: Vec<String>,
    /// When it was made, if that is known.
    pub created: Option<Timestamp>,
    /// When it, or what was made from it, was used last; to within an hour.
    pub last_used: Timestamp,
    /// What making it again takes: measured for steps, estimated by size for what comes over a
    /// network.
    pub cost: Duration,
    /// Bytes on disk that came with it.
    pub size_bytes: u64,
    /// Whether an image or a container holds these bytes too.
    pub sharing: EntrySharing,
    /// Whether a kiln uses it now.
    pub usability: Usability,
}

/// The kinds of entries, in BuildKit's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A result of a step, a base image, a download.
    Regular,
    /// What is known about files of a context.
    LocalSource,
    /// A repository.
    GitCheckout,
    /// A directory of `RUN --mount=type=cache`.
    CacheMount,
}

impl EntryKind {
    /// Returns BuildKit's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::LocalSource => "source.local",
            Self::GitCheckout => "source.git.checkout",
            Self::CacheMount => "exec.cachemount",
        }
    }

    /// Says whether its content changes while its name stays.
    #[must_use]
    pub const fn is_mutable(self) -> bool {
        match self {
            Self::Regular => false,
            Self::LocalSource | Self::GitCheckout | Self::CacheMount => true,
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an image or a container holds an entry's bytes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntrySharing {
    /// The cache alone does.
    Private,
    /// They stay when the entry goes.
    Shared,
}

/// Whether an entry can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usability {
    /// It can.
    Idle,
    /// A kiln works with it.
    InUse,
}

/// What the cache takes.
#[derive(Clone, Debug)]
pub struct CacheUsage {
    /// Its entries, the largest first.
    pub entries: Vec<CacheEntry>,
    /// Bytes that images or containers hold too.
    pub shared_bytes: u64,
    /// Bytes that the cache alone holds.
    pub private_bytes: u64,
    /// Bytes that are left of images and entries that went.
    pub unused_bytes: u64,
    /// Bytes that would come back if everything went that can.
    pub reclaimable_bytes: u64,
}

/// Says in a Dockerfile's words what a step did, from what went into its key.
pub(crate) fn describe(receipt: &Receipt) -> String {
    let find = |name: &str| {
        let found = receipt.0.iter().find(|ingredient| ingredient.name == name);
        found.map(|ingredient| ingredient.value.as_str())
    };
    let heredocs = || {
        let names = receipt
            .0
            .iter()
            .filter_map(|i| i.name.strip_prefix("heredoc "));
        names.map(|name| format!("<<{name}")).collect::<Vec<_>>()
    };
    match (find("command"), find("destination"), find("path")) {
        (Some(command), _, _) => {
            let shell = "/bin/sh -c ";
            let command = command.strip_prefix(shell).unwrap_or(command);
            format!("RUN {}", one_line(command))
        }
        (None, Some(destination), _) => {
            let paths = find("paths")
                .unwrap_or_default()
                .split(' ')
                .map(str::to_owned);
            let sources: Vec<String> = paths
                .filter(|path| !path.is_empty())
                .chain(heredocs())
                .collect();
            format!("COPY {} {destination}", sources.join(" "))
        }
        (None, None, Some(path)) => format!("WORKDIR {path}"),
        (None, None, None) => match find("URL").or(find("repository")) {
            Some(address) => format!("ADD {address}"),
            None => "step".to_owned(),
        },
    }
}

/// Returns a text with every run of white space as one blank.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_become_instructions() {
        let describe_all = |pairs: &[(&str, &str)]| {
            let mut receipt = Receipt::default();
            for (name, value) in pairs {
                receipt.add(*name, *value);
            }
            describe(&receipt)
        };
        for (pairs, text) in [
            (
                &[
                    ("command", "/bin/sh -c apt-get update &&\n  make"),
                    ("user", ""),
                ][..],
                "RUN apt-get update && make",
            ),
            (&[("command", "/bin/true")], "RUN /bin/true"),
            (
                &[("paths", "a b"), ("heredoc c", "…"), ("destination", "/d")],
                "COPY a b <<c /d",
            ),
            (&[("path", "/work"), ("user", "")], "WORKDIR /work"),
            (&[("URL", "https://h/x")], "ADD https://h/x"),
            (&[], "step"),
        ] {
            assert_eq!(describe_all(pairs), text);
        }
    }
}
