//! Files that say what a build came to.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use kiln_engine::{BuildRequest, BuildResult, Output};
use kiln_oci::TaggedRef;
use serde_json::{Map, Value};

use super::arguments::BuildArguments;
use crate::failure::Failure;

/// Removes what an earlier build wrote, so that a failed build leaves no id behind.
pub(crate) fn prepare(arguments: &BuildArguments, outputs: &[Output]) -> Result<(), Failure> {
    let Some(path) = &arguments.iidfile else {
        return Ok(());
    };
    let has_no_image =
        |output: &Output| matches!(output, Output::Local { .. } | Output::Tar { .. });
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
) -> Result<(), Failure> {
    if let Some(path) = &arguments.iidfile {
        replace(path, built.id.to_string().as_bytes()).map_err(|e| failed(path, &e))?;
    }
    if let Some(path) = &arguments.digest_file {
        let digest = built.descriptor.digest.to_string();
        replace(path, digest.as_bytes()).map_err(|e| failed(path, &e))?;
    }
    if let Some(path) = &arguments.metadata_file {
        write_json(path, &metadata(request, built).into())?;
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

fn metadata(request: &BuildRequest, built: &BuildResult) -> Map<String, Value> {
    let mut metadata = Map::new();
    let mut set = |key: &str, value: Value| metadata.insert(key.to_owned(), value);
    if let Some(config) = built.config {
        set("containerimage.config.digest", config.to_string().into());
    }
    let descriptor = serde_json::to_value(&built.descriptor).expect("a descriptor is plain data");
    set("containerimage.descriptor", descriptor);
    set(
        "containerimage.digest",
        built.descriptor.digest.to_string().into(),
    );
    if let Some(cache) = &built.cache {
        let descriptor = serde_json::to_value(cache).expect("a descriptor is plain data");
        set("cache.manifest", descriptor);
    }
    let names = names(request);
    if !names.is_empty() {
        set("image.name", names.join(",").into());
    }
    metadata
}

/// Returns the names that the result has somewhere, each once.
fn names(request: &BuildRequest) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let own = request.outputs.iter().filter_map(Output::image);
    let own = own.flat_map(|image| &image.names);
    for name in request.tags.iter().chain(own).map(TaggedRef::to_string) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
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
