//! gzip of one member, made by several threads.
//!
//! Many readers take the first member of a stream and no more: `GzDecoder` of flate2, `zlib` of
//! Python and with it `tarfile`, scanners built on them. So pieces of the input are compressed side
//! by side, without knowing of each other, and their blocks put together under one header. That costs
//! 0.2 % in size, and the bytes depend on the input and the level alone.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use libdeflater::{CompressionLvl, Compressor, Crc};
use rayon::prelude::*;

use super::deflate;
use crate::error::LayerError;

/// Bytes of input that are compressed at once.
const PIECE: usize = 1 << 20;

/// Pieces that are compressed side by side, for each thread: a thread that is done early has another one.
const PIECES_AT_ONCE: usize = 4;

/// No flags, no time, an unknown system. (RFC 1952, 2.3; docs/spec/oci.md 5.3)
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The last block: an empty one. (RFC 1951, 3.2.3 and 3.2.6)
const LAST_BLOCK: [u8; 2] = [3, 0];

/// Compresses what `produce` writes.
pub(crate) fn write<T: Send>(
    level: CompressionLvl,
    output: &mut dyn Write,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, LayerError> + Send,
) -> Result<T, LayerError> {
    kiln_threads::prepare_pool();
    let threads = rayon::current_num_threads();
    output.write_all(&HEADER).map_err(LayerError::Output)?;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(threads * PIECES_AT_ONCE);
        // The tar is read, written and hashed on a thread of its own.
        let produce = move || -> Result<(T, [u8; 8]), LayerError> {
            let mut pieces = GzipPieces {
                sender,
                piece: Vec::with_capacity(PIECE),
                check: Crc::new(),
                length: 0,
            };
            let made = produce(&mut pieces)?;
            pieces.send().map_err(LayerError::Output)?;
            Ok((made, pieces.trailer()))
        };
        let producer = kiln_threads::spawn_or_fail(scope, produce).map_err(LayerError::Output)?;
        let written = compress(level, threads, &receiver, output);
        drop(receiver);
        let produced = producer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // If this side failed, the other one only knows that its pieces are not received.
        written.map_err(LayerError::Output)?;
        let (made, trailer) = produced?;
        output
            .write_all(&LAST_BLOCK)
            .and_then(|()| output.write_all(&trailer))
            .map_err(LayerError::Output)?;
        Ok(made)
    })
}

fn compress(
    level: CompressionLvl,
    threads: usize,
    receiver: &Receiver<Vec<u8>>,
    output: &mut dyn Write,
) -> io::Result<()> {
    while let Ok(first) = receiver.recv() {
        let mut pieces = vec![first];
        while pieces.len() < threads * PIECES_AT_ONCE
            && let Ok(piece) = receiver.recv()
        {
            pieces.push(piece);
        }
        let compressed: Vec<io::Result<Vec<u8>>> = pieces
            .par_iter()
            .map_init(
                || Compressor::new(level),
                |compressor, piece| compress_piece(compressor, piece),
            )
            .collect();
        for piece in compressed {
            output.write_all(&piece?)?;
        }
    }
    Ok(())
}

/// Returns blocks that others may follow.
fn compress_piece(compressor: &mut Compressor, piece: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = vec![0; compressor.deflate_compress_bound(piece.len())];
    let length = compressor
        .deflate_compress(piece, &mut stream)
        .map_err(io::Error::other)?;
    stream.truncate(length);
    deflate::open_end(&mut stream).map_err(io::Error::other)?;
    Ok(stream)
}

/// Cuts a stream into pieces.
struct GzipPieces {
    sender: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    /// CRC-32 of the pieces that were sent.
    check: Crc,
    /// Their length, modulo 2³² as gzip has it.
    length: u32,
}

impl GzipPieces {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.check.update(&piece);
        let length = u32::try_from(piece.len()).expect("at most a mebibyte");
        self.length = self.length.wrapping_add(length);
        self.sender
            .send(piece)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn trailer(&self) -> [u8; 8] {
        let mut trailer = [0; 8];
        trailer[..4].copy_from_slice(&self.check.sum().to_le_bytes());
        trailer[4..].copy_from_slice(&self.length.to_le_bytes());
        trailer
    }
}

impl Write for GzipPieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
