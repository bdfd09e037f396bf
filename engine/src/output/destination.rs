//! Where archives and directories of images go.

use std::io::Write;
use std::path::Path;

use kiln_exporter as exporter;
use kiln_threads::Stopping;

use crate::Error;
use crate::io::Io;
use crate::repair::{Receiver, Undelivered};
use crate::request::Destination;
use crate::stores::Stores;

/// Writes what `act` does to where it goes, unless that is to stop.
pub(crate) fn write_to(
    stores: &Stores,
    to: &Destination,
    io: &Io<'_>,
    act: impl FnOnce(&mut dyn Write) -> Result<(), exporter::ExportError>,
) -> Result<(), Undelivered> {
    let stop = stores.store.stop();
    let act = |output: &mut dyn Write| {
        act(&mut Stopping::new(stop, output))?;
        // Once more, before a file gets its name.
        stop.check().map_err(exporter::ExportError::Output)
    };
    let (written, is_file) = match to {
        Destination::Path(path) => (
            exporter::write_file(path, act),
            path.metadata().map_or(true, |metadata| metadata.is_file()),
        ),
        Destination::Stream => (io.write(act), false),
    };
    written.map_err(|error| match error.into() {
        Undelivered::Damaged { digest, error, .. } if !is_file => Undelivered::Damaged {
            digest,
            error,
            receiver: Receiver::Begun,
        },
        Undelivered::Otherwise(error) => Undelivered::Otherwise(stores.or_cancelled(error)),
        damaged => damaged,
    })
}

/// Returns where a directory goes.
pub(super) fn directory(to: &Destination) -> Result<&Path, Error> {
    match to {
        Destination::Path(path) => Ok(path),
        Destination::Stream => Err(Error::input("a directory cannot go to standard output")),
    }
}
