//! `kiln build --verify`: does the same build come to the same bytes twice?
//!
//! Both builds run every step. The first goes nowhere: it is there to be compared with. The second
//! is an ordinary one without the cache, and its results are what outputs and later builds get.
//!
//! A step whose inputs were the same both times and whose files were not is where the builds part;
//! what is made from those files differs because of it.

use std::time::Duration;

use kiln_cache::{Blobs, LayerStack};
use kiln_oci::{Image, Timestamp};
use kiln_snapshotter::{Layer, LayerStore};
use kiln_solver::{Graph, Op, Reporter, Step, StepId};
use kiln_tree::LayerId;

use crate::Error;
use crate::building::{self, Made};
use crate::built::{Delivery, image_options};
use crate::io::Io;
use crate::output;
use crate::outside::Outside;
use crate::request::{BuildRequest, BuildResult, FileTimes, Reuse};
use crate::shared_cache::fetch;
use crate::stores::Stores;
use crate::verbs::compare::{ConfigDifference, DifferentFile, compare_configs, compare_layers};

/// What two builds of the same came to.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The build that went to the outputs.
    pub result: BuildResult,
    /// Steps with different files, in the order of the build.
    pub steps: Vec<StepDifference>,
    /// Fields of the images' configs, layers apart.
    pub config: Vec<ConfigDifference>,
    /// Whether the images are the same, byte for byte.
    pub verdict: ImageVerdict,
    /// Whether the build was given the time of what is new (`SOURCE_DATE_EPOCH`).
    pub has_epoch: bool,
    /// What happens to modification times.
    pub file_times: FileTimes,
}

/// Whether two images are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageVerdict {
    /// They are.
    Reproducible,
    /// They are not.
    Different,
}

/// A step that made different files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepDifference {
    /// Its name in progress.
    pub name: String,
    /// Why.
    pub cause: DifferenceCause,
    /// Which files.
    pub files: Vec<DifferentFile>,
}

/// Why a step made different files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceCause {
    /// It was given the same and made something else.
    Step,
    /// It was given something else by an earlier step.
    Inputs,
}

/// What became of a step, for comparison.
#[derive(Clone, Debug)]
struct MadeStep {
    name: String,
    /// The layer that it made itself; none for a base image.
    layer: Option<LayerId>,
    parent: Option<StepId>,
    /// The parent and the steps whose files it read.
    inputs: Vec<StepId>,
}

/// Returns the steps of a build in which every step ran.
fn made_steps(graph: &Graph, known: &[Option<LayerStack>]) -> Vec<MadeStep> {
    let own = |id: StepId, step: &Step| match step.op {
        Op::From(_) => None,
        _ => {
            let state = known.get(id.index())?.as_ref()?;
            Some(state.top()?.layer)
        }
    };
    graph
        .steps()
        .map(|(id, step)| MadeStep {
            name: step.name.clone(),
            layer: own(id, step),
            parent: step.parent,
            inputs: graph.inputs(id).collect(),
        })
        .collect()
}

/// Builds twice without the cache and compares.
///
/// # Errors
/// As [`build`](crate::verbs::build); results that differ are none.
pub fn check_reproducibility(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    io: &Io<'_>,
) -> Result<Comparison, Error> {
    let request = BuildRequest {
        reuse: Reuse::Nothing,
        ..request.clone()
    };
    let reporter = Reporter::new(io.progress());
    output::check(&request)?;
    let build = |delivery| {
        building::with_plan(stores, outside, &request, (&reporter, io), |prepared| {
            let made =
                building::carry_out(stores, &outside.client, &request, &prepared, (delivery, io))?;
            Ok((made_steps(&prepared.plan.graph, &made.known), made))
        })
        .map_err(|error| stores.or_cancelled(error))
    };
    let (first_steps, first) = build(Delivery::Nowhere)?;
    wait_for_another_second();
    let (second_steps, second) = build(Delivery::Outputs)?;
    let options = image_options(&request);
    let epoch = options.epoch.or(second.epoch);
    let latest = epoch.filter(|_| options.file_times == FileTimes::Clamp);
    let steps = different_steps(stores, &first_steps, &second_steps, latest)?;
    Ok(Comparison {
        verdict: if first.image.descriptor() == second.image.descriptor() {
            ImageVerdict::Reproducible
        } else {
            ImageVerdict::Different
        },
        config: configs(stores, &first, &second)?,
        steps,
        has_epoch: epoch.is_some(),
        file_times: options.file_times,
        result: second.result,
    })
}

fn different_steps(
    stores: &Stores,
    first: &[MadeStep],
    second: &[MadeStep],
    latest: Option<Timestamp>,
) -> Result<Vec<StepDifference>, Error> {
    let mut different = Vec::new();
    // Whose files, those below included, are not the same.
    let mut parted = vec![false; first.len()];
    for (position, (one, other)) in first.iter().zip(second).enumerate() {
        parted[position] = one.parent.is_some_and(|parent| parted[parent.index()]);
        let (Some(layer), Some(other_layer)) = (one.layer, other.layer) else {
            continue;
        };
        if layer == other_layer {
            continue;
        }
        let layers = (
            found(&stores.layers, layer)?,
            found(&stores.layers, other_layer)?,
        );
        let files = compare_layers(&layers.0, &layers.1, latest)
            .map_err(|error| Error::environment("cannot compare layers", error))?;
        if files.is_empty() {
            continue;
        }
        different.push(StepDifference {
            name: other.name.clone(),
            cause: if one.inputs.iter().any(|input| parted[input.index()]) {
                DifferenceCause::Inputs
            } else {
                DifferenceCause::Step
            },
            files,
        });
        parted[position] = true;
    }
    Ok(different)
}

fn configs(stores: &Stores, first: &Made, second: &Made) -> Result<Vec<ConfigDifference>, Error> {
    let mut differences = Vec::new();
    for (one, other) in first.image.images().iter().zip(second.image.images()) {
        if one.id() != other.id() {
            let configs = (config(&stores.blobs, one)?, config(&stores.blobs, other)?);
            differences.extend(compare_configs(&configs.0, &configs.1));
        }
    }
    Ok(differences)
}

/// Waits until the clock shows a second that it has not shown so far: what writes the time down
/// writes something else then.
fn wait_for_another_second() {
    let now = Timestamp::now();
    let rest = u64::from(1_000_000_000_u32.saturating_sub(now.nanoseconds));
    std::thread::sleep(Duration::from_nanos(rest));
}

fn config(blobs: &Blobs, image: &Image) -> Result<Vec<u8>, Error> {
    blobs
        .read(image.id().0)
        .map_err(|error| Error::environment("cannot read an image's config", error))
}

fn found(layers: &LayerStore, id: LayerId) -> Result<Layer, Error> {
    layers.layer(id).ok_or_else(|| fetch::gone(id))
}
