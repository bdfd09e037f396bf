//! Facts before keys: what copies read from contexts, and what remote sources stand for.

use kiln_tree::{Blake3, Encoder};

use crate::cache_mounts::BegunCaches;
use crate::context::ScannedContext;
use crate::copy::{self, SelectError};
use crate::deps::Deps;
use crate::graph::{self, FileSource, Graph, Op, Remote, Step, StepId};
use crate::progress::VertexEnd;
use crate::remote::Identity;
use crate::solve_error::SolveError;
use crate::step_error::StepError;

/// What is known about the steps that read from outside, by step.
pub(crate) struct Facts {
    /// The digest of what a copy from the context reads, and of a remote source.
    pub(crate) content: Vec<Option<Blake3>>,
    pub(crate) identities: Vec<Option<Identity>>,
    /// Cache mounts that this build has begun anew.
    pub(crate) begun: BegunCaches,
}

/// Finds out what copies from the context read, and what remote sources stand for.
///
/// # Errors
/// When an argument does not exist in the context, or a remote source is not to be had.
pub(crate) fn facts(graph: &Graph, deps: &Deps<'_>) -> Result<Facts, SolveError> {
    let identities = identities(graph, deps)?;
    let content = graph
        .steps()
        .map(|(id, step)| match &step.op {
            Op::Copy(op) => context_digest(op, deps.contexts)
                .map_err(|error| SolveError::of_step(id, step, StepError::from(error))),
            _ => Ok(identities[id.index()].as_ref().map(|known| known.digest)),
        })
        .collect::<Result<_, SolveError>>()?;
    Ok(Facts {
        content,
        identities,
        begun: BegunCaches::default(),
    })
}

/// Returns the digest of what a copy reads from contexts, if it reads any.
fn context_digest(
    op: &graph::Copy,
    contexts: &[ScannedContext],
) -> Result<Option<Blake3>, SelectError> {
    let mut digests = Vec::new();
    for part in &op.parts {
        if let FileSource::Context(context) = part.source {
            let files = &contexts[context.0];
            let selected = copy::select(files, op, part)?;
            digests.push(copy::digest(files, &selected));
        }
    }
    Ok((!digests.is_empty()).then(|| combine(&digests)))
}

/// Returns one digest for several, in their order.
pub(crate) fn combine(digests: &[Blake3]) -> Blake3 {
    let mut encoder = Encoder::new("kiln.content.1");
    encoder.sequence(digests);
    encoder.finish()
}

/// Asks for all remote sources at once: each is a round trip or more.
fn identities(graph: &Graph, deps: &Deps<'_>) -> Result<Vec<Option<Identity>>, SolveError> {
    let ask = |id: StepId, step: &Step, remote: &Remote| {
        let vertex = deps.reporter.start(&step.name);
        let result = deps.remotes.identify(remote, &vertex, deps.stop);
        match &result {
            Ok(_) => vertex.end(VertexEnd::Done),
            Err(_) if deps.is_cancelled() => vertex.end(VertexEnd::Cancelled),
            Err(error) => vertex.end(VertexEnd::Failed(error.to_string())),
        }
        result.map_err(|error| {
            if deps.is_cancelled() {
                SolveError::Cancelled
            } else {
                SolveError::of_step(id, step, error.into())
            }
        })
    };
    let mut known = vec![None; graph.len()];
    std::thread::scope(|scope| {
        let threads: Vec<_> = graph
            .steps()
            .filter_map(|(id, step)| match &step.op {
                Op::Remote(remote) => Some((
                    id,
                    kiln_threads::begin(scope, move || ask(id, step, remote)),
                )),
                _ => None,
            })
            .collect();
        for (id, thread) in threads {
            known[id.index()] = Some(thread.join()?);
        }
        Ok(())
    })?;
    Ok(known)
}
