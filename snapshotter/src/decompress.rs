//! Compressed streams: recognised by their first bytes, and decompressed within a limit.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use kiln_oci::Compression;

use crate::unpack_limit::{Meter, UnpackLimit};

/// Bytes that are read from a packed stream at once.
const BUFFER: usize = 128 << 10;

/// Bytes that are handed from the decompressing thread to the unpacking one at once.
const CHUNK: usize = 256 << 10;

/// Chunks on the way between the two.
const CHUNKS: usize = 8;

/// KiB. A dictionary as large as any that xz's own levels ask for (65 MiB at -9) fits well.
const XZ_MEMORY_KIB: u32 = 1 << 20;

/// log2 of bytes. The largest window that zstd itself unpacks unless it is told to, and so what
/// others accept (ZSTD_WINDOWLOG_LIMIT_DEFAULT): zstd allocates all of it, also for few bytes.
const LARGEST_ZSTD_WINDOW: u32 = 27;

/// zstd's message about a larger one. (ZSTD_getErrorString, ZSTD_error_frameParameter_windowTooLarge)
const WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";

/// A zstd frame wants too large a window.
#[derive(Debug, thiserror::Error)]
#[error(
    "it was packed with zstd and a window of more than {} MiB, which is the limit; pack it without \
     `--long`, or with `--long={LARGEST_ZSTD_WINDOW}` at most",
    (1_u32 << LARGEST_ZSTD_WINDOW) >> 20
)]
struct WindowTooLarge;

/// The compression of an archive: one that layers may have ([`Compression`]), or one that only other
/// archives have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveCompression {
    /// Not at all, or in a way that kiln does not know.
    None,
    /// gzip, of one member or several.
    Gzip,
    /// zstd.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

impl ArchiveCompression {
    /// Returns the compression of an archive that begins with these bytes, of which six decide.
    #[must_use]
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // RFC 8878: a frame, or one of the skippable frames that zstd:chunked begins with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    /// Returns the same as a layer's compression; none if layers of images cannot have it.
    #[must_use]
    pub fn layer_compression(self) -> Option<Compression> {
        match self {
            Self::None => Some(Compression::None),
            Self::Gzip => Some(Compression::Gzip),
            Self::Zstd => Some(Compression::Zstd),
            Self::Bzip2 | Self::Xz => None,
        }
    }

    /// Returns the unpacked bytes; of all members, frames and streams, where there are several.
    /// Reading fails with [`TooMuch`](crate::TooMuch) where more comes of them than `limit` allows.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn unpack<'a>(
        self,
        input: impl Read + Send + 'a,
        limit: UnpackLimit,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        let meter = Meter::new(limit);
        let input = BufReader::with_capacity(BUFFER, meter.packed(input));
        Ok(Box::new(meter.unpacked(self.unpack_buffered(input)?)))
    }

    fn unpack_buffered<'a>(
        self,
        input: impl BufRead + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(input),
            // Many registries hold blobs of several members.
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?;
                decoder.window_log_max(LARGEST_ZSTD_WINDOW)?;
                Box::new(Zstd(decoder))
            }
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
                input,
                true,
                XZ_MEMORY_KIB,
            )),
        })
    }
}

/// Unpacks zstd, and says what its errors mean.
struct Zstd<R>(R);

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let is_window = error.to_string() == WINDOW_TOO_LARGE;
            if is_window {
                io::Error::new(io::ErrorKind::InvalidData, WindowTooLarge)
            } else {
                error
            }
        })
    }
}

impl From<Compression> for ArchiveCompression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Gzip => Self::Gzip,
            Compression::Zstd => Self::Zstd,
        }
    }
}

/// Wraps a stream so that it reads uncompressed, as long as `meter` allows. The kind is recognised by
/// its first bytes if it is not given.
pub(crate) fn reader<'a>(
    input: impl Read + Send + 'a,
    compression: Option<Compression>,
    meter: &Meter,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut input = BufReader::with_capacity(BUFFER, meter.packed(input));
    let packed = match compression {
        Some(compression) => compression.into(),
        None => ArchiveCompression::of(input.fill_buf()?),
    };
    Ok(Box::new(meter.unpacked(packed.unpack_buffered(input)?)))
}

/// Reads `input` on a thread of its own while `act` uses what it read.
pub(crate) fn read_on_thread<T>(
    input: impl Read + Send,
    act: impl FnOnce(&mut dyn Read) -> T,
) -> T {
    // The new thread takes it, or the calling one if the system refuses another.
    let input = Mutex::new(input);
    let take = || input.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(CHUNKS);
        let read = move || pump(&mut *take(), &sender);
        if kiln_threads::spawn_or_fail(scope, read).is_err() {
            return act(&mut *take());
        }
        let mut stream = Chunks {
            receiver,
            chunk: Vec::new(),
            position: 0,
        };
        act(&mut stream)
    })
}

fn pump(input: &mut dyn Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let result = input.take(CHUNK as u64).read_to_end(&mut chunk);
        let is_last = matches!(result, Ok(0) | Err(_));
        // After an error the other thread receives no more.
        if sender.send(result.map(|_| chunk)).is_err() || is_last {
            return;
        }
    }
}

/// The stream that the other thread reads, piece by piece.
struct Chunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    position: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() {
            self.position = 0;
            self.chunk = match self.receiver.recv() {
                Ok(chunk) => chunk?,
                Err(_) => return Ok(0),
            };
        }
        let rest = &self.chunk[self.position..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}
