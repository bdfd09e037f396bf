//! Building an image.

use kiln_solver::Reporter;

use crate::Error;
use crate::building;
use crate::built::Delivery;
use crate::io::Io;
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
    io: &Io<'_>,
) -> Result<BuildResult, Error> {
    output::check(request)?;
    let reporter = Reporter::new(io.progress());
    let made = building::with_plan(stores, outside, request, (&reporter, io), |prepared| {
        building::carry_out(
            stores,
            &outside.client,
            request,
            &prepared,
            (Delivery::Outputs, io),
        )
    });
    Ok(made.map_err(|error| stores.or_cancelled(error))?.result)
}
