//! What a build did, written down for `kiln why` and for the next build to compare itself with.

use std::path::Path;
use std::time::Duration;

use kiln_oci::Timestamp;
use kiln_parser::LineIndex;
use kiln_solver::{Build, BuildDefinition, BuildEnd, BuiltStep, Graph, Reporter, StepAccount};

use crate::remote_sources::shown;
use crate::request::{BuildRequest, ContextSource, DockerfileSource};
use crate::stores::Stores;
use crate::{Error, SourceText};

/// What a standard input is called.
const STANDARD_INPUT: &str = "-";

/// Says what a request builds, as the journal calls it.
pub(super) fn definition(request: &BuildRequest) -> BuildDefinition {
    let (context, directory) = match &request.context {
        ContextSource::Directory(directory) => (canonical(directory), Some(directory)),
        ContextSource::Remote(address) => (shown(address), None),
        ContextSource::Archive { .. } | ContextSource::Empty => (STANDARD_INPUT.to_owned(), None),
    };
    let dockerfile = match (&request.dockerfile, directory) {
        (DockerfileSource::Path(path), _) => canonical(path),
        (DockerfileSource::Remote(address), _) => shown(address),
        (DockerfileSource::Text(_), _) => STANDARD_INPUT.to_owned(),
        (DockerfileSource::Default, Some(directory)) => canonical(&directory.join("Dockerfile")),
        (DockerfileSource::Default, None) => "Dockerfile".to_owned(),
    };
    BuildDefinition {
        context,
        dockerfile,
        target: request.target.clone(),
        platforms: match request.platforms.as_slice() {
            [] => vec![kiln_oci::Platform::host()],
            platforms => platforms.to_vec(),
        },
    }
}

/// Returns the one name of a path; a path to nothing keeps its own.
pub(crate) fn canonical(path: &Path) -> String {
    let found = path.canonicalize();
    let path = found.as_deref().unwrap_or(path);
    path.display().to_string()
}

/// A build that has come to its end.
pub(super) struct EndedBuild<'a, T> {
    pub(super) definition: BuildDefinition,
    pub(super) begun: Timestamp,
    pub(super) took: Duration,
    pub(super) graph: &'a Graph,
    pub(super) source_text: &'a SourceText,
    pub(super) steps: Vec<StepAccount>,
    pub(super) result: &'a Result<T, Error>,
}

/// Writes down what a build did.
pub(super) fn remember<T>(stores: &Stores, ended: EndedBuild<'_, T>, reporter: &Reporter<'_>) {
    let lines = LineIndex::new(&ended.source_text.bytes);
    let steps = ended.graph.steps().zip(ended.steps);
    let step = |((_, step), account): ((_, &kiln_solver::Step), StepAccount)| BuiltStep {
        name: step.name.clone(),
        stage: step.stage.clone(),
        line: lines.line(step.span),
        key: account.key,
        fate: account.fate,
        because: account.because,
    };
    let steps: Vec<BuiltStep> = steps.map(step).collect();
    let compared_with = compared_with(stores, &ended.definition, &steps);
    let build = Build {
        definition: ended.definition,
        compared_with,
        begun: ended.begun,
        took: ended.took,
        end: match ended.result {
            Ok(_) => BuildEnd::Succeeded,
            Err(Error::Cancelled) => BuildEnd::Cancelled,
            Err(error) => BuildEnd::Failed(error.full_message()),
        },
        steps,
    };
    // An image is worth more than the story of how it was made.
    if let Err(error) = stores.journal.write(&build) {
        reporter.warn(format!(
            "what this build did cannot be written down: {error}"
        ));
    }
}

/// Returns the Dockerfile in another place whose build the reasons of these steps are about.
fn compared_with(
    stores: &Stores,
    definition: &BuildDefinition,
    steps: &[BuiltStep],
) -> Option<String> {
    let has_reasons = steps.iter().any(|step| !step.because.is_empty());
    if !has_reasons || stores.journal.previous(definition).is_some() {
        return None;
    }
    let names: Vec<&str> = steps.iter().map(|step| &*step.name).collect();
    Some(stores.journal.alike(&names)?.definition.dockerfile)
}
