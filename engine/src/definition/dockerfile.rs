//! Where a build's instructions are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_parser::download_name;
use kiln_solver::{Reporter, VertexEnd};
use kiln_threads::Stop;

use super::file;
use super::place::ContextPlace;
use crate::remote_sources::{RemoteSources, build_error, shown};
use crate::request::{BuildRequest, DockerfileSource};
use crate::{Error, SourceText};

/// The name that a Dockerfile has if nothing else is said.
const USUAL: &str = "Dockerfile";

/// Reads the Dockerfile.
pub(super) fn read(
    request: &BuildRequest,
    place: &ContextPlace,
    remotes: &RemoteSources<'_>,
    reporter: &Reporter<'_>,
    stop: &Stop,
) -> Result<SourceText, Error> {
    let (name, bytes) = match (&request.dockerfile, place) {
        (DockerfileSource::Text(bytes), _) => (USUAL.to_owned(), bytes.clone()),
        (DockerfileSource::Remote(url), _) => download(url, remotes, reporter, stop)?,
        (DockerfileSource::Default, ContextPlace::Dockerfile { name, text }) => {
            (name.clone(), text.clone())
        }
        (DockerfileSource::Path(path), ContextPlace::Host(context)) => {
            from_host(path, Some(context))?
        }
        (DockerfileSource::Path(path), _) if path.is_absolute() => from_host(path, None)?,
        (DockerfileSource::Path(path), place) => match place.fetched() {
            Some(root) => from_context(root, path)?,
            None => {
                return Err(Error::input(format!(
                    "ambiguous Dockerfile source: the build context is a Dockerfile itself, \
                         so there is no {}",
                    path.display()
                ))
                .with_hint("leave out either of them"));
            }
        },
        (DockerfileSource::Default, ContextPlace::Host(directory)) => {
            from_host(&default_path(directory), Some(directory))?
        }
        (DockerfileSource::Default, place) => match place.fetched() {
            Some(root) => match from_context(root, Path::new(USUAL)) {
                Err(_) if root.join("dockerfile").exists() => {
                    from_context(root, Path::new("dockerfile"))?
                }
                other => other?,
            },
            None => return Err(Error::input("an empty context has no Dockerfile")),
        },
    };
    Ok(SourceText {
        name,
        bytes: Arc::from(bytes),
    })
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Returns how a Dockerfile behind a URL is called.
pub(super) fn name_of_download(url: &str) -> String {
    match download_name(url) {
        name if name.starts_with("__") => USUAL.to_owned(),
        name => name,
    }
}

/// Returns where `Dockerfile`, or `dockerfile`, is in a directory.
pub(super) fn default_path(directory: &Path) -> PathBuf {
    let usual = directory.join(USUAL);
    let lower = directory.join("dockerfile");
    if !usual.exists() && lower.exists() {
        lower
    } else {
        usual
    }
}

/// Reads a Dockerfile of this machine.
fn from_host(path: &Path, context: Option<&Path>) -> Result<(String, Vec<u8>), Error> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let text = file::read(path, context)
        .map_err(|error| missing(path, directory, Looked::Host, &error))?;
    Ok((file_name(path), text))
}

/// Reads a Dockerfile of a context that was fetched.
fn from_context(root: &Path, path: &Path) -> Result<(String, Vec<u8>), Error> {
    let text =
        file::read_in(root, path).map_err(|error| missing(path, root, Looked::Context, &error))?;
    Ok((path.display().to_string(), text))
}

fn download(
    url: &str,
    remotes: &RemoteSources<'_>,
    reporter: &Reporter<'_>,
    stop: &Stop,
) -> Result<(String, Vec<u8>), Error> {
    let doing = format!("failed to read dockerfile: {}", shown(url));
    let vertex = reporter.start(&format!("[internal] load remote Dockerfile {}", shown(url)));
    let record = match remotes.download(url, &vertex, stop) {
        Ok(record) => record,
        Err(error) => {
            let error = build_error(error, &doing, stop);
            match &error {
                Error::Cancelled => vertex.end(VertexEnd::Cancelled),
                error => vertex.end(VertexEnd::Failed(error.full_message())),
            }
            return Err(error);
        }
    };
    vertex.end(VertexEnd::Done);
    file::check_size(record.size_bytes).map_err(|error| Error::input_while(&doing, error))?;
    let text = remotes.stores.blobs.read(record.content);
    let text = text.map_err(|error| Error::environment(doing, error))?;
    Ok((name_of_download(url), text))
}

/// Where a Dockerfile was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// On this machine, below the working directory.
    Host,
    /// In a context that was fetched to a place of its own.
    Context,
}

/// Says that there is no Dockerfile, and which file may be meant.
fn missing(path: &Path, directory: &Path, looked: Looked, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    };
    let other = likely_dockerfiles(directory).into_iter().next();
    let (other, place) = match looked {
        Looked::Host if directory.as_os_str().is_empty() => {
            (other, "the working directory".to_owned())
        }
        Looked::Host => (
            other.map(|name| directory.join(name).display().to_string()),
            directory.display().to_string(),
        ),
        Looked::Context => (other, "the context".to_owned()),
    };
    Error::input(format!(
        "failed to read dockerfile: open {}: {reason}",
        file_name(path)
    ))
    .with_hint(match other {
        Some(name) => format!("is {name} meant? say -f {name}"),
        None => format!("it was looked for in {place}; -f names another file"),
    })
}

/// Returns the names of files that look like Dockerfiles, sorted.
fn likely_dockerfiles(directory: &Path) -> Vec<String> {
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let name = name.to_lowercase();
            (name.contains("dockerfile") || name.contains("containerfile"))
                && !name.ends_with("ignore")
        })
        .collect();
    names.sort_unstable();
    names
}
