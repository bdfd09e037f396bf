//! Where a build's Dockerfile and ignore file come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_parser::{Dockerfile, IgnoreRules, Severity, parse};
use kiln_solver::{Reporter, VertexEnd};

use crate::request::{BuildRequest, ContextSource, DockerfileSource};
use crate::{Error, SourceText};

/// Reads and parses the Dockerfile.
pub(crate) fn load_dockerfile(
    request: &BuildRequest,
    reporter: &Reporter<'_>,
) -> Result<(SourceText, Dockerfile), Error> {
    let (name, bytes) = match (&request.dockerfile, &request.context) {
        (DockerfileSource::Text(bytes), _) => ("Dockerfile".to_owned(), bytes.clone()),
        (DockerfileSource::Path(path), _) => (file_name(path), read_dockerfile(path)?),
        (DockerfileSource::Default, ContextSource::Directory(directory)) => {
            let path = default_dockerfile(directory)?;
            (file_name(&path), read_dockerfile(&path)?)
        }
        (DockerfileSource::Default, ContextSource::Empty) => {
            return Err(Error::input("an empty context has no Dockerfile"));
        }
        (DockerfileSource::Default, ContextSource::Archive { .. } | ContextSource::Remote(_)) => {
            return Err(Error::input("this build context is not supported yet"));
        }
        (DockerfileSource::Remote(_), _) => {
            return Err(Error::input("a Dockerfile from a URL is not supported yet"));
        }
    };
    let vertex = reporter.start(&format!("[internal] load build definition from {name}"));
    let source_text = SourceText {
        name,
        bytes: Arc::from(bytes),
    };
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
    Ok((source_text, parsed.dockerfile))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Finds `Dockerfile`, or `dockerfile`, in the context.
fn default_dockerfile(directory: &Path) -> Result<PathBuf, Error> {
    if !directory.is_dir() {
        return Err(Error::input(format!(
            "unable to prepare context: path {:?} not found",
            directory.display().to_string()
        )));
    }
    let usual = directory.join("Dockerfile");
    let lower = directory.join("dockerfile");
    match !usual.exists() && lower.exists() {
        true => Ok(lower),
        false => Ok(usual),
    }
}

fn read_dockerfile(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            _ => error.to_string(),
        };
        Error::Input {
            message: format!(
                "failed to read dockerfile: open {}: {reason}",
                file_name(path)
            ),
            hint: Some("name another file with -f".to_owned()),
        }
    })
}

/// Reads `<Dockerfile>.dockerignore`, or `.dockerignore` of the context. A named context has no
/// Dockerfile.
pub(crate) fn load_ignore_file(
    definition: Option<&BuildRequest>,
    directory: &Path,
) -> Result<IgnoreRules, Error> {
    let own = match definition.map(|request| &request.dockerfile) {
        Some(DockerfileSource::Path(path)) => path.clone(),
        Some(DockerfileSource::Default) => default_dockerfile(directory)?,
        Some(DockerfileSource::Text(_) | DockerfileSource::Remote(_)) => {
            directory.join("Dockerfile")
        }
        None => return read_ignore_file(&[directory.join(".dockerignore")]),
    };
    let mut own = own.into_os_string();
    own.push(".dockerignore");
    read_ignore_file(&[PathBuf::from(own), directory.join(".dockerignore")])
}

/// Reads the first of these ignore files that there is.
fn read_ignore_file(paths: &[PathBuf]) -> Result<IgnoreRules, Error> {
    for path in paths {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::at("cannot read", path)(error)),
        };
        let (rules, diagnostics) = IgnoreRules::parse(&text);
        if diagnostics.is_empty() {
            return Ok(rules);
        }
        return Err(Error::Dockerfile {
            source_text: SourceText {
                name: file_name(path),
                bytes: Arc::from(text),
            },
            diagnostics,
        });
    }
    Ok(IgnoreRules::default())
}
