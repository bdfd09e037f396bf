//! Executing one step: under a claim, so that no other kiln runs it too; looked up by evidence
//! before it runs; recorded last.

use kiln_cache::{ActionKey, ActionRecord, BuiltLayer, ClaimAttempt, LayerStack, claim};
use kiln_oci::Timestamp;
use kiln_runtime::Stream;
use kiln_tree::{Blake3, LayerId};

use crate::copy::{self, Earlier, Fidelity};
use crate::deps::Deps;
use crate::file_steps::{SelectedPart, copy_files, earlier, select, warn_of_nothing, workdir};
use crate::graph::{Op, RunOp};
use crate::inputs::{Inputs, ResultProof};
use crate::keys::{evidence, receipt, slots};
use crate::mounted::mounted_content;
use crate::progress::Vertex;
use crate::runner::{Chain, ChainProcess, RunEvents};
use crate::source_facts::{ContextSelections, combine};
use crate::step_error::StepError;
use crate::step_trees::Sources;
use crate::waiting::wait;

/// The result of a step.
pub(crate) struct StepOutcome {
    pub(crate) state: LayerStack,
    pub(crate) proof: ResultProof,
    pub(crate) way: Way,
}

/// How a step came to its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It was found, by recipe or by evidence.
    Found,
    /// The step ran.
    Ran,
}

/// Finds or makes the result of a step.
pub(crate) fn execute(
    deps: &Deps<'_>,
    inputs: Inputs<'_>,
    vertex: &Vertex<'_>,
) -> Result<StepOutcome, StepError> {
    let keys = inputs.keys;
    let may_reuse = deps.reuse.allows(inputs.step);
    let is_proven = inputs.proof == ResultProof::Recipe;
    let outcome = |state: LayerStack, way: Way| StepOutcome {
        state,
        proof: inputs.proof,
        way,
    };
    let _claim = match claim(deps.store, keys.recipe).map_err(StepError::Disk)? {
        ClaimAttempt::Claimed(claim) => claim,
        ClaimAttempt::Busy(lock) => {
            vertex.begin();
            wait(lock, deps.stop)?
        }
    };
    // The kiln that held the claim before may have recorded the result.
    if !inputs.is_anew
        && is_proven
        && let Some(record) = deps.look_up(&[keys.recipe])
    {
        tracing::debug!(step = inputs.step.label(), "found by its recipe");
        return Ok(outcome(record.state, Way::Found));
    }
    let sources = Sources::new(deps.layer_loader(), deps.contexts, &inputs.sources)?;
    let (selected, content) = read(&inputs.step.op, &sources, inputs.selected, inputs.content)?;
    let evidence = evidence(&inputs.step.op, keys.weak, &inputs.parent, content);
    if may_reuse
        && let Some(mut record) = deps.look_up(&evidence)
        && let Some(layer) = record.state.top()
    {
        tracing::debug!(step = inputs.step.label(), ?evidence, "found by evidence");
        let state = inputs.parent.with(layer);
        record.state = state.clone();
        record.receipt = receipt(&inputs.step.op, content);
        if is_proven {
            deps.cache.put(&[keys.recipe], &record)?;
        }
        return Ok(outcome(state, Way::Found));
    }
    tracing::debug!(
        step = inputs.step.label(),
        ?evidence,
        may_reuse,
        "not found, made"
    );
    let slots = slots(&inputs.step.op, keys.weak, &deps.definition.context);
    let made = make(deps, &inputs, &selected, &slots, vertex)?;
    let Some((layer, fidelity)) = made else {
        return Ok(outcome(inputs.parent.clone(), Way::Found));
    };
    // The real time, even if `SOURCE_DATE_EPOCH` is given: the exporter applies that to the image,
    // and a build without it may find this result.
    let created = Timestamp::now();
    let state = inputs.parent.with(BuiltLayer { layer, created });
    match fidelity {
        Fidelity::Exact => {
            let record = ActionRecord {
                state: state.clone(),
                took: vertex.elapsed(),
                receipt: receipt(&inputs.step.op, content),
                evidence: evidence.clone(),
            };
            let mut names = evidence;
            if is_proven {
                names.insert(0, keys.recipe);
                names.extend(slots);
            }
            deps.cache.put(&names, &record)?;
            Ok(outcome(state, Way::Ran))
        }
        Fidelity::Changed => {
            deps.reporter.warn(format!(
                "{}: files changed while they were copied; the result is not cached",
                inputs.step.name
            ));
            Ok(StepOutcome {
                state,
                proof: ResultProof::Evidence,
                way: Way::Ran,
            })
        }
    }
}

/// Makes the layer of a step, and says whether it is what its key speaks of. None for a base image,
/// which has its layers.
fn make(
    deps: &Deps<'_>,
    inputs: &Inputs<'_>,
    selected: &[SelectedPart<'_>],
    slots: &[ActionKey],
    vertex: &Vertex<'_>,
) -> Result<Option<(LayerId, Fidelity)>, StepError> {
    Ok(Some(match &inputs.step.op {
        Op::From(_) => return Ok(None),
        Op::Remote(remote) => {
            let identity = inputs.identity.expect("remote sources were identified");
            let layer = deps.remotes.fetch(remote, identity, vertex, deps.stop)?;
            (layer.id(), Fidelity::Exact)
        }
        Op::Run(op) => (run(deps, op, inputs, vertex)?, Fidelity::Exact),
        Op::Workdir(op) => {
            let layer = workdir(deps, op, &inputs.parent, vertex)?;
            (layer.id(), Fidelity::Exact)
        }
        Op::Copy(op) => {
            warn_of_nothing(deps, inputs.step, op, selected);
            let earlier = if deps.reuse.allows(inputs.step) {
                earlier(deps, slots)
            } else {
                Earlier::default()
            };
            let (layer, fidelity) =
                copy_files(deps, op, &inputs.parent, selected, &earlier, vertex)?;
            (layer.id(), fidelity)
        }
    }))
}

/// Has the process of a step run, and returns the layer of what it changed.
fn run(
    deps: &Deps<'_>,
    op: &RunOp,
    inputs: &Inputs<'_>,
    vertex: &Vertex<'_>,
) -> Result<LayerId, StepError> {
    let may_reuse = deps.reuse.allows(inputs.step);
    let process = ChainProcess {
        run: op,
        begun: (!may_reuse).then_some(inputs.begun),
    };
    let chain = Chain {
        base: &inputs.parent,
        processes: &[process],
        sources: &inputs.sources,
    };
    let made = deps.runner.run(&chain, &mut VertexEvents(vertex));
    let made = made.map_err(|failed| failed.error)?;
    let [layer] = made.as_slice() else {
        unreachable!("a runner makes a layer for each process");
    };
    Ok(*layer)
}

/// Shows what a process does as what its step does.
struct VertexEvents<'a>(&'a Vertex<'a>);

impl RunEvents for VertexEvents<'_> {
    fn begin(&mut self, _: usize) {
        self.0.begin();
    }

    fn output(&mut self, _: usize, stream: Stream, bytes: &[u8]) {
        self.0.log(stream, bytes);
    }

    fn warn(&mut self, message: String) {
        self.0.warn(message);
    }
}

/// Returns what an operation copies, and the digest of what it reads besides its parent's files.
/// `of_contexts` is what a copy selects of contexts, and `known` what is known of that digest without
/// the files of other steps.
pub(crate) fn read<'a>(
    op: &Op,
    sources: &'a Sources<'_>,
    of_contexts: &'a ContextSelections<'a>,
    known: Option<Blake3>,
) -> Result<(Vec<SelectedPart<'a>>, Option<Blake3>), StepError> {
    Ok(match op {
        Op::Copy(copy) => {
            let selected = select(sources, copy, of_contexts)?;
            let content = match op.sources().next() {
                // Nothing but contexts: that digest is known.
                None => known,
                Some(_) => {
                    let digests: Vec<Blake3> = selected
                        .iter()
                        .map(|part| copy::digest(part.files, &part.selections))
                        .collect();
                    Some(combine(&digests))
                }
            };
            (selected, content)
        }
        Op::Run(run) => (Vec::new(), mounted_content(run, sources)?),
        _ => (Vec::new(), known),
    })
}
