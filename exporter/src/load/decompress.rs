//! What archives and layers are packed with, told by their first bytes.

use std::io::{self, BufReader, Chain, Cursor, Read};

use kiln_cache::Compression;

/// KiB. A dictionary as large as any that xz's own levels ask for (65 MiB at -9) fits well.
const XZ_MEMORY_KIB: u32 = 1 << 20;

/// log2 of bytes. The largest window that `zstd --long` writes.
const LARGEST_ZSTD_WINDOW: u32 = 31;

/// How something is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packed {
    /// Not at all, or in no way that is known.
    No,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Packed {
    /// Returns the compression that a layer of an image may have; none for the others.
    pub(crate) fn of_layers(self) -> Option<Compression> {
        match self {
            Self::No => Some(Compression::None),
            Self::Gzip => Some(Compression::Gzip),
            Self::Zstd => Some(Compression::Zstd),
            Self::Bzip2 | Self::Xz => None,
        }
    }
}

/// A reader with the bytes put back that were looked at.
pub(crate) type Rewound<R> = Chain<Cursor<Vec<u8>>, R>;

/// Looks at the first bytes.
pub(crate) fn sniff<R: Read>(mut reader: R) -> io::Result<(Packed, Rewound<R>)> {
    let mut start = Vec::new();
    reader.by_ref().take(6).read_to_end(&mut start)?;
    let packed = match start.as_slice() {
        [0x1f, 0x8b, ..] => Packed::Gzip,
        [b'B', b'Z', b'h', ..] => Packed::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Packed::Xz,
        // RFC 8878: an ordinary frame, or a skippable one in front of it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packed::Zstd,
        _ => Packed::No,
    };
    Ok((packed, Cursor::new(start).chain(reader)))
}

/// Returns the unpacked bytes; of all members, frames and streams, where there are several.
pub(crate) fn reader<'a>(packed: Packed, reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let reader = BufReader::with_capacity(1 << 17, reader);
    Ok(match packed {
        Packed::No => Box::new(reader),
        Packed::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Packed::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Packed::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
            reader,
            true,
            XZ_MEMORY_KIB,
        )),
        Packed::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            decoder.window_log_max(LARGEST_ZSTD_WINDOW)?;
            Box::new(decoder)
        }
    })
}
