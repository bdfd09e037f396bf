//! Archives among the sources of ADD: what they hold is put into the layer.

use std::fs::File;

use kiln_files::GuestPath;
use kiln_snapshotter::{
    Hashed, LayerBuilder, Owner, ParentView, UnpackError, is_archive, unpack_archive,
};
use kiln_tree::{Entry, NodeKind};

use super::select::SelectedSource;
use super::write::{Fidelity, WriteError};
use crate::files::Files;

/// A file that is an archive.
pub(crate) struct ArchiveFile {
    content: File,
    known: Hashed,
}

impl ArchiveFile {
    /// Opens a selected file if it is one.
    pub(crate) fn open(
        source: &dyn Files,
        selection: &SelectedSource<'_>,
    ) -> Result<Option<Self>, WriteError> {
        let Some(Entry {
            kind: NodeKind::File { size, hash },
            path,
            ..
        }) = selection.entry
        else {
            return Ok(None);
        };
        let open = || {
            source.open(path).map_err(|error| WriteError::Open {
                path: selection.path.clone(),
                source: error,
            })
        };
        let known = Hashed {
            size_bytes: size,
            hash,
        };
        Ok(if is_archive(open()?) {
            Some(Self {
                content: open()?,
                known,
            })
        } else {
            None
        })
    }

    /// Unpacks it, and says whether it was what its key speaks of.
    pub(crate) fn unpack(
        self,
        builder: &LayerBuilder,
        view: &ParentView,
        destination: &GuestPath,
        owner: Option<Owner>,
    ) -> Result<Fidelity, UnpackError> {
        let read = unpack_archive(self.content, builder, view, destination, owner)?;
        Ok(if read == self.known {
            Fidelity::Exact
        } else {
            Fidelity::Changed
        })
    }
}
