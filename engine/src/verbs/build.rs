//! Building an image.

use std::time::Instant;

use kiln_cache::State;
use kiln_oci::Timestamp;
use kiln_parser::Diagnostic;
use kiln_registry::Client;
use kiln_snapshotter::Layer;
use kiln_solver::{
    Ahead, Deps, Extent, Plan, Progress, Reporter, SolveError, StepId, solve, survey,
};

use crate::agents::BuildAgents;
use crate::ahead;
use crate::ahead::Wanted;
use crate::base_layers::Fetcher;
use crate::bases::Resolver;
use crate::building::{self, Delivery};
use crate::checks::Checks;
use crate::definition::{Definition, prepare};
use crate::epoch::{self, Times};
use crate::output::{self, Built};
use crate::outside::Outside;
use crate::remote::RemoteSources;
use crate::request::{BuildRequest, BuildResult};
use crate::sandbox::{LazyExecutor, LazySnapshotter};
use crate::stores::Stores;
use crate::transfer::export;
use crate::transfer::{Sharing, Tiers};
use crate::{Error, LocalImage, SourceText};

/// Builds an image and hands it to the outputs.
///
/// # Errors
/// See [`Error`]; nothing half-finished remains.
pub fn build(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    progress: &dyn Progress,
) -> Result<BuildResult, Error> {
    output::check(request)?;
    let reporter = Reporter::new(progress);
    let made = building::with_plan(stores, outside, request, &reporter, |prepared| {
        building::carry_out(
            stores,
            &outside.client,
            request,
            &prepared,
            Delivery::Outputs,
        )
    });
    Ok(made.map_err(|error| stores.or_cancelled(error))?.result)
}
