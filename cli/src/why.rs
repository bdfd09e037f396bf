//! `kiln why`: what the last build did, step by step, and why it did not find it done.

mod json; // for programs
mod lines; // for people
mod select; // which steps are meant
mod words; // reasons as sentences

use std::path::PathBuf;

use clap::Args;
use kiln_docker::units;
use kiln_engine::{WhichBuild, verbs};
use kiln_oci::Timestamp;
use kiln_solver::{Build, BuildEnd, Fate};

use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::seconds;
use crate::{session, terminal};
pub(crate) use lines::{Layout, Mark, ShownReasons, StepLine, place};

/// What stands below `kiln why --help`.
const AFTER_HELP: &str = "\
STEP is a step's number, the line of its instruction as :LINE, the name of a
stage, or a part of the step's name; all that differed is shown then, and every
file that is known by name.

Examples:
  kiln why                     each step of the last build
  kiln why 3                   the steps numbered 3, of each stage
  kiln why :12                 the instruction in line 12
  kiln why build               the steps of stage build
  kiln why 'npm install'       the steps that mention it
  kiln why --context app --json

--json prints an object: context, dockerfile, target and platforms say what was
built; begun (RFC 3339), seconds, end (succeeded, failed or cancelled) and error
how that went; compared_with is the Dockerfile in another place whose build it
was compared with, if this one was never built. steps is a list of objects with
name, stage, line, outcome (hit: the result was there; found: it was there once
the inputs had come out as before; ran; failed; not-needed: a later result made
it unnecessary; not-reached), seconds if it ran, and because: the reasons, the
most telling one first, each with its kind, the facts and a text.";

/// Say why steps of the last build ran.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP, override_usage = "kiln why [OPTIONS] [STEP]")]
pub(crate) struct WhyArguments {
    /// Only these steps, with all that is known of them
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// The last build of this context instead of the last one of all
    #[arg(long, value_name = "PATH")]
    context: Option<PathBuf>,
    /// The last build of this Dockerfile
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The last build of this stage
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows what the last build did.
pub(crate) fn why(arguments: &WhyArguments, environment: &Environment) -> Outcome {
    let which = WhichBuild {
        context: arguments.context.clone(),
        dockerfile: arguments.file.clone(),
        target: arguments.target.clone(),
    };
    let session = session::open(environment)?;
    let Some(mut build) = verbs::last_build(&session.stores, &which) else {
        return Err(if which == WhichBuild::default() {
            Failure::new("no build is remembered here")
        } else {
            Failure::new("no build of that is remembered here")
                .with_hint("without options, kiln why is about the last build of all")
        });
    };
    let extent = match &arguments.step {
        None => ShownReasons::First,
        Some(step) => {
            build.steps = select::select(build.steps, step).map_err(|names| {
                Failure::new(format!("the build has no step {step:?}")).with_hint(format!(
                    "it has these; name one by its number, its stage, :LINE or a part of it:\n{}",
                    names.join("\n")
                ))
            })?;
            ShownReasons::All
        }
    };
    if arguments.json {
        terminal::print(&json::text(&build))?;
        return Ok(Exit::SUCCESS);
    }
    let layout = Layout::of_stdout(environment);
    let mut text = String::new();
    if extent == ShownReasons::First {
        text.push_str(&layout.paragraph(&headline(&build, Timestamp::now())));
        text.push('\n');
    }
    for step in &build.steps {
        let because = words::sentences(&step.because, extent);
        text.push_str(&layout.step(&line(step), &because));
    }
    if let (BuildEnd::Failed(error), ShownReasons::First) = (&build.end, extent) {
        text.push_str(&layout.paragraph(&format!("\nIt failed: {error}")));
    }
    terminal::print_styled(&text)?;
    Ok(Exit::SUCCESS)
}

/// Says which build it was and what it came to.
fn headline(build: &Build, now: Timestamp) -> String {
    let count = |is: fn(&Fate) -> bool| build.steps.iter().filter(|step| is(&step.fate)).count();
    let ran = count(|fate| matches!(fate, Fate::Ran { .. } | Fate::Failed));
    let steps = build.steps.len();
    let what = match (ran, steps) {
        (0, _) if build.end == BuildEnd::Succeeded => "nothing had to run".to_owned(),
        (0, steps) => format!("none of {steps} steps came to its end"),
        (ran, steps) => format!("{ran} of {steps} steps ran"),
    };
    let ended = match build.end {
        BuildEnd::Succeeded => "Built",
        BuildEnd::Failed(_) => "Failed to build",
        BuildEnd::Cancelled => "Cancelled building",
    };
    let age = units::age(now.since(build.begun)).to_lowercase();
    let target = build.definition.target.as_ref();
    let target = target.map_or_else(String::new, |target| format!("{target} of "));
    let dockerfile = match build.definition.dockerfile.as_str() {
        "-" => "a Dockerfile on standard input",
        path => path,
    };
    let took = seconds(build.took);
    let compared = match &build.compared_with {
        Some(other) => format!("; compared with {other}, which has the same steps"),
        None => String::new(),
    };
    format!("{ended} {target}{dockerfile} {age} ago in {took}: {what}{compared}")
}

fn line(step: &kiln_solver::BuiltStep) -> StepLine<'_> {
    let (mark, outcome) = match step.fate {
        Fate::Hit => (Mark::Hit, "hit".to_owned()),
        Fate::Found => (Mark::Hit, "hit, its inputs came out as before".to_owned()),
        Fate::NotNeeded => (Mark::Nothing, "not needed".to_owned()),
        Fate::NotReached => (Mark::Nothing, "not reached".to_owned()),
        Fate::Ran { took } => (Mark::Ran, format!("ran {}", seconds(took))),
        Fate::Failed => (Mark::Failed, "failed".to_owned()),
    };
    StepLine {
        mark,
        name: &step.name,
        outcome,
    }
}

/// Returns the reasons of a step that is only listed.
pub(crate) fn first_sentence(because: &[kiln_solver::Reason]) -> Vec<String> {
    words::sentences(because, ShownReasons::First)
}
