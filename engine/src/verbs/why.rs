//! What builds did.

use std::path::PathBuf;

use kiln_solver::{Build, BuildDefinition};

use crate::building::canonical;
use crate::stores::Stores;

/// Which builds are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhichBuild {
    /// Those of this context.
    pub context: Option<PathBuf>,
    /// Those of this Dockerfile.
    pub dockerfile: Option<PathBuf>,
    /// Those of this stage.
    pub target: Option<String>,
}

impl WhichBuild {
    fn matcher(&self) -> impl Fn(&BuildDefinition) -> bool + '_ {
        let context = self.context.as_deref().map(canonical);
        let dockerfile = self.dockerfile.as_deref().map(canonical);
        move |definition| {
            context
                .as_ref()
                .is_none_or(|path| *path == definition.context)
                && dockerfile
                    .as_ref()
                    .is_none_or(|path| *path == definition.dockerfile)
                && (self.target.is_none() || self.target == definition.target)
        }
    }
}

/// Returns what the last build did that is meant, if it is remembered.
#[must_use]
pub fn last_build(stores: &Stores, which: &WhichBuild) -> Option<Build> {
    stores.journal.last(which.matcher())
}
