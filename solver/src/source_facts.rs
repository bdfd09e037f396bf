//! Facts before keys: what copies read from contexts, and what remote sources stand for.

use kiln_tree::{Blake3, Encoder};

use crate::cache_mounts::BegunCaches;
use crate::context::ScannedContext;
use crate::copy::{self, CopySelectError, SelectedSource};
use crate::deps::Deps;
use crate::graph::{self, FileSource, Graph, Op, Remote, Step, StepId};
use crate::progress::VertexEnd;
use crate::remote_sources::RemoteIdentity;
use crate::solve_error::SolveError;
use crate::step_error::StepError;

/// What is known about the steps that read from outside, by step.
pub(crate) struct SourceFacts<'a> {
    /// What each copy selects of contexts. A step that must be executed copies just that.
    pub(crate) selected: Vec<ContextSelections<'a>>,
    /// The digest of what a copy from the context reads, and of a remote source.
    pub(crate) content: Vec<Option<Blake3>>,
    pub(crate) identities: Vec<Option<RemoteIdentity>>,
    /// Cache mounts that this build has emptied already (`--no-cache`).
    pub(crate) begun: BegunCaches,
}

/// What the parts of a copy select of contexts; none for a part that is selected elsewhere.
pub(crate) type ContextSelections<'a> = Vec<Option<Vec<SelectedSource<'a>>>>;

/// Finds out what copies from the context read, and what remote sources stand for.
///
/// # Errors
/// When an argument does not exist in the context, or a remote source cannot be found.
pub(crate) fn facts<'a>(graph: &Graph, deps: &Deps<'a>) -> Result<SourceFacts<'a>, SolveError> {
    let identities = identities(graph, deps)?;
    let mut content = Vec::with_capacity(graph.len());
    let mut selected = Vec::with_capacity(graph.len());
    for (id, step) in graph.steps() {
        let (digest, selections) = if let Op::Copy(op) = &step.op {
            let selections = select(op, deps.contexts)
                .map_err(|error| SolveError::of_step(id, step, StepError::from(error)))?;
            (context_digest(op, deps.contexts, &selections), selections)
        } else {
            let known = identities[id.index()].as_ref();
            (known.map(|known| known.digest), Vec::new())
        };
        content.push(digest);
        selected.push(selections);
    }
    Ok(SourceFacts {
        selected,
        content,
        identities,
        begun: BegunCaches::default(),
    })
}

/// Finds what the arguments of a copy stand for in contexts.
fn select<'a>(
    op: &graph::CopyOp,
    contexts: &'a [ScannedContext],
) -> Result<ContextSelections<'a>, CopySelectError> {
    let parts = op.parts.iter().map(|part| match part.source {
        FileSource::Context(context) => copy::select(&contexts[context.0], op, part).map(Some),
        FileSource::Step(_) | FileSource::Nothing => Ok(None),
    });
    parts.collect()
}

/// Returns the digest of what a copy reads from contexts, if it reads any.
fn context_digest(
    op: &graph::CopyOp,
    contexts: &[ScannedContext],
    selected: &ContextSelections<'_>,
) -> Option<Blake3> {
    let parts = op.parts.iter().zip(selected);
    let digests: Vec<Blake3> = parts
        .filter_map(|(part, selections)| match part.source {
            FileSource::Context(context) => {
                let selections = selections.as_ref()?;
                Some(copy::digest(&contexts[context.0], selections))
            }
            FileSource::Step(_) | FileSource::Nothing => None,
        })
        .collect();
    (!digests.is_empty()).then(|| combine(&digests))
}

/// Returns one digest for several, in their order.
pub(crate) fn combine(digests: &[Blake3]) -> Blake3 {
    let mut encoder = Encoder::new("kiln.content.1");
    encoder.sequence(digests);
    encoder.finish()
}

/// Asks for all remote sources at once: each is a round trip or more.
fn identities(graph: &Graph, deps: &Deps<'_>) -> Result<Vec<Option<RemoteIdentity>>, SolveError> {
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
                    kiln_threads::spawn_or_run(scope, move || ask(id, step, remote)),
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
