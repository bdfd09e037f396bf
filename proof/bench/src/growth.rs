//! How the cost of kiln's commands grows with what there is: each at three sizes a decade apart.
//!
//! A cost that grows in proportion has the exponent 1, one that does not grow 0. Figures are CPU time,
//! which other work on the machine disturbs least, and the most private memory that kiln had.

mod curve; // figures at three sizes, and what they come to
mod runner; // one command, measured

mod containers; // many containers, and long logs
mod files; // large contexts and layers
mod images; // many images
mod layers; // many instructions, layers and stages

use std::fmt::Write as _;
use std::path::Path;

use crate::area::Area;
use crate::arguments::Arguments;
use crate::enclosure;
use crate::error::Error;
use crate::machine::Machine;
use crate::meter::Meter;
use curve::Curve;
use runner::CommandRunner;

/// The figures of a part.
type GrowthPart = fn(&CommandRunner<'_>) -> Result<Vec<Curve>, Error>;

const PARTS: [(&str, GrowthPart); 4] = [
    ("files", files::curves),
    ("layers", layers::curves),
    ("images", images::curves),
    ("containers", containers::curves),
];

/// What takes too long, or more room than most machines have.
const LEFT_OUT: &str = "Left out: a million files, 5,000 images and running containers, which take \
hours or tens of gigabytes to prepare.";

/// Measures everything, and returns the report.
pub(crate) fn report(
    arguments: &Arguments,
    directory: &Path,
    say: &dyn Fn(&str),
) -> Result<String, Error> {
    let machine = Machine::here(directory);
    let meter = Meter::new(&enclosure::group_mounts(directory)?)?;
    let area = Area::new(directory)?;
    let runner = CommandRunner::new(&arguments.kiln, &area, &meter)?;
    let mut text = format!("{machine}\n\n{}", curve::HEAD);
    let mut missed = Vec::new();
    for (name, part) in PARTS {
        say(&format!("growth: {name}"));
        for curve in part(&runner)? {
            say(&format!("growth: {curve}"));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", curve.row());
            if !curve.is_as_wanted() {
                missed.push(curve.to_string());
            }
        }
    }
    let _ = writeln!(text, "\n{LEFT_OUT}\n");
    if missed.is_empty() {
        text.push_str("Everything grows as it should.\n");
    } else {
        text.push_str("Growing faster than they should:\n\n");
        for curve in missed {
            let _ = writeln!(text, "- {curve}");
        }
    }
    Ok(text)
}
