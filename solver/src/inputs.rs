//! What a step starts from.

use std::collections::HashMap;

use kiln_cache::LayerStack;
use kiln_tree::Blake3;

use crate::cache_mounts::BegunCaches;
use crate::graph::{Step, StepId};
use crate::keys::StepKeys;
use crate::remote_sources::RemoteIdentity;
use crate::source_facts::ContextSelections;

/// What a step starts from.
pub(crate) struct Inputs<'a> {
    pub(crate) step: &'a Step,
    pub(crate) keys: &'a StepKeys,
    /// Whether the step, or one that it is made from, must run again, so that a record under the
    /// recipe key proves nothing.
    pub(crate) is_anew: bool,
    /// What is proven of the results that it is made from.
    pub(crate) proof: ResultProof,
    /// The files that the step starts from.
    pub(crate) parent: LayerStack,
    /// The files of other steps that it reads.
    pub(crate) sources: HashMap<StepId, LayerStack>,
    /// What a copy selects of contexts.
    pub(crate) selected: &'a ContextSelections<'a>,
    /// The digest of what a copy reads from contexts, or of a remote source.
    pub(crate) content: Option<Blake3>,
    /// What the server said a remote source stands for.
    pub(crate) identity: Option<&'a RemoteIdentity>,
    /// Cache mounts that this build has emptied already (`--no-cache`).
    pub(crate) begun: &'a BegunCaches,
}

/// Whether a result is what its recipe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultProof {
    /// It is: it may be found and kept under its recipe key.
    Recipe,
    /// Files changed while they were copied, for it or for something that it is made from, so it is
    /// the result of other files than its recipe speaks of. Only by evidence can something made
    /// from it be found, and kept.
    Evidence,
}
