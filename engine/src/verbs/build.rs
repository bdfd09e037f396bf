//! Building an image.

use kiln_solver::{Progress, Reporter};

use crate::Error;
use crate::building::{self, Delivery};
use crate::output::{self};
use crate::outside::Outside;
use crate::request::{BuildRequest, BuildResult};
use crate::stores::Stores;

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
