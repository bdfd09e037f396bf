//! What does not exist for a build.

use std::path::Path;
use std::sync::Arc;

use kiln_parser::IgnoreRules;

use super::dockerfile::{default_path, file_name};
use super::file;
use crate::request::{BuildRequest, DockerfileSource};
use crate::{Error, SourceText};

/// Reads the ignore file of a build whose context is a directory.
///
/// # Errors
/// When it cannot be read or understood.
pub(crate) fn ignore_rules(request: &BuildRequest, directory: &Path) -> Result<IgnoreRules, Error> {
    let dockerfile = match &request.dockerfile {
        DockerfileSource::Path(path) => path.clone(),
        DockerfileSource::Default => default_path(directory),
        DockerfileSource::Text(_) | DockerfileSource::Remote(_) => directory.join("Dockerfile"),
    };
    load_ignore_file(directory, Some(&dockerfile))
}

/// Reads the ignore file of a directory: `<Dockerfile>.dockerignore` if a Dockerfile is given and has
/// one, else `.dockerignore`.
///
/// # Errors
/// When it cannot be read or understood.
pub(crate) fn load_ignore_file(
    directory: &Path,
    dockerfile: Option<&Path>,
) -> Result<IgnoreRules, Error> {
    let own = dockerfile.map(|dockerfile| {
        let mut own = dockerfile.to_owned().into_os_string();
        own.push(".dockerignore");
        own.into()
    });
    for path in own.into_iter().chain([directory.join(".dockerignore")]) {
        let text = match file::read(&path, Some(directory)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::at("cannot read", &path)(error)),
        };
        let (rules, diagnostics) = IgnoreRules::parse(&text);
        if diagnostics.is_empty() {
            return Ok(rules);
        }
        return Err(Error::Dockerfile {
            source_text: SourceText {
                name: file_name(&path),
                bytes: Arc::from(text),
            },
            diagnostics,
        });
    }
    Ok(IgnoreRules::default())
}
