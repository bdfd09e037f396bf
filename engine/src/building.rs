//! `kiln build`: text to plan, plan to solution, solution to image, image to wherever it goes.

mod account; // what it did
mod contexts; // the directories that are read
mod failure; // why it failed
mod options; // what planning and running need to know
mod planning; // which steps there are

use std::time::Instant;

use kiln_cache::LayerStack;
use kiln_oci::Timestamp;
use kiln_parser::Diagnostic;
use kiln_registry::Client;
use kiln_snapshotter::{Layer, RecentViews};
use kiln_solver::{Deps, LocalRunner, Plan, Precompute, Reporter, SolveError, StepId, solve};

use crate::agents::BuildAgents;
use crate::base_layers::Fetcher;
use crate::built::{Built, Delivery};
use crate::definition::prepare;
use crate::io::Io;
use crate::output;
use crate::outside::Outside;
use crate::precompute::{self, WantedForms};
use crate::remote_sources::RemoteSources;
use crate::request::{BuildRequest, BuildResult};
use crate::sandbox::{LazyExecutor, LazySnapshotter};
use crate::shared_cache::{Shareable, TieredCache, export};
use crate::stores::Stores;
use crate::{Error, LocalImage, SourceText};
use account::EndedBuild;
use options::sandbox_context;
use planning::{PlannedBuild, plan_build};

pub(crate) use account::canonical;
pub(crate) use failure::{plan_error, solve_error};
pub(crate) use options::{check_syntax, plan_options};

/// A build that can begin.
pub(crate) struct Prepared<'a> {
    /// When planning began.
    begun: Timestamp,
    clock: Instant,
    pub(crate) source_text: &'a SourceText,
    pub(crate) plan: &'a Plan,
    /// The last steps of the targets that have any.
    pub(crate) roots: &'a [StepId],
    findings: Vec<Diagnostic>,
    pub(crate) deps: &'a Deps<'a>,
    tiered: &'a TieredCache<'a>,
}

/// A build, for who wants to know more than its result.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) result: BuildResult,
    /// The image as the first image output wants it, or as the local store would.
    pub(crate) image: LocalImage,
    /// The files of every step that was asked for them.
    pub(crate) known: Vec<Option<LayerStack>>,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<Timestamp>,
}

/// Builds what was planned.
pub(crate) fn carry_out(
    stores: &Stores,
    client: &Client,
    request: &BuildRequest,
    prepared: &Prepared<'_>,
    (delivery, io): (Delivery, &Io<'_>),
) -> Result<Made, Error> {
    let Prepared {
        source_text,
        plan,
        deps,
        ..
    } = prepared;
    let (steps, known, result) = loop {
        let solution = solve(&plan.graph, prepared.roots, deps);
        let result = match solution.states {
            Ok(states) => {
                let sharing = Shareable {
                    plan,
                    tiered: prepared.tiered,
                    recipes: &solution.recipes,
                    known: &solution.known,
                    stop: deps.stop,
                };
                finish(
                    stores,
                    client,
                    request,
                    prepared,
                    states,
                    &sharing,
                    (delivery, io),
                )
            }
            Err(SolveError::Lost(_)) => Ok(None),
            Err(error) => Err(solve_error(error, source_text)),
        };
        if let Some(result) = result.transpose() {
            break (solution.steps, solution.known, result);
        }
    };
    if delivery == Delivery::Outputs {
        let ended = EndedBuild {
            definition: deps.definition.clone(),
            begun: prepared.begun,
            took: prepared.clock.elapsed(),
            graph: &plan.graph,
            source_text,
            steps,
            result: &result,
        };
        account::remember(stores, ended, deps.reporter);
    }
    let (result, image) = result?;
    Ok(Made {
        result,
        image,
        known,
        epoch: plan.epoch,
    })
}

/// Finds out what there is to build, and acts on it.
pub(crate) fn with_plan<T>(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    (reporter, io): (&Reporter<'_>, &Io<'_>),
    act: impl FnOnce(Prepared<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let (begun, clock) = (Timestamp::now(), Instant::now());
    let agents = BuildAgents::new(&stores.store, &request.agents)?;
    let remotes = RemoteSources {
        stores,
        outside,
        secrets: &request.secrets,
        agents: &agents,
        epoch: request.epoch,
    };
    // A step that fails stops the others, and not what comes after them.
    let stop = &stores.stop().part();
    let definition = prepare(request, &remotes, (reporter, io), stop)?;
    let PlannedBuild { plan, findings } = plan_build(
        (stores, outside),
        request,
        &definition,
        &remotes,
        reporter,
        stop,
    )?;
    let remotes = RemoteSources {
        epoch: plan.epoch,
        ..remotes
    };
    let contexts = contexts::scan_contexts(
        stores,
        request,
        definition.context.as_ref(),
        &plan,
        reporter,
    )?;
    let roots: Vec<StepId> = plan.targets.iter().filter_map(|t| t.root).collect();
    let fetcher = Fetcher::new(stores, &outside.client, &plan, reporter);
    let executor = LazyExecutor::new(&stores.store, outside.outer_proc);
    let snapshotter = LazySnapshotter::new(&stores.layers);
    let tiered = TieredCache::new(
        stores,
        &outside.client,
        &request.cache_from,
        &request.platforms,
        reporter,
    );
    let wanted = WantedForms::of(request);
    let prepare =
        |layer: &Layer, layer_use| precompute::prepare_layer(stores, layer, layer_use, &wanted);
    let views = RecentViews::default();
    let runner = LocalRunner {
        store: &stores.store,
        layers: &stores.layers,
        bases: &fetcher,
        views: &views,
        snapshotter: &snapshotter,
        executor: &executor,
        cache_mounts: &tiered,
        agents: &agents,
        sandbox: &sandbox_context(request, &plan),
        stop,
    };
    let deps = Deps {
        store: &stores.store,
        layers: &stores.layers,
        cache: &tiered,
        bases: &fetcher,
        views: &views,
        remotes: &remotes,
        contexts: &contexts,
        runner: &runner,
        reporter,
        stop,
        jobs: request.jobs,
        reuse: request.reuse.clone(),
        journal: &stores.journal,
        definition: &account::definition(request),
        precompute: if wanted.is_nothing() {
            Precompute::Nothing
        } else {
            Precompute::Prepare(&prepare)
        },
    };
    act(Prepared {
        begun,
        clock,
        source_text: &definition.source_text,
        plan: &plan,
        roots: &roots,
        findings,
        deps: &deps,
        tiered: &tiered,
    })
}

/// Hands what was built to the outputs. None if a layer of another machine turned out not to be
/// had: it is not counted on any more, and has to be made.
fn finish(
    stores: &Stores,
    client: &Client,
    request: &BuildRequest,
    prepared: &Prepared<'_>,
    states: Vec<LayerStack>,
    sharing: &Shareable<'_>,
    (delivery, io): (Delivery, &Io<'_>),
) -> Result<Option<(BuildResult, LocalImage)>, Error> {
    let plan = prepared.plan;
    let reporter = prepared.deps.reporter;
    let mut states = states.into_iter();
    let built = plan.targets.iter().map(|target| Built {
        target,
        state: match target.root {
            Some(_) => states.next().expect("every root has a state"),
            None => LayerStack::on(target.base),
        },
    });
    let built: Vec<Built<'_>> = built.collect();
    let exported = output::export(
        stores,
        client,
        request,
        sharing,
        &built,
        (delivery, io),
        reporter,
    )?;
    let Some((exported, image)) = exported else {
        return Ok(None);
    };
    let cache = match delivery {
        Delivery::Outputs => export::export_caches(stores, client, request, sharing, reporter)?,
        Delivery::Nowhere => None,
    };
    // A cache may have wanted what no output did.
    let is_whole = |built: &Built<'_>| stores.layers.knows_all(&built.state);
    if !request.cache_to.is_empty() && !built.iter().all(is_whole) {
        return Ok(None);
    }
    stores.settle()?;
    let result = BuildResult {
        id: exported.id,
        descriptor: exported.descriptor,
        config: exported.config,
        cache,
        warnings: prepared.findings.clone(),
        source_text: prepared.source_text.clone(),
    };
    Ok(Some((result, image)))
}
