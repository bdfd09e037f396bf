//! Layers from elsewhere, unpacked.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kiln_cache::WorkDir;
use kiln_files::GuestPath;
use kiln_oci::{Compression, DiffId, Sha256Reader, Timestamp};
use kiln_threads::Stopping;
use kiln_tree::NodeKind;

use crate::build_error::BuildError;
use crate::builder::LayerBuilder;
use crate::copy::Hashed;
use crate::decompress;
use crate::error::LayerError;
use crate::facts::{TarFacts, TarOrigin};
use crate::layer::{Layer, LayerStore};
use crate::tar::read::{TarError, TarReader};
use crate::unpack::{UnpackError, Unpacker};
use crate::unpack_limit::{Meter, UnpackLimit};
use crate::users::Owner;
use crate::view::ParentView;

impl LayerStore {
    /// Unpacks a layer of another program, and checks on the way that its tar has the digest
    /// that its image promises. The compression is recognised if it is not given.
    ///
    /// Whiteouts become whiteouts of the new layer: it does not depend on what it will lie on.
    ///
    /// # Errors
    /// When the stream is not a tar, has another digest, or cannot be stored; nothing is kept then.
    pub fn apply(
        &self,
        blob: impl Read + Send,
        compression: Option<Compression>,
        expected: DiffId,
    ) -> Result<Layer, UnpackError> {
        if let Some(layer) = self.by_diff_id(expected)
            && layer.files().is_some()
        {
            return Ok(layer);
        }
        let _permit = self.permit_to_unpack();
        let builder = self.builder().map_err(BuildError::from)?;
        let meter = self.meter();
        let blob = Stopping::new(self.store().stop(), blob);
        let tar = decompress::reader(blob, compression, &meter).map_err(TarError::Read)?;
        let mut tar = Sha256Reader::new(tar);
        decompress::read_on_thread(&mut tar, |stream| -> Result<(), UnpackError> {
            let mut archive = TarReader::new(stream, &meter);
            Unpacker::of_layer(&builder).unpack(&mut archive)?;
            archive.drain()?;
            Ok(())
        })?;
        let (_, digest, size_bytes) = tar.finish();
        let actual = DiffId(digest);
        if actual != expected {
            let error = LayerError::WrongDiffId { expected, actual };
            return Err(BuildError::from(error).into());
        }
        let layer = builder.finish()?;
        let facts = TarFacts {
            diff_id: actual,
            size_bytes,
            origin: TarOrigin::Foreign,
        };
        layer.remember_tar(facts).map_err(BuildError::from)?;
        Ok(layer)
    }

    /// Unpacks an archive that is no layer into a directory aside. Names beginning with `.wh.` mean
    /// nothing special.
    ///
    /// # Errors
    /// When the stream is not a tar or cannot be stored.
    pub fn unpack_aside(&self, archive: impl Read + Send) -> Result<UnpackedArchive, UnpackError> {
        let builder = self.builder().map_err(BuildError::from)?;
        let (below, destination) = (ParentView::default(), GuestPath::ROOT);
        unpack_archive(archive, &builder, &below, &destination, None)?;
        let (directory, tree, work) = builder.into_directory()?;
        Ok(UnpackedArchive {
            directory,
            newest: tree
                .iter()
                .filter(|entry| {
                    matches!(
                        entry.kind,
                        NodeKind::File { .. } | NodeKind::HardLink { .. }
                    )
                })
                .map(|entry| entry.mtime)
                .max(),
            _work: work,
        })
    }
}

/// An archive unpacked into a directory of its own, which vanishes with this value.
#[derive(Debug)]
pub struct UnpackedArchive {
    directory: PathBuf,
    newest: Option<Timestamp>,
    _work: WorkDir,
}

impl UnpackedArchive {
    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the latest modification time of a file in it; none if it has none. Times of
    /// directories may be made up: an archive need not have entries for them.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }
}

/// Unpacks an archive (ADD of a local file) into a layer that is being made.
///
/// `parent` is what the layer will lie on: directories on the way that it has are taken over, and
/// its symbolic links followed. Neither they nor those of the archive lead out of `destination`,
/// which was added before. `owner` is given to everything instead of what the archive says. Names
/// beginning with `.wh.` mean nothing special. Returns length and digest of the archive, read to
/// the end of the stream.
///
/// # Errors
/// When the stream is not a tar or cannot be stored.
pub fn unpack_archive(
    archive: impl Read + Send,
    builder: &LayerBuilder,
    parent: &ParentView,
    destination: &GuestPath,
    owner: Option<Owner>,
) -> Result<Hashed, UnpackError> {
    let mut archive = HashingReader::new(Stopping::new(builder.stop(), archive));
    let meter = builder.layers.meter();
    let mut tar = decompress::reader(&mut archive, None, &meter).map_err(TarError::Read)?;
    decompress::read_on_thread(&mut tar, |stream| -> Result<(), UnpackError> {
        let mut members = TarReader::new(stream, &meter);
        Unpacker::of_archive(builder, parent, destination, owner).unpack(&mut members)?;
        members.drain()?;
        Ok(())
    })?;
    drop(tar);
    // What follows the last compressed stream.
    io::copy(&mut archive, &mut io::sink()).map_err(TarError::Read)?;
    Ok(archive.finish())
}

/// Hashes what is read.
struct HashingReader<R> {
    inner: R,
    hasher: blake3::Hasher,
    size_bytes: u64,
}

impl<R> HashingReader<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: blake3::Hasher::new(),
            size_bytes: 0,
        }
    }

    fn finish(self) -> Hashed {
        Hashed {
            size_bytes: self.size_bytes,
            hash: self.hasher.finalize().into(),
        }
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }
}

/// Says whether a stream is an archive that ADD unpacks: a tar with at least one member, compressed
/// or not. Reads a little of it.
#[must_use]
pub fn is_archive(stream: impl Read + Send) -> bool {
    let meter = Meter::new(UnpackLimit::default());
    decompress::reader(stream, None, &meter)
        .is_ok_and(|tar| matches!(TarReader::new(tar, &meter).next(), Ok(Some(_))))
}
