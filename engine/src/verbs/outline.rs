//! What a build can be given (`--call=outline`): arguments, secrets, agents.

use std::collections::{BTreeMap, BTreeSet};

use kiln_parser::mount::{MountKind, MountSpec};
use kiln_parser::{
    Arg, Dockerfile, Instruction, InstructionKind, Quoting, Site, Span, Text, description, expand,
    mask_logins_in,
};
use kiln_solver::{Op, Plan, Reporter, StageScope, Survey, survey};

use crate::bases::Resolver;
use crate::building::{check_syntax, plan_error, plan_options};
use crate::definition::{self, Definition};
use crate::io::Io;
use crate::outside::Outside;
use crate::request::BuildRequest;
use crate::stores::Stores;
use crate::verbs::targets::{Target, target};
use crate::{Error, SourceText};

/// What the build of a target can be given.
#[derive(Debug)]
pub struct Outline {
    /// The target.
    pub target: Target,
    /// The build arguments that change something, in file order.
    pub arguments: Vec<OutlinedArgument>,
    /// The secrets that are asked for, in file order.
    pub secrets: Vec<OutlinedNeed>,
    /// The agents that are asked for, in file order.
    pub agents: Vec<OutlinedNeed>,
    /// The Dockerfile.
    pub source_text: SourceText,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlinedArgument {
    /// Its name.
    pub name: String,
    /// Its value as things are: given, or the default.
    pub value: Option<String>,
    /// What the comment above says of it.
    pub description: Option<String>,
    /// The instruction that declares it.
    pub lines: Span,
}

/// A secret, or an agent behind a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlinedNeed {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// The first instruction that asks for it.
    pub lines: Span,
}

/// Says what the build of the target can be given.
///
/// # Errors
/// When the target could not be built, as far as can be told without building it.
pub fn outline(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    io: &Io<'_>,
) -> Result<Outline, Error> {
    let reporter = Reporter::new(io.progress());
    let Definition {
        source_text,
        dockerfile,
        ..
    } = definition::look(stores, outside, request, (&reporter, io))?;
    check_syntax(request, &source_text)?;
    let resolver = Resolver {
        stores,
        client: &outside.client,
        pull: request.pull,
        reporter: &reporter,
    };
    let options = plan_options(request)?;
    let mut survey = survey(&dockerfile, &options, StageScope::Target, &resolver);
    let no_plan = Err(kiln_solver::PlanError::Input(Vec::new()));
    let plan = std::mem::replace(&mut survey.plan, no_plan)
        .map_err(|error| plan_error(error, &source_text, &dockerfile))?;
    let stage = match request.target.as_deref() {
        Some(name) => dockerfile.stages.iter().rfind(|stage| {
            let written = stage.from.name.as_ref();
            written.is_some_and(|written| written.raw.eq_ignore_ascii_case(name))
        }),
        None => dockerfile.stages.last(),
    };
    let (secrets, agents) = needs(&dockerfile, &survey, &plan);
    Ok(Outline {
        target: target(stage.expect("what was planned has a target")),
        arguments: arguments(&dockerfile, &survey, &request.build_args),
        secrets,
        agents,
        source_text,
    })
}

/// Returns the arguments of the stages, and the global ones that the stages make use of. A name that
/// is declared more than once is shown as it is declared first, with the last value. A stage that
/// takes over what is known without it, the platform for instance, declares nothing that could be
/// given.
fn arguments(
    dockerfile: &Dockerfile,
    survey: &Survey,
    given: &BTreeMap<String, String>,
) -> Vec<OutlinedArgument> {
    let used = used_globals(dockerfile, survey);
    let sites: Vec<&Arg> = dockerfile
        .global_args
        .iter()
        .chain(
            instructions(dockerfile, survey).filter_map(|instruction| match &instruction.kind {
                InstructionKind::Arg(arg) => Some(arg),
                _ => None,
            }),
        )
        .collect();
    let mut shown: Vec<OutlinedArgument> = Vec::new();
    for declared in &survey.arguments {
        let found = sites.iter().find_map(|arg| {
            let mut names = arg.declarations.iter();
            let (_, default) = names.find(|(name, _)| name.span == declared.span)?;
            Some((&arg.site, default))
        });
        // Triggers of a base declare arguments that stand nowhere in this file.
        let Some((site, default)) = found else {
            continue;
        };
        let first_stage = dockerfile.stages.first();
        let is_global =
            first_stage.is_none_or(|stage| site.span.start < stage.from.site.span.start);
        let takes_over =
            default.is_none() && declared.value.is_some() && !given.contains_key(&declared.name);
        if (is_global && !used.contains(&declared.name)) || (!is_global && takes_over) {
            continue;
        }
        let said = description(&site.comments, &declared.name).map(str::to_owned);
        let value = declared.value.as_deref().map(mask_logins_in);
        match shown.iter_mut().find(|shown| shown.name == declared.name) {
            Some(shown) => {
                shown.value = value.or_else(|| shown.value.take());
                shown.description = shown.description.take().or(said);
            }
            None => shown.push(OutlinedArgument {
                name: declared.name.clone(),
                value,
                description: said,
                lines: site.span,
            }),
        }
    }
    shown.sort_by_key(|argument| argument.lines.start);
    shown
}

/// Returns the global arguments that a `FROM` of the stages needs, that a stage imports, or that one
/// of these is made from.
fn used_globals(dockerfile: &Dockerfile, survey: &Survey) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for index in &survey.stages {
        let from = &dockerfile.stages[*index].from;
        used.extend(variables_in(&from.image));
        used.extend(from.platform.iter().flat_map(variables_in));
    }
    for instruction in instructions(dockerfile, survey) {
        if let InstructionKind::Arg(arg) = &instruction.kind {
            let bare = arg
                .declarations
                .iter()
                .filter(|(_, default)| default.is_none());
            used.extend(bare.map(|(name, _)| name.raw.clone()));
        }
    }
    // Defaults look back only, so one pass from the last to the first finds all.
    for (name, default) in dockerfile
        .global_args
        .iter()
        .rev()
        .flat_map(|arg| &arg.declarations)
    {
        if used.contains(&name.raw) {
            used.extend(default.iter().flat_map(variables_in));
        }
    }
    used
}

/// Returns the names a word uses.
fn variables_in(text: &Text) -> BTreeSet<String> {
    let expansion = expand(&text.raw, '\\', Quoting::Word, &|_| None);
    expansion
        .map(|expansion| expansion.undefined.into_iter().collect())
        .unwrap_or_default()
}

/// Returns the secrets and the agents that the stages ask for.
fn needs(
    dockerfile: &Dockerfile,
    survey: &Survey,
    plan: &Plan,
) -> (Vec<OutlinedNeed>, Vec<OutlinedNeed>) {
    let (mut secrets, mut agents) = (Vec::new(), Vec::new());
    for instruction in instructions(dockerfile, survey) {
        let InstructionKind::Run(run) = &instruction.kind else {
            continue;
        };
        let variables = environment(plan, &instruction.site);
        for mount in &run.mounts {
            let fields: Vec<(String, Option<String>)> = mount
                .fields
                .iter()
                .map(|(key, value)| {
                    let value = value.as_ref().map(|value| with_values(value, &variables));
                    (key.clone(), value)
                })
                .collect();
            // What makes no mount is an error of the plan.
            let Ok(spec) = MountSpec::from_fields(&fields) else {
                continue;
            };
            match spec.kind {
                MountKind::Secret { id, required, .. } => {
                    note(&mut secrets, id, required, &instruction.site);
                }
                MountKind::Ssh { id, required, .. } => {
                    note(&mut agents, id, required, &instruction.site);
                }
                MountKind::Bind | MountKind::Cache { .. } | MountKind::Tmpfs { .. } => {}
            }
        }
    }
    (secrets, agents)
}

fn note(needs: &mut Vec<OutlinedNeed>, name: String, required: bool, site: &Site) {
    match needs.iter_mut().find(|need| need.name == name) {
        Some(need) => need.required |= required,
        None => needs.push(OutlinedNeed {
            name,
            required,
            lines: site.span,
        }),
    }
}

/// Returns the variables that a `RUN` is planned with.
fn environment(plan: &Plan, site: &Site) -> BTreeMap<String, String> {
    let steps = plan.graph.steps().map(|(_, step)| step);
    let mut own = steps.filter(|step| step.span == site.span);
    own.find_map(|step| match &step.op {
        Op::Run(run) => Some(run.env.iter().cloned().collect()),
        _ => None,
    })
    .unwrap_or_default()
}

fn with_values(value: &str, variables: &BTreeMap<String, String>) -> String {
    let lookup = |name: &str| variables.get(name).cloned();
    expand(value, '\\', Quoting::Word, &lookup)
        .map_or_else(|_| value.to_owned(), |expansion| expansion.value)
}

/// Returns the instructions of the stages that were planned.
fn instructions<'a>(
    dockerfile: &'a Dockerfile,
    survey: &'a Survey,
) -> impl Iterator<Item = &'a Instruction> {
    let stages = survey.stages.iter().map(|index| &dockerfile.stages[*index]);
    stages.flat_map(|stage| &stage.instructions)
}
