//! What `--format` asks for, printed.

use kiln_docker::rows::Width;
use kiln_docker::{Listing, show_value};
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::{clean, terminal};

/// Prints rows, each a JSON object with the fields of the listing.
pub(crate) fn print_rows(
    listing: &Listing,
    format: Option<&str>,
    rows: &[Value],
) -> Result<(), Failure> {
    terminal::print(&listing.render(format, rows, clean::line)?)
}

/// Prints a single value through a template, or as JSON.
pub(crate) fn print_value(format: &str, value: &impl Serialize) -> Result<(), Failure> {
    let value = serde_json::to_value(value).expect("what is shown is plain data");
    terminal::print_line(&show_value(format, &value)?)
}

/// Returns what `--no-trunc` asks for.
pub(crate) fn width_of(no_trunc: bool) -> Width {
    if no_trunc { Width::Whole } else { Width::Cut }
}
