//! Where a build's files are.

use std::io::Read as _;

use kiln_oci::Timestamp;
use kiln_parser::{IgnoreRules, remote_source};
use kiln_snapshotter::is_archive;
use kiln_solver::{
    Context, GitDirectory, Lifetime, Remote, RemoteFile, Reporter, Vertex, VertexEnd,
};
use kiln_threads::Stop;
use kiln_tree::Owners;

use super::ignore::ignore_rules;
use super::place::ContextPlace;
use super::{dockerfile, file};
use crate::Error;
use crate::io::Io;
use crate::remote_sources::{RemoteSources, build_error, shown};
use crate::request::{BuildRequest, ContextSource};
use crate::stores::Stores;

/// A context that was found.
pub(super) struct FoundContext {
    pub(super) place: ContextPlace,
    /// When it was made, if it says so.
    pub(super) time: Option<Timestamp>,
}

/// Finds the context, and fetches it if it is elsewhere.
pub(super) fn find(
    request: &BuildRequest,
    remotes: &RemoteSources<'_>,
    (reporter, io): (&Reporter<'_>, &Io<'_>),
    stop: &Stop,
) -> Result<FoundContext, Error> {
    let nothing_known = |place| FoundContext { place, time: None };
    match &request.context {
        ContextSource::Empty => return Ok(nothing_known(ContextPlace::Nowhere)),
        ContextSource::Directory(directory) => {
            if !directory.is_dir() {
                return Err(Error::input(format!(
                    "unable to prepare context: path {:?} not found",
                    directory.display().to_string()
                )));
            }
            return Ok(nothing_known(ContextPlace::Host(directory.clone())));
        }
        ContextSource::Archive { .. } | ContextSource::Remote(_) => {}
    }
    let vertex = reporter.start("[internal] load remote build context");
    let found = match &request.context {
        ContextSource::Archive { beginning } => {
            let name = "the build context on standard input";
            io.read(|rest| unpack(remotes.stores, beginning.chain(rest), name))
        }
        ContextSource::Remote(text) => {
            let keeps = request.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
            let keeps = keeps.is_some_and(|value| matches!(value.as_str(), "1" | "true"));
            fetch(text, keeps, remotes, &vertex, stop)
        }
        ContextSource::Directory(_) | ContextSource::Empty => {
            Ok(nothing_known(ContextPlace::Nowhere))
        }
    };
    match &found {
        Ok(_) => vertex.end(VertexEnd::Done),
        Err(Error::Cancelled) => vertex.end(VertexEnd::Cancelled),
        Err(error) => vertex.end(VertexEnd::Failed(error.full_message())),
    }
    found
}

fn fetch(
    text: &str,
    keeps_git_directory: bool,
    remotes: &RemoteSources<'_>,
    vertex: &Vertex<'_>,
    stop: &Stop,
) -> Result<FoundContext, Error> {
    let doing = || format!("cannot fetch the build context {}", shown(text));
    let failed = |error| build_error(error, &doing(), stop);
    let source = remote_source(text, kiln_parser::SourcePlace::BuildContext)
        .ok_or_else(|| Error::input(format!("{}: neither a repository nor a URL", doing())))?
        .map_err(|error| Error::input_while(doing(), error))?;
    let git_directory = if keeps_git_directory {
        GitDirectory::Keep
    } else {
        GitDirectory::Drop
    };
    match Remote::new(source, git_directory) {
        Remote::Repository(repository) => {
            let checkout = remotes.checkout_context(&repository, vertex, stop);
            let checkout = checkout.map_err(failed)?;
            Ok(FoundContext {
                time: Some(checkout.time),
                place: ContextPlace::Repository(checkout),
            })
        }
        Remote::Download(RemoteFile { url, .. }) => {
            let record = remotes.download(&url, vertex, stop).map_err(failed)?;
            let blobs = &remotes.stores.blobs;
            let open = || {
                let blob = blobs.open(record.content);
                blob.map_err(|error| Error::environment(doing(), error))
            };
            let mut found = if is_archive(open()?) {
                unpack(remotes.stores, open()?, &shown(&url))?
            } else {
                file::check_size(record.size_bytes)
                    .map_err(|error| Error::input_while(doing(), error))?;
                let text = blobs.read(record.content);
                FoundContext {
                    place: ContextPlace::Dockerfile {
                        name: dockerfile::name_of_download(&url),
                        text: text.map_err(|error| Error::environment(doing(), error))?,
                    },
                    time: None,
                }
            };
            found.time = record.modified().or(found.time);
            Ok(found)
        }
    }
}

fn unpack(
    stores: &Stores,
    archive: impl std::io::Read + Send,
    name: &str,
) -> Result<FoundContext, Error> {
    let archive = stores
        .layers
        .unpack_aside(archive)
        .map_err(|error| Error::input_while(format!("cannot unpack {name}"), error))?;
    Ok(FoundContext {
        time: archive.newest(),
        place: ContextPlace::Archive(archive),
    })
}

/// Returns a context as steps see it: of a directory of the user's, without what its ignore file
/// names; what came from elsewhere, whole (docs/spec/dockerfile.md 8).
pub(super) fn of(request: &BuildRequest, place: &ContextPlace) -> Result<Option<Context>, Error> {
    if let Some(directory) = place.fetched() {
        return Ok(Some(Context {
            directory: directory.to_owned(),
            ignore: IgnoreRules::default(),
            owners: Owners::Kept,
            lifetime: Lifetime::Build,
        }));
    }
    let ContextPlace::Host(directory) = place else {
        return Ok(None);
    };
    Ok(Some(Context {
        ignore: ignore_rules(request, directory)?,
        directory: directory
            .canonicalize()
            .map_err(Error::at("cannot open the build context", directory))?,
        owners: Owners::Root,
        lifetime: Lifetime::Lasting,
    }))
}
