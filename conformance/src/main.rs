//! Tries the cases of `testdata/conformance` with kiln and with other builders, and prints a
//! table.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use kiln_conformance::{
    BuildKit, Buildah, Builder, Case, Column, Error, Kiln, Peer, Report, Surroundings, Verdict,
    hold, load, save,
};

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

    /// Writes what came of it into the cases, for somebody to check against the specification.
    #[arg(long)]
    bless: bool,

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
        Ok(report) => {
            print(&report.to_string());
            if report.is_fine() {
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

fn try_all(arguments: &Arguments) -> Result<Report, Error> {
    let mut cases = load()?;
    cases.retain(|case| {
        arguments.only.is_empty() || arguments.only.iter().any(|part| case.name.contains(part))
    });
    let kiln = std::path::absolute(&arguments.kiln).map_err(|source| Error::File {
        path: arguments.kiln.clone(),
        source,
    })?;
    let surroundings = Surroundings::new(&kiln)?;
    let registry = surroundings.registry();
    let mut columns = Vec::new();
    for &name in &arguments.builders {
        say(&format!("{} cases with {name:?} …", cases.len()));
        let (title, peer, builder): (&str, _, Result<Box<dyn Builder>, Error>) = match name {
            Name::Kiln => ("kiln", None, Ok(Box::new(Kiln::new(&kiln, registry)))),
            Name::Buildah => (
                "buildah",
                Some(Peer::Buildah),
                Buildah::new(registry, surroundings.names()).map(|buildah| Box::new(buildah) as _),
            ),
            Name::Buildkit => (
                "BuildKit",
                Some(Peer::BuildKit),
                BuildKit::new(registry, surroundings.names()).map(|docker| Box::new(docker) as _),
            ),
        };
        let verdicts = match builder {
            Ok(builder) => Ok(hold_round(
                arguments,
                &*builder,
                peer,
                &mut cases,
                &surroundings,
            )?),
            Err(Error::Lacking(skip)) => Err(skip.to_string()),
            Err(error) => return Err(error),
        };
        columns.push(Column {
            builder: title.to_owned(),
            verdicts,
        });
    }
    Ok(Report {
        cases: cases.into_iter().map(|case| case.name).collect(),
        columns,
    })
}

fn hold_round(
    arguments: &Arguments,
    builder: &dyn Builder,
    peer: Option<Peer>,
    cases: &mut [Case],
    surroundings: &Surroundings,
) -> Result<Vec<Verdict>, Error> {
    let trials = hold(builder, peer, cases, surroundings.images());
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
