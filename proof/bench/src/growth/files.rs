use std::fs;
use std::path::Path;
use std::process::Command;

use super::curve::{Curve, GrowthShape};
use super::runner::{CommandRunner, Cost};
use crate::base;
use crate::context::{Files, Seed};
use crate::error::Error;

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

const BYTES: usize = 200;

const OF: &str = "files";

/// A context of more and more files, and the image with them.
pub(super) fn curves(runner: &CommandRunner<'_>) -> Result<Vec<Curve>, Error> {
    let linear = |what: &str, limit: Option<&'static str>| Curve {
        limit,
        ..Curve::new(what, OF, GrowthShape::Linear)
    };
    let mut curves = [
        linear("first build", Some("cp -a")),
        linear("no-op build", Some("find -printf")),
        linear("build, one file changed", Some("find -printf")),
        linear("COPY --from of everything", Some("cp -a")),
        linear("save", Some("tar cf")),
        linear("cache verify", Some("cat of all")),
        Curve::new("run", OF, GrowthShape::Flat),
    ];
    for count in SIZES {
        let costs = costs(runner, count)?;
        for (curve, (cost, limit)) in curves.iter_mut().zip(costs) {
            curve.points.push(cost.at(count as u64, limit));
        }
    }
    Ok(curves.into())
}

fn costs(runner: &CommandRunner<'_>, count: usize) -> Result<[(Cost, Option<Cost>); 7], Error> {
    let files = Files {
        count,
        bytes: BYTES,
    };
    let context = runner.area.fresh("context")?;
    let state = runner.area.unused("state");
    let below = context.join("files");
    files.write(&below, Seed(0))?;
    busybox(runner, &context)?;
    let first = "FROM scratch AS one\nCOPY busybox /busybox\nCOPY files /files\n";
    runner.dockerfile(&context.join("Dockerfile"), first)?;
    let directory = context.display().to_string();
    let copy = || {
        let target = runner.area.unused("copy");
        let mut command = Command::new("cp");
        command.arg("-a").arg(&below).arg(target);
        command
    };
    let find = || {
        let mut command = Command::new("find");
        command.arg(&below).args(["-printf", "%s %T@ %C@ %i\n"]);
        command
    };
    let build = || runner.kiln(&state, &["build", "-q", "-t", "app", &directory]);
    let of_copy = runner.once(&mut copy())?;
    let made = runner.once(&mut build())?;
    let of_find = runner.again(find)?;
    let again = runner.again(build)?;
    files.write_one(&below, count / 2, Seed(1))?;
    let changed = runner.once(&mut build())?;
    let second = context.join("second");
    let text = format!("{first}FROM scratch\nCOPY --from=one / /\n");
    runner.dockerfile(&second, &text)?;
    let second = second.display().to_string();
    let arguments = ["build", "-q", "-f", &second, &directory];
    let from = runner.once(&mut runner.kiln(&state, &arguments))?;
    let archive = runner.area.unused("archive");
    let name = archive.display().to_string();
    let saved = runner.once(&mut runner.kiln(&state, &["save", "-o", &name, "app"]))?;
    runner.area.discard(&archive)?;
    let mut tar = Command::new("tar");
    tar.arg("cf").arg(&archive).arg(&below);
    let of_tar = runner.once(&mut tar)?;
    runner.area.discard(&archive)?;
    let verified = runner.once(&mut runner.kiln(&state, &["cache", "verify"]))?;
    let mut cat = Command::new("find");
    cat.arg(&below)
        .args(["-type", "f", "-exec", "cat", "{}", "+"]);
    let of_cat = runner.once(&mut cat)?;
    let ran = runner.again(|| runner.kiln(&state, &["run", "--rm", "app", "/busybox", "true"]))?;
    Ok([
        (made, Some(of_copy)),
        (again, Some(of_find)),
        (changed, Some(of_find)),
        (from, Some(of_copy)),
        (saved, Some(of_tar)),
        (verified, Some(of_cat)),
        (ran, None),
    ])
}

/// Puts a static program into a context.
pub(super) fn busybox(runner: &CommandRunner<'_>, context: &Path) -> Result<(), Error> {
    let from = runner.area.rootfs(base::BUSYBOX)?.join("bin/busybox");
    let to = context.join("busybox");
    fs::copy(&from, to).map(drop).map_err(Error::at(&from))
}
