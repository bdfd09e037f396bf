//! A digest of the files that a `RUN` finds mounted.

use kiln_tree::Blake3;

use crate::copy;
use crate::files::{Files, NoFiles};
use crate::graph::{RunMount, RunOp};
use crate::source_facts::combine;
use crate::step_error::StepError;
use crate::step_trees::Sources;

/// Returns the digest of the files that a command finds mounted; none if there are none.
pub(crate) fn mounted_content(
    run: &RunOp,
    sources: &Sources<'_>,
) -> Result<Option<Blake3>, StepError> {
    let mut digests = Vec::new();
    for part in run.mounts.iter().filter_map(RunMount::files) {
        let files: &dyn Files = match sources.step(part.step) {
            Some(below) => below,
            None => &NoFiles,
        };
        digests.push(copy::digest_at(files, &part.path)?);
    }
    Ok((!digests.is_empty()).then(|| combine(&digests)))
}
