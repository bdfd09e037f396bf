//! Archives: an OCI layout in a tar, with or without what docker's old readers need.
//!
//! docs/spec/oci.md 6.1: members sorted by name as BuildKit has them, times zero, owner zero.
//! So the archive is a function of the images alone.

use std::io::Write;

use kiln_oci::Platform;
use tar::{EntryType, Header};

use crate::error::ExportError;
use crate::exportable::NamedImage;
use crate::members::{self, ArchiveMember};

/// Writes an OCI layout as a tar stream.
///
/// # Errors
/// When a layer is not here or `output` fails.
pub fn write_oci_archive(images: &[NamedImage], output: &mut dyn Write) -> Result<(), ExportError> {
    write(images, None, output)
}

/// Writes an archive for `docker load`, `podman load` and the like; it is an OCI layout too.
///
/// # Errors
/// As [`write_oci_archive`], and [`ExportError::ManifestList`] for several platforms.
pub fn write_docker_archive(
    images: &[NamedImage],
    output: &mut dyn Write,
) -> Result<(), ExportError> {
    let manifest = members::manifest_json(images)?;
    write(images, Some(manifest), output)
}

/// Writes everything into one archive, indexes too, for `docker load` and the like: it is an OCI
/// layout, and what readers of docker's own list find of an index is its image for `platform`.
///
/// # Errors
/// As [`write_oci_archive`].
pub fn write_archive(
    images: &[NamedImage],
    platform: &Platform,
    output: &mut dyn Write,
) -> Result<(), ExportError> {
    let manifest = members::manifest_json_for(images, platform);
    write(images, Some(manifest), output)
}

fn write(
    images: &[NamedImage],
    manifest: Option<Vec<u8>>,
    output: &mut dyn Write,
) -> Result<(), ExportError> {
    let mut archive = Archive { output };
    archive.directory("blobs/")?;
    archive.directory("blobs/sha256/")?;
    for (digest, member) in members::blobs(images) {
        archive.blob(&members::blob_path(digest), member)?;
    }
    let index = members::index_json(members::top_descriptors(images));
    archive.file("index.json", 0o644, &index)?;
    if let Some(manifest) = manifest {
        archive.file("manifest.json", 0o644, &manifest)?;
    }
    archive.file("oci-layout", 0o444, &members::oci_layout())?;
    archive.finish()
}

/// A tar stream being written.
struct Archive<'a> {
    output: &'a mut dyn Write,
}

impl Archive<'_> {
    fn directory(&mut self, name: &str) -> Result<(), ExportError> {
        self.header(name, EntryType::Directory, 0o755, 0)
    }

    fn file(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), ExportError> {
        self.header(name, EntryType::Regular, mode, bytes.len() as u64)?;
        self.bytes(bytes)?;
        self.padding(bytes.len() as u64)
    }

    fn blob(&mut self, name: &str, member: ArchiveMember<'_>) -> Result<(), ExportError> {
        let size_bytes = member.descriptor().size_bytes;
        self.header(name, EntryType::Regular, 0o444, size_bytes)?;
        // A member that turns out longer or shorter ends the export with an error.
        member.write(self.output)?;
        self.padding(size_bytes)
    }

    fn header(
        &mut self,
        name: &str,
        kind: EntryType,
        mode: u32,
        size_bytes: u64,
    ) -> Result<(), ExportError> {
        let mut header = Header::new_ustar();
        header.set_path(name).map_err(ExportError::Output)?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size_bytes);
        header.set_device_major(0).map_err(ExportError::Output)?;
        header.set_device_minor(0).map_err(ExportError::Output)?;
        header.set_cksum();
        self.bytes(header.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.output.write_all(bytes).map_err(ExportError::Output)
    }

    fn padding(&mut self, size_bytes: u64) -> Result<(), ExportError> {
        let over = usize::try_from(size_bytes % 512).expect("below a block");
        match over {
            0 => Ok(()),
            _ => self.bytes(&[0; 512][over..]),
        }
    }

    fn finish(mut self) -> Result<(), ExportError> {
        self.bytes(&[0; 1024])?;
        self.output.flush().map_err(ExportError::Output)
    }
}
