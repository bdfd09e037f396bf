//! Tries the cases of `testdata/conformance` with kiln and with other builders, and prints a
//! table.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use kiln_conformance::{
    BuildKit, Buildah, Builder, Case, Column, Contest, Error, Fixtures, Made, Peer, Report,
    Verdict, hold, load, make, random_case, save,
};
use kiln_testbed::{Kiln, Scratch};

/// Tries the cases of testdata/conformance with kiln and with other builders.
///
/// Fails if anything is neither as a case expects nor as it lists for a builder.
#[derive(Debug, Parser)]
#[command(name = "kiln-conformance")]
struct Arguments {
    /// The kiln to try.
    #[arg(long, value_name = "PATH", default_value = "target/debug/kiln")]
    kiln: PathBuf,

    /// Cases to try: those whose name holds one of these parts.
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    only: Vec<String>,

    /// Builders to try.
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        value_enum,
        default_value = "kiln,buildah,buildkit"
    )]
    builders: Vec<Name>,

    /// Writes what came of it into the cases, to be checked against the specification.
    #[arg(long)]
    bless: bool,

    /// Copies at random that kiln and the others are compared by.
    #[arg(long, value_name = "NUMBER", default_value_t = 40)]
    random: u64,

    /// The seed of the first of them; each further one has the next.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,

    /// Prints what the builders said about cases that differ.
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Kiln,
    Buildah,
    Buildkit,
}

fn main() -> ExitCode {
    match try_all(&Arguments::parse()) {
        Ok((report, contests)) => {
            print(&report.to_string());
            for contest in &contests {
                print(&format!("\n{contest}"));
            }
            if report.is_fine() && contests.iter().all(Contest::is_fine) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn try_all(arguments: &Arguments) -> Result<(Report, Vec<Contest>), Error> {
    let mut cases = load()?;
    cases.retain(|case| {
        arguments.only.is_empty() || arguments.only.iter().any(|part| case.name.contains(part))
    });
    let kiln = std::path::absolute(&arguments.kiln).map_err(|source| Error::File {
        path: arguments.kiln.clone(),
        source,
    })?;
    let fixtures = Fixtures::new(&kiln)?;
    let registry = fixtures.registry();
    let scratch = Scratch::new();
    let copies: Result<Vec<Case>, Error> = (0..arguments.random)
        .map(|number| random_case(arguments.seed + number, scratch.path()))
        .collect();
    let copies = copies?;
    let mut made_by_kiln: Option<Vec<Made>> = None;
    let mut contests = Vec::new();
    let mut columns = Vec::new();
    for &name in &arguments.builders {
        say(&format!("{} cases with {name:?} …", cases.len()));
        let (title, peer, builder): (&str, _, Result<Box<dyn Builder>, Error>) = match name {
            Name::Kiln => {
                let kiln = Kiln::new(&kiln);
                kiln.knows(registry);
                ("kiln", None, Ok(Box::new(kiln)))
            }
            Name::Buildah => (
                "buildah",
                Some(Peer::Buildah),
                Buildah::new(registry, fixtures.names()).map(|buildah| Box::new(buildah) as _),
            ),
            Name::Buildkit => (
                "BuildKit",
                Some(Peer::BuildKit),
                BuildKit::new(registry, fixtures.names()).map(|docker| Box::new(docker) as _),
            ),
        };
        let verdicts = match builder {
            Ok(builder) => {
                match (peer, &made_by_kiln) {
                    (None, _) => made_by_kiln = Some(make(&*builder, &copies)?),
                    (Some(peer), Some(kiln)) => {
                        let made = make(&*builder, &copies)?;
                        contests.push(Contest::of(peer, &copies, kiln, &made)?);
                    }
                    // There is nothing to compare with.
                    (Some(_), None) => {}
                }
                Ok(hold_round(
                    arguments, &*builder, peer, &mut cases, &fixtures,
                )?)
            }
            Err(Error::Lacking(skip)) => Err(skip.to_string()),
            Err(error) => return Err(error),
        };
        columns.push(Column {
            builder: title.to_owned(),
            verdicts,
        });
    }
    let report = Report {
        cases: cases.into_iter().map(|case| case.name).collect(),
        columns,
    };
    Ok((report, contests))
}

fn hold_round(
    arguments: &Arguments,
    builder: &dyn Builder,
    peer: Option<Peer>,
    cases: &mut [Case],
    fixtures: &Fixtures,
) -> Result<Vec<Verdict>, Error> {
    let trials = hold(builder, peer, cases, fixtures.images());
    let mut verdicts = Vec::with_capacity(trials.len());
    for (case, trial) in cases.iter_mut().zip(trials) {
        let is_wrong = matches!(trial.verdict, Verdict::Wrong { .. });
        if arguments.verbose && is_wrong {
            say(&format!(
                "{} with {}:\n{}",
                case.name,
                builder.name(),
                trial.output
            ));
        }
        if arguments.bless && is_wrong {
            *case = trial.blessed;
            save(case)?;
        }
        verdicts.push(trial.verdict);
    }
    Ok(verdicts)
}

/// Tells the person at the terminal how far things are.
#[expect(clippy::print_stderr, reason = "a command reports its progress here")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "a command prints its result here")]
fn print(text: &str) {
    print!("{text}");
}
