//! Every case of `testdata/conformance` with the kiln under test; `make conformance` tries the
//! same cases with other builders too.

use std::path::Path;

use kiln_conformance::{Column, Error, Kiln, Report, Surroundings, Verdict, hold, load};
use kiln_testbed::skip;

#[test]
fn all_cases_come_out_as_expected() {
    let program = Path::new(env!("CARGO_BIN_EXE_kiln"));
    let cases = load().unwrap_or_else(|error| panic!("{error}"));
    let surroundings = match Surroundings::new(program) {
        Ok(surroundings) => surroundings,
        Err(Error::Lacking(reason)) => skip!("{reason}"),
        Err(error) => panic!("{error}"),
    };
    let kiln = Kiln::new(program, surroundings.registry());
    let trials = hold(&kiln, None, &cases, surroundings.images());
    let (names, verdicts): (Vec<String>, Vec<Verdict>) = cases
        .iter()
        .zip(trials)
        .filter(|(_, trial)| trial.verdict != Verdict::Passes)
        .map(|(case, trial)| (case.name.clone(), trial.verdict))
        .unzip();
    let report = Report {
        cases: names,
        columns: vec![Column {
            builder: "kiln".to_owned(),
            verdicts: Ok(verdicts),
        }],
    };
    assert!(report.is_fine(), "{report}");
}
