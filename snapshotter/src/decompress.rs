//! Reading compressed streams.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kiln_cache::Compression;

/// Bytes that are handed from the decompressing thread to the unpacking one at once.
const CHUNK: usize = 256 << 10;

/// Chunks on the way between the two.
const CHUNKS: usize = 8;

/// KiB. `xz -9` needs 65 MiB; a stream that asks for much more is not meant to be read.
const XZ_MEMORY: u32 = 192 << 10;

/// How a stream is packed: what layers may be, and what people's archives are besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Layer(Compression),
    Bzip2,
    Xz,
}

/// Wraps a stream so that it reads uncompressed. The kind is recognised by its first bytes if it is
/// not given.
pub(crate) fn reader<'a>(
    input: impl Read + Send + 'a,
    compression: Option<Compression>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut input = BufReader::with_capacity(128 << 10, input);
    let format = match compression {
        Some(compression) => Format::Layer(compression),
        None => sniff(input.fill_buf()?),
    };
    Ok(match format {
        Format::Layer(Compression::None) => Box::new(input),
        // Many registries hold blobs of several members.
        Format::Layer(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Format::Layer(Compression::Zstd) => Box::new(zstd::Decoder::with_buffer(input)?),
        Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Format::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY)),
    })
}

fn sniff(start: &[u8]) -> Format {
    match start {
        [0x1f, 0x8b, ..] => Format::Layer(Compression::Gzip),
        // RFC 8878: a frame, or one of the skippable frames that zstd:chunked begins with.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Format::Layer(Compression::Zstd)
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        _ => Format::Layer(Compression::None),
    }
}

/// Reads `input` on a thread of its own while `act` uses what it read.
pub(crate) fn ahead<T>(mut input: impl Read + Send, act: impl FnOnce(&mut dyn Read) -> T) -> T {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(CHUNKS);
        scope.spawn(move || pump(&mut input, &sender));
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
        // Nobody listens any more after an error on the other side.
        if sender.send(result.map(|_| chunk)).is_err() || is_last {
            return;
        }
    }
}

/// What the other thread read.
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
