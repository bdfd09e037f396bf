use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// A Dockerfile with what comes of it; `testdata/conformance/README.md` explains the members.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The name of its directory.
    #[serde(skip)]
    pub name: String,
    /// Where its files lie.
    #[serde(skip)]
    pub directory: PathBuf,

    /// What it shows, in a sentence.
    pub about: String,
    /// The statements of docs/spec/dockerfile.md 15 that it shows.
    pub statements: Vec<String>,
    /// What kiln lacks yet.
    pub needs: Option<String>,

    /// Builds that come first, with the same builder and so the same cache.
    #[serde(default, rename = "before")]
    pub earlier: Vec<Step>,
    /// Options of the build, beside the context.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The directory to build from, or `-`.
    #[serde(default = "here")]
    pub context: String,
    /// The file that becomes standard input.
    pub stdin: Option<String>,
    /// Variables of the builder's process.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,

    /// Paths whose time of modification counts.
    #[serde(default)]
    pub times: Vec<String>,
    /// What kiln must print.
    #[serde(default)]
    pub prints: Vec<String>,
    /// What kiln must not print.
    #[serde(default)]
    pub hides: Vec<String>,

    /// Part of the message of a build that fails.
    pub error: Option<String>,
    /// The files that the image has, changed or lacks, compared with the image it starts from.
    pub tree: Option<String>,
    /// The members of the config that are not empty.
    pub config: Option<String>,
    /// The entries that the build added to the history.
    pub history: Option<String>,

    /// Where buildah disagrees.
    pub buildah: Option<Disagreement>,
    /// Where BuildKit disagrees.
    pub buildkit: Option<Disagreement>,
}

impl Case {
    /// Returns a case without expectations whose context is a directory.
    pub(crate) fn at(directory: PathBuf) -> Self {
        let name = directory.file_name().unwrap_or_default();
        Self {
            name: name.to_string_lossy().into_owned(),
            directory,
            about: String::new(),
            statements: Vec::new(),
            needs: None,
            earlier: Vec::new(),
            arguments: Vec::new(),
            context: here(),
            stdin: None,
            environment: BTreeMap::new(),
            times: Vec::new(),
            prints: Vec::new(),
            hides: Vec::new(),
            error: None,
            tree: None,
            config: None,
            history: None,
            buildah: None,
            buildkit: None,
        }
    }
}

/// A build before the one whose result counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Options of the build, beside the context.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// A shell script that changes the context afterwards.
    #[serde(default)]
    pub change: String,
}

/// How another builder deals with a case, and why.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Disagreement {
    /// It makes something else.
    Differs {
        /// Why.
        reason: String,
        /// The lines that differ: `-` expected, `+` found.
        differs: Vec<String>,
    },
    /// It refuses what it does not know.
    Unsupported {
        /// What it does not know.
        unsupported: String,
    },
    /// It must not even try.
    Skipped {
        /// Why not.
        skipped: String,
    },
}

fn here() -> String {
    ".".to_owned()
}
