//! What a build is made of: its Dockerfile, its context, its ignore file.
//!
//! A context that is not a directory of the user's (an archive, a repository, something behind a
//! URL) becomes one: unpacked or checked out in the state directory, and gone with the build.

mod context; // where the files are
mod dockerfile; // where the instructions are
mod file; // reading what says how to build
mod ignore; // rules for files that do not exist for a build
mod place; // what kinds of contexts there are

use kiln_oci::Timestamp;
use kiln_parser::{Dockerfile, Severity, parse};
use kiln_solver::{Context, Reporter, VertexEnd};
use kiln_threads::Stop;

pub(crate) use self::ignore::{ignore_rules, load_ignore_file};
use self::place::ContextPlace;
use crate::agents::BuildAgents;
use crate::io::Io;
use crate::outside::Outside;
use crate::remote_sources::RemoteSources;
use crate::request::BuildRequest;
use crate::stores::Stores;
use crate::{Error, SourceText};

/// What a build is made of.
#[derive(Debug)]
pub(crate) struct Definition {
    /// The Dockerfile as it was written.
    pub(crate) source_text: SourceText,
    /// The Dockerfile as it was understood.
    pub(crate) dockerfile: Dockerfile,
    /// The files; none if there are none.
    pub(crate) context: Option<Context>,
    /// When the context was made, if it came from elsewhere and says so: the commit's time,
    /// `Last-Modified`, or that of the newest member of the archive.
    pub(crate) time: Option<Timestamp>,
    /// Keeps what was fetched for this build.
    _place: ContextPlace,
}

/// Finds out what a build is made of.
///
/// # Errors
/// When something is not there, cannot be fetched, or is not a Dockerfile.
pub(crate) fn prepare(
    request: &BuildRequest,
    remotes: &RemoteSources<'_>,
    (reporter, io): (&Reporter<'_>, &Io<'_>),
    stop: &Stop,
) -> Result<Definition, Error> {
    let found = context::find(request, remotes, (reporter, io), stop)?;
    let source_text = dockerfile::read(request, &found.place, remotes, reporter, stop)?;
    let vertex = reporter.start(&format!(
        "[internal] load build definition from {}",
        source_text.name
    ));
    let parsed = parse(&source_text.bytes);
    let is_wrong = |d: &kiln_parser::Diagnostic| d.severity == Severity::Error;
    if parsed.diagnostics.iter().any(is_wrong) {
        vertex.end(VertexEnd::Failed("the Dockerfile has errors".to_owned()));
        return Err(Error::Dockerfile {
            source_text,
            diagnostics: parsed.diagnostics,
        });
    }
    vertex.end(VertexEnd::Done);
    Ok(Definition {
        source_text,
        dockerfile: parsed.dockerfile,
        context: context::of(request, &found.place)?,
        time: found.time,
        _place: found.place,
    })
}

/// As [`prepare`], for verbs that look at a Dockerfile and build nothing.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn look(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    (reporter, io): (&Reporter<'_>, &Io<'_>),
) -> Result<Definition, Error> {
    let agents = BuildAgents::new(&stores.store, &request.agents)?;
    let remotes = RemoteSources {
        stores,
        outside,
        secrets: &request.secrets,
        agents: &agents,
        epoch: request.epoch,
    };
    prepare(request, &remotes, (reporter, io), stores.stop())
}
