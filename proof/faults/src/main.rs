//! Lets faults loose on kiln and says what it did not keep.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use kiln_faults::{Bounds, all};

/// Lets faults loose on kiln: after each, what it promised must hold.
#[derive(Debug, Parser)]
#[command(name = "kiln-faults")]
struct Arguments {
    /// The kiln to try.
    #[arg(long, value_name = "PATH", default_value = "target/debug/kiln")]
    kiln: PathBuf,

    /// Kinds of fault: those whose name holds one of these parts.
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    only: Vec<String>,

    /// Trials of each kind, at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    trials: u32,

    /// Seconds for all kinds together.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    seconds: u64,

    /// Where chance starts.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let kiln = match std::path::absolute(&arguments.kiln) {
        Ok(kiln) if kiln.is_file() => kiln,
        _ => {
            print(&format!(
                "error: {} is no program",
                arguments.kiln.display()
            ));
            return ExitCode::FAILURE;
        }
    };
    let scenarios = all().into_iter().filter(|scenario| {
        let parts = &arguments.only;
        parts.is_empty() || parts.iter().any(|part| scenario.name().contains(part))
    });
    let scenarios: Vec<_> = scenarios.collect();
    let begun = Instant::now();
    let mut is_fine = true;
    for (position, scenario) in scenarios.iter().enumerate() {
        let rest = Duration::from_secs(arguments.seconds).saturating_sub(begun.elapsed());
        let left: u32 = scenarios[position..]
            .iter()
            .map(|scenario| scenario.share())
            .sum();
        let bounds = Bounds {
            trials: arguments.trials,
            time: rest * scenario.share() / left,
            seed: arguments.seed,
        };
        match scenario.run(&kiln, &bounds) {
            Ok(tally) => {
                is_fine &= tally.failures.is_empty();
                print(&format!("{}: {tally}", scenario.name()));
            }
            Err(skip) => print(&format!("{}: skipped: {skip}", scenario.name())),
        }
    }
    if is_fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(clippy::print_stdout, reason = "a command prints its result here")]
fn print(line: &str) {
    println!("{line}");
}
