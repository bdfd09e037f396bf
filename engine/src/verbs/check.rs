//! Findings about a Dockerfile, without building it.

use kiln_parser::lint::{Rule, lint, rules};
use kiln_parser::{Diagnostic, Dockerfile, Origin, parse};
use kiln_solver::{Plan, Reporter, StageScope, survey};

use crate::bases::Resolver;
use crate::building::{check_syntax, plan_error, plan_options};
use crate::checks::Checks;
use crate::definition::{self, Definition};
use crate::io::Io;
use crate::outside::Outside;
use crate::request::BuildRequest;
use crate::stores::Stores;
use crate::{Error, SourceText};

/// What looking at a Dockerfile came to.
#[derive(Debug)]
pub struct CheckResult {
    /// What the lint rules say, in file order.
    pub findings: Vec<Diagnostic>,
    /// Why the file could not be built, if so.
    pub problem: Option<Error>,
    /// The Dockerfile, for excerpts.
    pub source_text: SourceText,
}

/// Looks at a Dockerfile without building it: at all stages, or at the target and what it needs
/// if there is one. Images it starts from are looked up, since rules ask for their configs.
///
/// # Errors
/// When there is no Dockerfile to be read. That it is wrong is part of the result.
pub fn check(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    io: &Io<'_>,
) -> Result<CheckResult, Error> {
    let reporter = Reporter::new(io.progress());
    let Definition {
        source_text,
        dockerfile,
        ..
    } = match definition::look(stores, outside, request, (&reporter, io)) {
        Ok(definition) => definition,
        Err(Error::Dockerfile {
            source_text,
            diagnostics,
        }) => {
            return Ok(CheckResult {
                findings: found_before(request, &source_text, &diagnostics),
                source_text: source_text.clone(),
                problem: Some(Error::Dockerfile {
                    source_text,
                    diagnostics,
                }),
            });
        }
        Err(error) => return Err(error),
    };
    let mut findings = Vec::new();
    let problem = look(
        stores,
        outside,
        request,
        &source_text,
        &dockerfile,
        &reporter,
        &mut findings,
    )
    .err();
    Ok(CheckResult {
        findings,
        problem,
        source_text,
    })
}

fn look(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    source_text: &SourceText,
    dockerfile: &Dockerfile,
    reporter: &Reporter<'_>,
    findings: &mut Vec<Diagnostic>,
) -> Result<(), Error> {
    check_syntax(request, source_text)?;
    let checks = Checks::new(request, source_text, dockerfile)?;
    let resolver = Resolver {
        stores,
        client: &outside.client,
        pull: request.pull,
        reporter,
    };
    let extent = match request.target {
        Some(_) => StageScope::Target,
        None => StageScope::EveryStage,
    };
    let mut survey = survey(dockerfile, &plan_options(request)?, extent, &resolver);
    if let Ok(plan) = &survey.plan {
        survey.findings.extend(too_many_layers(plan));
    }
    *findings = checks.findings(&survey)?;
    survey
        .plan
        .map_err(|error| plan_error(error, source_text, dockerfile))?;
    checks.judge(findings, &survey.stages)
}

/// Finds images of more layers than Docker runs.
fn too_many_layers(plan: &Plan) -> Option<Diagnostic> {
    /// What its overlay2 driver stacks, below the directory of the container.
    const MOST: usize = 127;
    plan.targets.iter().find_map(|target| {
        let base = target.base.and_then(|manifest| plan.bases.get(&manifest));
        let of_base = base.map_or(0, |(_, image)| image.layers().len());
        let own = target.history.iter().filter(|entry| entry.step.is_some());
        let layers = of_base + own.count();
        let last = plan.graph.step(target.root?);
        (layers > MOST).then(|| rules::too_many_layers(last.span, layers, MOST))
    })
}

/// Returns what rules say of a file with errors: of the text as a whole, and of the instructions up
/// to the first error. Where the text cannot even be cut into instructions, they say nothing.
fn found_before(
    request: &BuildRequest,
    source_text: &SourceText,
    errors: &[Diagnostic],
) -> Vec<Diagnostic> {
    let is_lexing = |error: &Diagnostic| error.origin == Origin::Lexing;
    let end = errors.iter().map(|error| error.lines.end).min();
    let (Some(end), false) = (end, errors.iter().any(is_lexing)) else {
        return Vec::new();
    };
    let dockerfile = parse(&source_text.bytes).dockerfile;
    let Ok(checks) = Checks::new(request, source_text, &dockerfile) else {
        return Vec::new();
    };
    let mut found = lint(&dockerfile, &checks.options);
    found.retain(|finding| match Rule::from_name(finding.code) {
        Some(Rule::NoEmptyContinuation) => true,
        Some(rule) => rule.is_about_one_instruction() && finding.lines.start < end,
        None => false,
    });
    found
}
