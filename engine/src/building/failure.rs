//! Why a build failed, with the place in the Dockerfile and what to do about it.

use kiln_parser::{Diagnostic, Dockerfile, suggest};
use kiln_solver::{CopySelectError, Fault, PlanError, SolveError, StepError, Suggestion};

use crate::checks::Sites;
use crate::error::unpack_hint;
use crate::shared_cache::fetch::gone;
use crate::{Error, ErrorKind, SourceText};

pub(crate) fn plan_error(
    error: PlanError,
    source_text: &SourceText,
    dockerfile: &Dockerfile,
) -> Error {
    match error {
        PlanError::Input(diagnostics) => {
            let sites = Sites::of(dockerfile);
            let whole = |diagnostic: Diagnostic| match sites.at(diagnostic.span) {
                Some(site) => diagnostic.within(site.span),
                None => diagnostic,
            };
            Error::Dockerfile {
                source_text: source_text.clone(),
                diagnostics: diagnostics.into_iter().map(whole).collect(),
            }
        }
        PlanError::Base {
            name,
            canonical,
            span,
            source,
        } => Error::Base {
            source_text: source_text.clone(),
            span,
            message: format!("{name}: failed to resolve source metadata for {canonical}"),
            similar: similar_name(&name, dockerfile),
            kind: fault_kind(source.fault),
            hint: source.hint,
            source: source.cause,
        },
    }
}

/// Returns the stage, or the well-known image, that may be meant by a name that no image has.
fn similar_name(name: &str, dockerfile: &Dockerfile) -> Option<String> {
    const KNOWN: [&str; 7] = [
        "alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora",
    ];
    let written = dockerfile.stages.iter();
    let written = written.filter_map(|stage| stage.from.name.as_ref());
    let names = written.map(|name| name.raw.to_lowercase());
    let names: Vec<String> = names.chain(KNOWN.map(str::to_owned)).collect();
    suggest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

pub(crate) fn solve_error(error: SolveError, source_text: &SourceText) -> Error {
    match error {
        SolveError::Cancelled => Error::Cancelled,
        SolveError::Lost(layer) => gone(layer),
        SolveError::Step {
            name, span, source, ..
        } => {
            let (kind, exit_code) = match &source {
                StepError::Process { code, .. } => (ErrorKind::Step, Some(*code)),
                StepError::Select(_)
                | StepError::Place(_)
                | StepError::User(_)
                | StepError::Unpack(_)
                | StepError::Secret(_)
                | StepError::Agent(_)
                | StepError::Device(_)
                | StepError::Cdi(_)
                | StepError::NoRootForNames => (ErrorKind::Invalid, None),
                StepError::Remote(error) => (fault_kind(error.fault), None),
                StepError::Layers(error) => (fault_kind(error.fault), None),
                _ => (ErrorKind::Environment, None),
            };
            Error::Step {
                source_text: source_text.clone(),
                span,
                name,
                hint: step_hint(&source),
                source: Box::new(source),
                kind,
                exit_code,
            }
        }
    }
}

fn fault_kind(fault: Fault) -> ErrorKind {
    match fault {
        Fault::Input => ErrorKind::Invalid,
        Fault::Environment => ErrorKind::Environment,
    }
}

/// Returns what would have made a step succeed.
fn step_hint(error: &StepError) -> Option<String> {
    Some(match error {
        StepError::Secret(id) => format!("give it with: kiln build --secret id={id},src=FILE"),
        StepError::Agent(id) => format!("give it with: kiln build --ssh {id}"),
        StepError::Device(name) => format!("allow it with: kiln build --allow device={name}"),
        StepError::Select(CopySelectError::Missing { path, meant }) => match meant {
            Suggestion::Similar(similar) => format!("did you mean {similar}?"),
            Suggestion::Ignored => {
                let path = path.to_string();
                let path = path.trim_start_matches('/');
                format!("{path} is in the context, but .dockerignore excludes it")
            }
            Suggestion::LinkTarget { link, target } => {
                format!("{link} is a link, and leads to {target}, which is not there")
            }
            Suggestion::Unknown => {
                "files are looked for in the context, or where --from says".to_owned()
            }
        },
        _ => return unpack_hint(error),
    })
}
