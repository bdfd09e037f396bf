//! Why a step ran: what differed from the last time it was built.

use serde::{Deserialize, Serialize};

use kiln_oci::{Sha256, Timestamp};

/// Why an earlier result could not stand for a step's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// Earlier results were not to be used (`--no-cache`).
    NoCache,
    /// Earlier results of its stage were not to be used (`--no-cache-filter`).
    NoCacheFilter {
        /// The stage.
        stage: String,
    },
    /// Nothing like it was built before.
    New,
    /// Its build context and Dockerfile were never built for this platform.
    NewPlatform {
        /// The platform, e.g. `linux/arm64`.
        platform: String,
    },
    /// Something that the instruction says, or that the build says to it.
    Ingredient {
        /// What it is, as in receipts: `command`, `ARG VERSION`.
        name: String,
        /// What it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
        /// What it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        now: Option<String>,
    },
    /// Files that it reads.
    Files {
        /// Where they come from.
        from: FilesFrom,
        /// The first ones, in the order of a walk; none if it can no longer be told which differ.
        changes: Vec<ChangedFile>,
        /// How many more there are.
        more: usize,
    },
    /// The image at the bottom.
    Base {
        /// What it is called.
        image: String,
        /// What it was called, if that was something else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_before: Option<String>,
        /// What it was; none for an empty root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Sha256>,
        /// What it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        now: Option<Sha256>,
    },
    /// The step below it came out differently.
    Parent {
        /// Its name.
        step: String,
    },
    /// Nothing differed: the record of its last result was deleted.
    RecordGone,
    /// Nothing differed: a layer of its last result was deleted.
    LayerGone,
    /// Nothing differed: its last result was evicted.
    Evicted {
        /// When.
        at: Timestamp,
        /// Why, in words that follow "because of".
        because: String,
    },
}

/// Whose files a step reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilesFrom {
    /// A directory of the host.
    Context,
    /// A stage, by its name or number.
    Stage(String),
    /// An image or an address.
    Elsewhere(String),
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// What happened.
    pub change: FileDifference,
    /// The file, as the step reads it.
    pub path: String,
}

/// How two states of a file differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileDifference {
    /// It was not there.
    Added,
    /// Its content, kind or owner was another.
    Changed,
    /// Only its mode was another.
    Mode {
        /// What it was.
        before: u32,
        /// What it is.
        now: u32,
    },
    /// It is not there any more.
    Deleted,
}
