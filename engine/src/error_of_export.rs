//! Failures of the exporter, sorted.

use kiln_exporter as exporter;

use crate::Error;
use crate::error::chain;

pub(crate) fn export_error(error: &exporter::ExportError) -> Error {
    match error {
        exporter::ExportError::ManifestList
        | exporter::ExportError::Overwrite { .. }
        | exporter::ExportError::NotALayout { .. } => Error::input(chain(error)),
        _ => Error::environment("cannot export the image", error),
    }
}
