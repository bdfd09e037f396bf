//! The stages of a Dockerfile as what can be built (`--call=targets`).

use kiln_parser::{Stage, description};
use kiln_solver::Reporter;

use crate::definition::{self, Definition};
use crate::io::Io;
use crate::outside::Outside;
use crate::request::BuildRequest;
use crate::stores::Stores;
use crate::{Error, SourceText};

/// What can be built.
#[derive(Debug)]
pub struct Targets {
    /// The stages in file order; the last one is built unless another is named.
    pub targets: Vec<Target>,
    /// The Dockerfile.
    pub source_text: SourceText,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in lower case, if it has one.
    pub name: Option<String>,
    /// What the comment above says of it.
    pub description: Option<String>,
    /// What it starts from, as written.
    pub base: String,
    /// Its `--platform`, as written.
    pub platform: Option<String>,
    /// Its `FROM` line.
    pub lines: kiln_parser::Span,
}

/// Lists what can be built from a Dockerfile. Nothing but the file is looked at.
///
/// # Errors
/// When there is no Dockerfile, or it cannot be parsed.
pub fn targets(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    io: &Io<'_>,
) -> Result<Targets, Error> {
    let Definition {
        source_text,
        dockerfile,
        ..
    } = definition::look(
        stores,
        outside,
        request,
        (&Reporter::new(io.progress()), io),
    )?;
    let targets = dockerfile.stages.iter().map(target).collect();
    Ok(Targets {
        targets,
        source_text,
    })
}

/// Describes a stage.
pub(crate) fn target(stage: &Stage) -> Target {
    let from = &stage.from;
    let name = from.name.as_ref().map(|name| name.raw.to_lowercase());
    let described = name
        .as_deref()
        .and_then(|name| description(&from.site.comments, name));
    Target {
        description: described.map(str::to_owned),
        name,
        base: from.image.raw.clone(),
        platform: from.platform.as_ref().map(|platform| platform.raw.clone()),
        lines: from.site.span,
    }
}
