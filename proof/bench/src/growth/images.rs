use super::curve::{Curve, GrowthShape};
use super::runner::CommandRunner;
use crate::error::Error;

const SIZES: [usize; 3] = [10, 100, 1_000];

/// Commands whose cost is that of a list of all images.
const LISTS: [&[&str]; 5] = [
    &["images"],
    &["images", "-q"],
    &["system", "df"],
    &["cache", "du"],
    &["cache", "prune", "-f", "--filter", "until=1000h"],
];

/// Commands about one image, which others should not make slower.
const SINGLE: [&[&str]; 5] = [
    &["inspect", "app0"],
    &["history", "app0"],
    &["tag", "app0", "other"],
    &["rmi", "other"],
    &["build", "-q", "-t", "app0", "CONTEXT"],
];

/// More and more images of one layer each.
pub(super) fn curves(runner: &CommandRunner<'_>) -> Result<Vec<Curve>, Error> {
    let curve = |shape| move |command: &&[&str]| Curve::new(command.join(" "), "images", shape);
    let mut curves: Vec<Curve> = LISTS.iter().map(curve(GrowthShape::Linear)).collect();
    curves.extend(SINGLE.iter().map(curve(GrowthShape::Flat)));
    for count in SIZES {
        let context = runner.area.fresh("context")?;
        let state = runner.area.unused("state");
        let directory = context.display().to_string();
        let dockerfile = "FROM scratch\nCOPY file /file\n";
        runner.dockerfile(&context.join("Dockerfile"), dockerfile)?;
        for number in (0..count).rev() {
            let tag = format!("app{number}");
            runner.dockerfile(&context.join("file"), &tag)?;
            let arguments = ["build", "-q", "-t", &tag, &directory];
            runner.prepare(&mut runner.kiln(&state, &arguments))?;
        }
        let command = |arguments: &[&str]| {
            let arguments: Vec<&str> = arguments
                .iter()
                .map(|word| {
                    if *word == "CONTEXT" {
                        &directory
                    } else {
                        *word
                    }
                })
                .collect();
            runner.kiln(&state, &arguments)
        };
        let mut costs = Vec::new();
        for arguments in LISTS {
            costs.push(runner.again(|| command(arguments))?);
        }
        for arguments in SINGLE {
            costs.push(match arguments {
                // What was removed cannot be removed again.
                ["rmi", _] => runner.once(&mut command(arguments))?,
                _ => runner.again(|| command(arguments))?,
            });
        }
        for (curve, cost) in curves.iter_mut().zip(costs) {
            curve.points.push(cost.at(count as u64, None));
        }
    }
    Ok(curves)
}
