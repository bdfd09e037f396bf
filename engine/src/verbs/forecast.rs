//! `kiln build --plan`: what a build would do.

use std::time::Duration;

use kiln_parser::LineIndex;
use kiln_solver::{Expected, Reason, Reporter};

use crate::Error;
use crate::building::{self, solve_error};
use crate::io::Io;
use crate::outside::Outside;
use crate::request::BuildRequest;
use crate::stores::Stores;

/// What a build would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildForecast {
    /// Its steps, each behind those it is made from.
    pub steps: Vec<StepForecast>,
}

/// What would become of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepForecast {
    /// How progress would call it.
    pub name: String,
    /// The stage it belongs to first.
    pub stage: String,
    /// The line of its instruction, counted from 1.
    pub line: u32,
    /// What would become of it.
    pub prospect: Prospect,
    /// If it would run: why, the most telling reason first.
    pub because: Vec<Reason>,
    /// If it would or might run: how long it took the last time that it did.
    pub took_last: Option<Duration>,
}

/// What would become of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// A later step's result makes it unnecessary.
    NotNeeded,
    /// Its result is there.
    Hit,
    /// It would run.
    Runs,
    /// That depends on what another step comes to.
    Unknown {
        /// That step, as progress would call it.
        until: String,
    },
}

/// Says what a build would do, executing nothing. Names of base images are asked for as in a
/// build; no layer is fetched.
///
/// # Errors
/// When it is clear already that the build would fail.
pub fn forecast(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    io: &Io<'_>,
) -> Result<BuildForecast, Error> {
    building::with_plan(
        stores,
        outside,
        request,
        (&Reporter::new(io.progress()), io),
        |prepared| {
            let graph = &prepared.plan.graph;
            let source_text = prepared.source_text;
            let all = kiln_solver::forecast(graph, prepared.roots, prepared.deps)
                .map_err(|error| solve_error(error, source_text))?;
            let lines = LineIndex::new(&source_text.bytes);
            let steps = graph
                .steps()
                .zip(all)
                .map(|((_, step), found)| StepForecast {
                    name: step.name.clone(),
                    stage: step.stage.clone(),
                    line: lines.line(step.span),
                    prospect: match found.expected {
                        Expected::NotNeeded => Prospect::NotNeeded,
                        Expected::Hit => Prospect::Hit,
                        Expected::Runs => Prospect::Runs,
                        Expected::Unknown { until } => Prospect::Unknown {
                            until: graph.step(until).name.clone(),
                        },
                    },
                    because: found.because,
                    took_last: found.took_last,
                });
            Ok(BuildForecast {
                steps: steps.collect(),
            })
        },
    )
}
