//! The builders that cases are tried with.

mod buildah;
mod buildkit;
mod kiln;

pub use self::buildah::Buildah;
pub use self::buildkit::BuildKit;

use crate::case::{Case, Disagreement};

/// A builder other than kiln.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Red Hat's buildah.
    Buildah,
    /// The BuildKit of Docker's daemon.
    BuildKit,
}

impl Peer {
    /// Returns where this peer disagrees with a case.
    pub fn disagreement(self, case: &Case) -> Option<&Disagreement> {
        match self {
            Self::Buildah => case.buildah.as_ref(),
            Self::BuildKit => case.buildkit.as_ref(),
        }
    }

    /// As [`Self::disagreement`], to be changed.
    pub fn disagreement_mut(self, case: &mut Case) -> &mut Option<Disagreement> {
        match self {
            Self::Buildah => &mut case.buildah,
            Self::BuildKit => &mut case.buildkit,
        }
    }
}
