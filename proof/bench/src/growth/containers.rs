use super::curve::{Curve, GrowthShape};
use super::files;
use super::runner::CommandRunner;
use crate::error::Error;

const CONTAINERS: [usize; 3] = [10, 100, 1_000];
const LINES: [usize; 3] = [10_000, 100_000, 1_000_000];

/// More and more containers, and one that says more and more.
pub(super) fn curves(runner: &CommandRunner<'_>) -> Result<Vec<Curve>, Error> {
    let context = runner.area.fresh("context")?;
    let state = runner.area.unused("state");
    files::busybox(runner, &context)?;
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n";
    runner.dockerfile(&context.join("Dockerfile"), dockerfile)?;
    let directory = context.display().to_string();
    let arguments = ["build", "-q", "-t", "app", &directory];
    runner.prepare(&mut runner.kiln(&state, &arguments))?;
    let mut curves = vec![
        Curve::new("logs", "lines", GrowthShape::Linear),
        Curve::new("logs --tail 10", "lines", GrowthShape::Flat),
    ];
    for count in LINES {
        let name = format!("talks{count}");
        let script = format!("busybox seq -s ' is one line of a long log\n' {count}");
        let run = ["run", "--name", &name, "app", "sh", "-c", &script];
        runner.prepare(&mut runner.kiln(&state, &run))?;
        let all = runner.again(|| runner.kiln(&state, &["logs", &name]))?;
        let tail = runner.again(|| runner.kiln(&state, &["logs", "--tail", "10", &name]))?;
        for (curve, cost) in curves.iter_mut().zip([all, tail]) {
            curve.points.push(cost.at(count as u64, None));
        }
        runner.prepare(&mut runner.kiln(&state, &["rm", &name]))?;
    }
    let mut more = vec![
        Curve::new("ps -a", "containers", GrowthShape::Linear),
        Curve::new("run --rm", "containers", GrowthShape::Flat),
        Curve::new("rm of all", "containers", GrowthShape::Linear),
    ];
    for count in CONTAINERS {
        let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
        for name in &names {
            let run = ["run", "--name", name, "app", "busybox", "true"];
            runner.prepare(&mut runner.kiln(&state, &run))?;
        }
        let list = runner.again(|| runner.kiln(&state, &["ps", "-a"]))?;
        let run = ["run", "--rm", "app", "busybox", "true"];
        let ran = runner.again(|| runner.kiln(&state, &run))?;
        let mut remove = runner.kiln(&state, &["rm"]);
        remove.args(&names);
        let removed = runner.once(&mut remove)?;
        for (curve, cost) in more.iter_mut().zip([list, ran, removed]) {
            curve.points.push(cost.at(count as u64, None));
        }
    }
    curves.extend(more);
    Ok(curves)
}
