//! Every case of `testdata/conformance` with the kiln under test, each a test of its own; `make
//! conformance` tries the same cases with other builders too.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use kiln_conformance::{Case, Error, Fixtures, Verdict, hold_one, load};
use kiln_testbed::Kiln;
use libtest_mimic::{Arguments, Failed, Trial};

/// The registry and the images that cases start from, and the kiln that has them; or why there are
/// none. Made by the first case that runs, so that listing the cases starts nothing.
type World = OnceLock<Result<(Fixtures, Kiln), Error>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = load().unwrap_or_else(|error| panic!("{error}"));
    let world = Arc::new(World::new());
    let trials = cases
        .into_iter()
        .map(|case| {
            let world = Arc::clone(&world);
            Trial::test(case.name.clone(), move || try_case(&case, &world))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn try_case(case: &Case, world: &World) -> Result<(), Failed> {
    let program = Path::new(env!("CARGO_BIN_EXE_kiln"));
    let make = || {
        let fixtures = Fixtures::new(program)?;
        let kiln = Kiln::new(program);
        kiln.knows(fixtures.registry());
        Ok((fixtures, kiln))
    };
    let (fixtures, kiln) = match world.get_or_init(make) {
        Ok(world) => world,
        Err(Error::Lacking(reason)) => {
            reason.announce();
            return Ok(());
        }
        Err(error) => return Err(error.to_string().into()),
    };
    let trial = hold_one(kiln, None, case, fixtures.images());
    match trial.verdict {
        Verdict::Wrong { differences } => {
            let differences = differences.join("\n");
            Err(format!("{differences}\n\nkiln said:\n{}", trial.output).into())
        }
        _ => Ok(()),
    }
}
