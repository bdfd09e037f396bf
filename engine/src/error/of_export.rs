//! Failures of the exporter, sorted.

use kiln_exporter as exporter;

use crate::Error;

pub(crate) fn export_error(error: exporter::ExportError) -> Error {
    match error {
        exporter::ExportError::ManifestList
        | exporter::ExportError::Overwrite { .. }
        | exporter::ExportError::NotALayout { .. } => Error::bad_input(error),
        _ => Error::environment("cannot export the image", error),
    }
}
