//! Layers packed for registries.
//!
//! A blob's bytes depend on the layer, the compression and its level alone, not on the number of
//! cores: gzip is made in members of one mebibyte that know nothing of each other (which costs
//! 0.2 % in size), zstd in the jobs of its own multi-threading. What was packed is remembered in
//! the layer's facts and not packed again. Memory is bounded by some twelve mebibytes for each core.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kiln_cache::{Blobs, Compression, Descriptor, DiffId, Sha256Writer};
use libdeflater::{CompressionLvl, Compressor};
use rayon::prelude::*;

use crate::decompress;
use crate::error::LayerError;
use crate::facts::{Facts, KnownBlob, TarFacts, TarOrigin};
use crate::layer::{Layer, TimeClamp};
use crate::tar_contents::Check;
use crate::tar_write;

/// Bytes of tar in one gzip member.
const MEMBER: usize = 1 << 20;

/// The least level at which libdeflate's blobs are no larger than those of zlib's 6, which is what
/// gzip(1) and Go do unless asked: of a tar of 351 MB from Debian's /usr, libdeflate's 5 made
/// 143.6 MB in 3.4 s, its 6 142.9 MB in 4.3 s, and zlib's 6 144.0 MB in 10 s (November 2026).
const GZIP_LEVEL: i32 = 5;

/// Members that are compressed side by side, for each thread: who is done early has another one.
const MEMBERS_AT_ONCE: usize = 4;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// How a layer is to be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packing {
    /// The format.
    pub compression: Compression,
    /// How much work to spend.
    pub level: Level,
}

/// How much work to spend on compression.
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
        match (self.level, self.compression) {
            (_, Compression::None) => 0,
            (Level::Exactly(level), Compression::Gzip) => level.clamp(0, 12),
            (Level::Exactly(level), Compression::Zstd) => level.clamp(1, 22),
            (Level::Default, Compression::Gzip) => GZIP_LEVEL,
            (Level::Default, Compression::Zstd) => ZSTD_LEVEL,
        }
    }

    fn is_met_by(self, blob: &KnownBlob) -> bool {
        blob.compression == self.compression
            && match self.level {
                Level::Default => true,
                Level::Exactly(_) => blob.level == Some(self.effective_level()),
            }
    }
}

impl Layer {
    /// Returns a blob of the layer that is in `blobs`, packing one if there is none.
    ///
    /// A layer that came from elsewhere keeps its own tar: its blob is packed anew from one that
    /// is known, or from the files if they give the same bytes.
    ///
    /// # Errors
    /// When the files cannot be read, the tar cannot be made again, or the blob not be written.
    pub fn pack(&self, blobs: &Blobs, packing: Packing) -> Result<KnownBlob, LayerError> {
        // One of several that want it packs it, be they threads or processes.
        let _lock = self.lock_work()?;
        let facts = self.facts()?;
        let wanted = facts.diff_id();
        if let Some(blob) = packed(&facts, blobs, packing) {
            return Ok(blob.clone());
        }
        let known = facts.tars.first();
        let is_foreign = known.is_some_and(|tar| tar.origin == TarOrigin::Foreign);
        let source = facts
            .blobs
            .iter()
            .find(|blob| Some(blob.diff_id) == wanted && blobs.has(&blob.descriptor));
        let (blob, tar) = match (source, known) {
            (Some(source), _) if is_foreign => {
                let file = blobs.open(source.descriptor.digest)?;
                pack(blobs, packing, |output| repeat(source, file, output))?
            }
            (_, Some(known)) if !is_foreign => {
                pack(blobs, packing, |output| self.write_known(*known, output))?
            }
            _ => pack(blobs, packing, |output| {
                self.write_tar(output, TimeClamp::None)
            })?,
        };
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
    fn write_known(&self, tar: TarFacts, output: &mut dyn Write) -> Result<TarFacts, LayerError> {
        let mut counting = Counting { output, bytes: 0 };
        tar_write::write(self, TimeClamp::None, Check::Content, &mut counting)?;
        match counting.bytes == tar.size_bytes {
            true => Ok(tar),
            false => Err(LayerError::WrongLength {
                expected: tar.size_bytes,
                actual: counting.bytes,
            }),
        }
    }

    /// Packs the layer with its times clamped; the blob has a diff id of its own.
    ///
    /// # Errors
    /// As [`Layer::pack`].
    pub fn pack_clamped(
        &self,
        blobs: &Blobs,
        packing: Packing,
        clamp: TimeClamp,
    ) -> Result<KnownBlob, LayerError> {
        let changes = match clamp {
            TimeClamp::None => false,
            TimeClamp::To(latest) => self.tree()?.iter().any(|entry| entry.mtime > latest),
        };
        match changes {
            false => self.pack(blobs, packing),
            true => Ok(pack(blobs, packing, |output| self.write_tar(output, clamp))?.0),
        }
    }
}

/// Returns the blob that is wanted if it is known and here.
pub(crate) fn packed<'a>(
    facts: &'a Facts,
    blobs: &Blobs,
    packing: Packing,
) -> Option<&'a KnownBlob> {
    let wanted = facts.diff_id();
    facts.blobs.iter().find(|blob| {
        Some(blob.diff_id) == wanted && packing.is_met_by(blob) && blobs.has(&blob.descriptor)
    })
}

/// Writes the tar that a known blob holds.
fn repeat(source: &KnownBlob, file: File, output: &mut dyn Write) -> Result<TarFacts, LayerError> {
    let failed = |error| LayerError::Stream {
        digest: source.descriptor.digest,
        source: error,
    };
    let mut tar = decompress::reader(file, Some(source.compression)).map_err(failed)?;
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

fn gzip(
    level: i32,
    output: &mut dyn Write,
    produce: impl FnOnce(&mut dyn Write) -> Result<TarFacts, LayerError> + Send,
) -> Result<TarFacts, LayerError> {
    let threads = rayon::current_num_threads();
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(threads * MEMBERS_AT_ONCE);
        // The tar is read, written and hashed on a thread of its own.
        let producer = scope.spawn(move || {
            let mut members = Members {
                sender,
                member: Vec::with_capacity(MEMBER),
            };
            let tar = produce(&mut members)?;
            members.send().map_err(LayerError::Output)?;
            Ok(tar)
        });
        let written = compress_members(level, threads, &receiver, output);
        drop(receiver);
        let produced = producer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // If this side failed, the other one only knows that nobody listens.
        written.map_err(LayerError::Output)?;
        produced
    })
}

fn compress_members(
    level: i32,
    threads: usize,
    receiver: &Receiver<Vec<u8>>,
    output: &mut dyn Write,
) -> io::Result<()> {
    let level = CompressionLvl::new(level)
        .unwrap_or_else(|_| CompressionLvl::new(GZIP_LEVEL).expect("a level that exists"));
    while let Ok(first) = receiver.recv() {
        let mut members = vec![first];
        while members.len() < threads * MEMBERS_AT_ONCE
            && let Ok(member) = receiver.recv()
        {
            members.push(member);
        }
        let compressed: Vec<io::Result<Vec<u8>>> = members
            .par_iter()
            .map_init(
                || Compressor::new(level),
                |compressor, member| {
                    let mut bytes = vec![0; compressor.gzip_compress_bound(member.len())];
                    let length = compressor
                        .gzip_compress(member, &mut bytes)
                        .map_err(io::Error::other)?;
                    bytes.truncate(length);
                    Ok(bytes)
                },
            )
            .collect();
        for member in compressed {
            output.write_all(&member?)?;
        }
    }
    Ok(())
}

/// Counts what is written.
struct Counting<'a> {
    output: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Cuts a stream into members.
struct Members {
    sender: SyncSender<Vec<u8>>,
    member: Vec<u8>,
}

impl Members {
    fn send(&mut self) -> io::Result<()> {
        if self.member.is_empty() {
            return Ok(());
        }
        let member = std::mem::replace(&mut self.member, Vec::with_capacity(MEMBER));
        self.sender
            .send(member)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Members {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(MEMBER - self.member.len());
        self.member.extend_from_slice(&bytes[..count]);
        if self.member.len() == MEMBER {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
