//! Layers packed for registries.
//!
//! A blob's bytes depend on the layer, the compression and its level alone, not on the number of
//! cores: gzip is made of pieces of one mebibyte, zstd in the jobs of its own multi-threading, and
//! both are one member or frame. What was packed is remembered in the layer's facts and not packed
//! again, unless by a kiln that packed otherwise. Memory is bounded by some twelve mebibytes for each
//! core.

mod deflate; // deflate streams, joined at the bit
mod gzip; // one gzip member, made by several threads

use std::io::{self, Read, Write};

use kiln_cache::Blobs;
use kiln_oci::{Compression, Descriptor, DiffId, Sha256Writer};
use kiln_threads::Stopping;
use libdeflater::CompressionLvl;

use crate::decompress;
use crate::error::LayerError;
use crate::facts::{KnownBlob, LayerFacts, TarFacts, TarOrigin};
use crate::layer::Layer;
use crate::tar::contents::Check;
use crate::tar::write::write_layer;
use crate::unpack_limit::{Meter, UnpackLimit};

/// Counts the changes of what kiln packs the same tar to; blobs of before are not taken for new ones.
/// With 1, gzip was made of several members.
const PACKER: u32 = 2;

/// The compression of a layer that is packed, and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packing {
    /// The format.
    pub compression: Compression,
    /// How much work to spend.
    pub level: Level,
}

/// The level of a compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Level {
    /// The format's default; any blob of the format that exists already serves as well.
    #[default]
    Default,
    /// This one.
    Exactly(i32),
}

impl Packing {
    /// Packs in `compression` at its default level.
    #[must_use]
    pub const fn new(compression: Compression) -> Self {
        Self {
            compression,
            level: Level::Default,
        }
    }

    fn effective_level(self) -> i32 {
        let Self { compression, level } = self;
        let level = match level {
            Level::Default => compression.default_level(),
            Level::Exactly(level) => level,
        };
        let levels = compression.levels();
        let level = level.clamp(*levels.start(), *levels.end());
        match compression {
            Compression::None => 0,
            Compression::Gzip => level,
            // zstd takes 0 for its default, not for the least work.
            Compression::Zstd => level.max(1),
        }
    }

    fn is_met_by(self, blob: &KnownBlob) -> bool {
        // A blob without a level was packed by another program.
        let is_outdated =
            blob.compression == Compression::Gzip && blob.level.is_some() && blob.packer != PACKER;
        blob.compression == self.compression
            && !is_outdated
            && match self.level {
                Level::Default => true,
                Level::Exactly(_) => blob.level == Some(self.effective_level()),
            }
    }
}

impl Layer {
    /// Returns a blob of the layer's [diff id](Self::diff_id) that is in `blobs`, packing one if there
    /// is none.
    ///
    /// A layer that came from elsewhere keeps its own tar: its blob is packed anew from one that
    /// is known, or from the files if they give the same bytes.
    ///
    /// # Errors
    /// When the files cannot be read, the tar cannot be made again, or the blob not be written.
    pub fn pack(&self, blobs: &Blobs, packing: Packing) -> Result<KnownBlob, LayerError> {
        // Of several threads or processes that want the blob, one packs it.
        let _lock = self.lock_work()?;
        let facts = self.facts()?;
        self.pack_tar(&facts, facts.diff_id(), blobs, packing, &|_| ())
    }

    /// Returns a blob of one of the layer's tars that is in `blobs`, packing one if there is none:
    /// a layer can be known by a foreign tar and by kiln's own. If one has to be packed, `tell`
    /// hears now and then how many bytes of the tar have been.
    ///
    /// # Errors
    /// As [`Layer::pack`].
    pub fn pack_as(
        &self,
        diff_id: DiffId,
        blobs: &Blobs,
        packing: Packing,
        tell: &(dyn Fn(u64) + Sync),
    ) -> Result<KnownBlob, LayerError> {
        let _lock = self.lock_work()?;
        self.pack_tar(&self.facts()?, Some(diff_id), blobs, packing, tell)
    }

    fn pack_tar(
        &self,
        facts: &LayerFacts,
        wanted: Option<DiffId>,
        blobs: &Blobs,
        packing: Packing,
        tell: &(dyn Fn(u64) + Sync),
    ) -> Result<KnownBlob, LayerError> {
        if let Some(blob) = packed(facts, wanted, blobs, packing) {
            return Ok(blob.clone());
        }
        let known = facts.tars.iter().find(|tar| Some(tar.diff_id) == wanted);
        let source = facts
            .blobs
            .iter()
            .find(|blob| Some(blob.diff_id) == wanted && blobs.has(&blob.descriptor));
        let (blob, tar) = match (known, source) {
            (Some(known), _) if known.origin == TarOrigin::Canonical => {
                pack(blobs, packing, |output| {
                    self.write_known(*known, &mut Counting::new(output, tell))
                })?
            }
            (_, Some(source)) => {
                let file = blobs.open(source.descriptor.digest)?;
                pack(blobs, packing, |output| {
                    let file = Stopping::new(self.stop(), file);
                    repeat(source, file, &mut Counting::new(output, tell))
                })?
            }
            // The blob of a foreign tar is gone, or nothing is known.
            _ => pack(blobs, packing, |output| {
                self.write_tar(&mut Counting::new(output, tell))
            })?,
        };
        tell(tar.size_bytes);
        if let Some(expected) = wanted
            && expected != tar.diff_id
        {
            return Err(LayerError::WrongDiffId {
                expected,
                actual: tar.diff_id,
            });
        }
        self.remember_tar(tar)?;
        self.remember_blob(blob.clone())?;
        Ok(blob)
    }

    /// Writes the canonical tar of the layer, which was digested before.
    ///
    /// The index says by BLAKE3 what is in each file, which takes a fraction of the time that
    /// SHA-256 takes for the whole once more, and several threads share it.
    fn write_known(
        &self,
        tar: TarFacts,
        output: &mut Counting<'_>,
    ) -> Result<TarFacts, LayerError> {
        write_layer(self, Check::Content, output)?;
        if output.bytes == tar.size_bytes {
            Ok(tar)
        } else {
            Err(LayerError::WrongLength {
                expected: tar.size_bytes,
                actual: output.bytes,
            })
        }
    }
}

/// Returns a blob of a tar, packed as wanted, if it is known and here.
pub(crate) fn packed<'a>(
    facts: &'a LayerFacts,
    wanted: Option<DiffId>,
    blobs: &Blobs,
    packing: Packing,
) -> Option<&'a KnownBlob> {
    facts.blobs.iter().find(|blob| {
        Some(blob.diff_id) == wanted && packing.is_met_by(blob) && blobs.has(&blob.descriptor)
    })
}

/// Writes the tar that a known blob holds.
fn repeat(
    source: &KnownBlob,
    file: impl Read + Send,
    output: &mut dyn Write,
) -> Result<TarFacts, LayerError> {
    let failed = |error| LayerError::Stream {
        digest: source.descriptor.digest,
        source: error,
    };
    // It was unpacked before, within the limit.
    let meter = Meter::new(UnpackLimit::NONE);
    let mut tar = decompress::reader(file, Some(source.compression), &meter).map_err(failed)?;
    let mut hashing = Sha256Writer::new(output);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match tar.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hashing
                .write_all(&buffer[..count])
                .map_err(LayerError::Output)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let (_, digest, size_bytes) = hashing.finish();
    Ok(TarFacts {
        diff_id: DiffId(digest),
        size_bytes,
        origin: TarOrigin::Foreign,
    })
}

/// Packs what `produce` writes into a new blob.
pub(crate) fn pack(
    blobs: &Blobs,
    packing: Packing,
    produce: impl FnOnce(&mut dyn Write) -> Result<TarFacts, LayerError> + Send,
) -> Result<(KnownBlob, TarFacts), LayerError> {
    let mut writer = blobs.writer()?;
    let level = packing.effective_level();
    let tar = match packing.compression {
        Compression::None => produce(&mut writer)?,
        Compression::Gzip => gzip(level, &mut writer, produce)?,
        Compression::Zstd => zstd(level, &mut writer, produce)?,
    };
    let (digest, size_bytes) = writer.finish(None)?;
    let media_type = packing.compression.oci_layer();
    let blob = KnownBlob {
        diff_id: tar.diff_id,
        descriptor: Descriptor::new(media_type, digest, size_bytes),
        compression: packing.compression,
        level: Some(level),
        packer: PACKER,
    };
    Ok((blob, tar))
}

fn zstd(
    level: i32,
    output: &mut dyn Write,
    produce: impl FnOnce(&mut dyn Write) -> Result<TarFacts, LayerError>,
) -> Result<TarFacts, LayerError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut encoder = zstd::Encoder::new(output, level).map_err(LayerError::Output)?;
    encoder.include_checksum(true).map_err(LayerError::Output)?;
    // Even with one core there is one worker: without any, zstd writes other bytes.
    encoder
        .multithread(u32::try_from(threads.min(8)).expect("at most eight"))
        .map_err(LayerError::Output)?;
    let tar = produce(&mut encoder)?;
    encoder.finish().map_err(LayerError::Output)?;
    Ok(tar)
}

fn gzip<T: Send>(
    level: i32,
    output: &mut dyn Write,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, LayerError> + Send,
) -> Result<T, LayerError> {
    let level = CompressionLvl::new(level).unwrap_or_else(|_| {
        CompressionLvl::new(Compression::Gzip.default_level()).expect("a level that exists")
    });
    gzip::write(level, output, produce)
}

/// Counts what is written.
struct Counting<'a> {
    output: &'a mut dyn Write,
    tell: &'a (dyn Fn(u64) + Sync),
    bytes: u64,
    told_bytes: u64,
}

/// Between two words about it.
const STRIDE_BYTES: u64 = 1 << 20;

impl<'a> Counting<'a> {
    fn new(output: &'a mut dyn Write, tell: &'a (dyn Fn(u64) + Sync)) -> Self {
        tell(0);
        Self {
            output,
            tell,
            bytes: 0,
            told_bytes: 0,
        }
    }
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.bytes += count as u64;
        if self.bytes - self.told_bytes >= STRIDE_BYTES {
            self.told_bytes = self.bytes;
            (self.tell)(self.bytes);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
