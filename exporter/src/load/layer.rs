//! A layer on its way into the store.

use std::io::{self, Read, Write};

use kiln_cache::{BlobWriter, Blobs};
use kiln_oci::{Descriptor, DiffId, Sha256, Sha256Reader, media_type};
use kiln_snapshotter::{ArchiveCompression, UnpackLimit};

use super::contents::{ArchiveContents, MemberReader};
use super::error::LoadError;
use super::sniff::sniff;

/// A layer as the archive refers to it.
#[derive(Clone, Debug)]
pub(crate) struct WantedLayer {
    /// Its place.
    pub(crate) path: String,
    /// By the config.
    pub(crate) diff_id: DiffId,
    /// By the manifest, if there is one.
    pub(crate) digest: Option<Sha256>,
}

/// Stores a layer's blob and returns a descriptor of it.
///
/// Blob and diff id are verified in one pass. A layer packed in a way that images do not know is
/// stored as a bare tar.
pub(crate) fn store(
    contents: &ArchiveContents,
    blobs: &Blobs,
    wanted: &WantedLayer,
) -> Result<Descriptor, LoadError> {
    let damaged = |source| LoadError::Layer {
        layer: wanted.path.clone(),
        source,
    };
    let check = |actual: DiffId| {
        if actual == wanted.diff_id {
            Ok(())
        } else {
            Err(LoadError::WrongDiffId {
                layer: wanted.path.clone(),
                expected: wanted.diff_id,
                actual,
            })
        }
    };
    let limit = contents.limit;
    // Archives may leave out what the receiver has; and what is here is not written again.
    let known = wanted.digest.filter(|&digest| blobs.contains(digest));
    let part = match known {
        Some(digest) => {
            MemberReader::whole(blobs.open(digest)?, blobs.store().stop()).map_err(damaged)?
        }
        None => contents.require(&wanted.path)?,
    };
    let (packed, _) = sniff(part.clone()).map_err(damaged)?;
    let Some(compression) = packed.layer_compression() else {
        if wanted.digest.is_some() {
            return Err(LoadError::UnknownPacking(wanted.path.clone()));
        }
        let mut writer = blobs.writer()?;
        check(unpack(part, packed, limit, &mut writer).map_err(damaged)?)?;
        let (digest, size_bytes) = writer.finish(None)?;
        return Ok(Descriptor::new(media_type::OCI_LAYER, digest, size_bytes));
    };
    let (digest, size_bytes) = match known {
        Some(digest) => {
            let size_bytes = part.size_bytes();
            check(unpack(part, packed, limit, &mut io::sink()).map_err(damaged)?)?;
            (digest, size_bytes)
        }
        None => {
            let mut writer = blobs.writer()?;
            check(copy_and_unpack(part, packed, limit, &mut writer).map_err(damaged)?)?;
            writer.finish(wanted.digest)?
        }
    };
    Ok(Descriptor::new(compression.oci_layer(), digest, size_bytes))
}

/// Copies `part` and returns the digest of the tar inside.
fn copy_and_unpack(
    part: MemberReader,
    packed: ArchiveCompression,
    limit: UnpackLimit,
    writer: &mut BlobWriter,
) -> io::Result<DiffId> {
    let mut copying = CopyingReader {
        inner: part,
        writer,
    };
    let mut unpacked = Sha256Reader::new(packed.unpack(&mut copying, limit)?);
    io::copy(&mut unpacked, &mut io::sink())?;
    let (inner, digest, _) = unpacked.finish();
    drop(inner);
    // Whatever follows the end of the compressed stream belongs to the blob too.
    io::copy(&mut copying, &mut io::sink())?;
    Ok(DiffId(digest))
}

/// Unpacks `part` and returns the digest of the tar.
fn unpack(
    part: MemberReader,
    packed: ArchiveCompression,
    limit: UnpackLimit,
    output: &mut dyn Write,
) -> io::Result<DiffId> {
    let mut unpacked = Sha256Reader::new(packed.unpack(part, limit)?);
    io::copy(&mut unpacked, output)?;
    Ok(DiffId(unpacked.finish().1))
}

/// Writes down what is read.
struct CopyingReader<'a> {
    inner: MemberReader,
    writer: &'a mut BlobWriter,
}

impl Read for CopyingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.writer.write_all(&buffer[..count])?;
        Ok(count)
    }
}
