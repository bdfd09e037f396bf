use std::fmt::Write as _;
use std::process::Command;

use super::curve::{Curve, GrowthShape};
use super::runner::CommandRunner;
use crate::error::Error;

const SIZES: [usize; 3] = [50, 500, 5_000];

/// Longer and longer Dockerfiles.
pub(super) fn curves(runner: &CommandRunner<'_>) -> Result<Vec<Curve>, Error> {
    let mut curves = of(runner, "layers", "COPY", |number| {
        format!("COPY file /d{}/f{number}\n", number % 50)
    })?;
    curves.extend(of(runner, "stages", "FROM and COPY", |number| {
        let from = number.checked_sub(1).map(|below| format!("s{below}"));
        let from = from.unwrap_or_else(|| "first".to_owned());
        format!(
            "FROM {from} AS s{number}\nCOPY file /d{}/f{number}\n",
            number % 50
        )
    })?);
    curves.extend(of(runner, "instructions", "LABEL", |number| {
        format!("LABEL number.{number}={number}\n")
    })?);
    Ok(curves)
}

fn of(
    runner: &CommandRunner<'_>,
    of: &'static str,
    what: &str,
    instruction: impl Fn(usize) -> String,
) -> Result<Vec<Curve>, Error> {
    let linear = |what: String| Curve::new(what, of, GrowthShape::Linear);
    let mut curves = vec![
        Curve {
            limit: Some("cp -a of the store"),
            ..linear(format!("first build of {what}"))
        },
        linear(format!("no-op build of {what}")),
        linear("system df".to_owned()),
    ];
    for count in SIZES {
        let context = runner.area.fresh("context")?;
        let state = runner.area.unused("state");
        runner.dockerfile(&context.join("file"), "content\n")?;
        let mut text = "FROM scratch AS first\nCOPY file /file\n".to_owned();
        for number in 0..count {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", instruction(number));
        }
        runner.dockerfile(&context.join("Dockerfile"), &text)?;
        let directory = context.display().to_string();
        let build = || runner.kiln(&state, &["build", "-q", "-t", "app", &directory]);
        let first = runner.once(&mut build())?;
        // As many files and directories by the shortest way.
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(&state).arg(runner.area.unused("copy"));
        let of_copy = runner.once(&mut copy)?;
        let costs = [
            (first, Some(of_copy)),
            (runner.again(build)?, None),
            (
                runner.again(|| runner.kiln(&state, &["system", "df"]))?,
                None,
            ),
        ];
        for (curve, (cost, limit)) in curves.iter_mut().zip(costs) {
            curve.points.push(cost.at(count as u64, limit));
        }
    }
    Ok(curves)
}
