//! Files that say what a build came to.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use kiln_cache::ImageRef;
use kiln_engine::{BuildRequest, BuildResult, Engine, Output};
use serde_json::{Map, Value};

use super::arguments::BuildArguments;
use crate::failure::Failure;

/// Removes what an earlier build wrote, so that a failed build leaves no id behind.
pub(crate) fn prepare(arguments: &BuildArguments, outputs: &[Output]) -> Result<(), Failure> {
    let Some(path) = &arguments.iidfile else {
        return Ok(());
    };
    let has_no_image = |output: &Output| matches!(output, Output::Local(_) | Output::Tar(_));
    if outputs.iter().any(has_no_image) {
        return Err(Failure::new(
            "local and tar exporters are incompatible with image ID file",
        ));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::new(format!(
            "removing image ID file {}: {error}",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Writes `--iidfile` and `--metadata-file`.
pub(crate) fn write(
    arguments: &BuildArguments,
    request: &BuildRequest,
    built: &BuildResult,
    engine: &Engine,
) -> Result<(), Failure> {
    if let Some(path) = &arguments.iidfile {
        replace(path, built.image.to_string().as_bytes()).map_err(|e| failed(path, &e))?;
    }
    if let Some(path) = &arguments.metadata_file {
        write_json(path, &metadata(request, built, engine).into())?;
    }
    Ok(())
}

/// Writes a JSON file, all of it or nothing.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<(), Failure> {
    replace(path, pretty(value).as_bytes()).map_err(|error| failed(path, &error))
}

/// Returns JSON as files and people get it.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()))
}

fn metadata(request: &BuildRequest, built: &BuildResult, engine: &Engine) -> Map<String, Value> {
    let mut metadata = Map::new();
    let mut set = |key: &str, value: Value| metadata.insert(key.to_owned(), value);
    set(
        "containerimage.config.digest",
        built.image.to_string().into(),
    );
    // Only an image that was given a name in the local store can be looked up again.
    let named = request.tags.first().map(ImageRef::to_string);
    if let Some((_, image)) = named.and_then(|name| engine.find(&name).ok())
        && image.descriptor.digest == built.manifest
        && let Ok(descriptor) = serde_json::to_value(&image.descriptor)
    {
        set("containerimage.descriptor", descriptor);
    }
    set("containerimage.digest", built.manifest.to_string().into());
    if !request.tags.is_empty() {
        let names: Vec<String> = request.tags.iter().map(ImageRef::to_string).collect();
        set("image.name", names.join(",").into());
    }
    metadata
}

/// Writes a file beside its place and renames it there.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
