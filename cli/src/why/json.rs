//! A build for programs.

use kiln_oci::Platform;
use kiln_solver::{Build, BuildEnd, BuiltStep, Fate};
use serde_json::{Value, json};

use super::words;

/// Returns what `kiln why --json` prints.
pub(super) fn text(build: &Build) -> String {
    let (end, error) = match &build.end {
        BuildEnd::Succeeded => ("succeeded", None),
        BuildEnd::Failed(error) => ("failed", Some(error)),
        BuildEnd::Cancelled => ("cancelled", None),
    };
    let platforms = build.definition.platforms.iter();
    let value = json!({
        "context": build.definition.context,
        "dockerfile": build.definition.dockerfile,
        "target": build.definition.target,
        "platforms": platforms.map(Platform::to_string).collect::<Vec<_>>(),
        "begun": build.begun,
        "seconds": build.took.as_secs_f64(),
        "end": end,
        "error": error,
        "compared_with": build.compared_with,
        "steps": build.steps.iter().map(step).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn step(step: &BuiltStep) -> Value {
    let (outcome, took) = match step.fate {
        Fate::NotNeeded => ("not-needed", None),
        Fate::Hit => ("hit", None),
        Fate::Found => ("found", None),
        Fate::Ran { took } => ("ran", Some(took.as_secs_f64())),
        Fate::Failed => ("failed", None),
        Fate::NotReached => ("not-reached", None),
    };
    let because = step.because.iter().map(|reason| {
        let mut value = serde_json::to_value(reason).expect("a reason is plain data");
        value["text"] = words::sentence(reason).into();
        value
    });
    json!({
        "name": step.name,
        "stage": step.stage,
        "line": step.line,
        "outcome": outcome,
        "seconds": took,
        "because": because.collect::<Vec<_>>(),
    })
}
