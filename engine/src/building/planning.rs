//! From what a build is made of to the steps it consists of.

use kiln_parser::Diagnostic;
use kiln_solver::{Plan, Reporter, StageScope, survey};
use kiln_threads::Stop;

use super::failure::plan_error;
use super::options::{check_syntax, plan_options};
use crate::Error;
use crate::bases::Resolver;
use crate::checks::Checks;
use crate::definition::Definition;
use crate::epoch::{self, Times};
use crate::outside::Outside;
use crate::remote_sources::RemoteSources;
use crate::request::BuildRequest;
use crate::stores::Stores;

/// What a definition comes to.
pub(super) struct PlannedBuild {
    pub(super) plan: Plan,
    /// What the checks say about the Dockerfile.
    pub(super) findings: Vec<Diagnostic>,
}

/// Plans a build, tells what the checks say and lets them refuse it.
///
/// # Errors
/// When the Dockerfile asks for another language, cannot be planned, names a base image that cannot
/// be resolved, or breaks a rule that counts as an error.
pub(super) fn plan_build(
    (stores, outside): (&Stores, &Outside),
    request: &BuildRequest,
    definition: &Definition,
    remotes: &RemoteSources<'_>,
    reporter: &Reporter<'_>,
    stop: &Stop,
) -> Result<PlannedBuild, Error> {
    let Definition {
        source_text,
        dockerfile,
        ..
    } = definition;
    check_syntax(request, source_text)?;
    let checks = Checks::new(request, source_text, dockerfile)?;
    let mut options = plan_options(request)?;
    options.epoch = epoch::find(
        request,
        source_text,
        dockerfile,
        &options,
        &Times {
            context: definition.time,
            remotes,
            reporter,
            stop,
        },
    )?;
    let resolver = Resolver {
        stores,
        client: &outside.client,
        pull: request.pull,
        reporter,
    };
    let survey = survey(dockerfile, &options, StageScope::Target, &resolver);
    let findings = checks.findings(&survey)?;
    checks.tell(&findings, reporter);
    let plan = survey
        .plan
        .map_err(|error| plan_error(error, source_text, dockerfile))?;
    checks.judge(&findings, &survey.stages)?;
    Ok(PlannedBuild { plan, findings })
}
