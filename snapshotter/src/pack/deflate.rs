//! Deflate streams that are joined at the bit: each goes on where the one before it ends.
//!
//! A stream is a sequence of blocks, and only its last one says that it is the last (RFC 1951,
//! 3.2.3). So streams that were compressed side by side become one if each but the last of them
//! loses that bit, and is filled up to a whole byte with an empty stored block, which is what
//! zlib's sync flush writes too. Where the last block begins only those know who have read all
//! before it: its codes are followed here, with extra bits skipped and nothing unpacked, in a
//! twentieth of the time that compressing takes.

/// Bits that are looked up at once; longer codes are rare and followed bit by bit.
const SHORT: usize = 11;

/// The longest code. (RFC 1951, 3.2.7)
const LONGEST: usize = 15;

/// Zero bytes that may be read beyond the end of a stream.
const BEYOND: usize = 8;

/// Set in an [`Item`] that a distance follows.
const MATCH: u16 = 0x20;

/// Set in an [`Item`] that ends its block.
const END: u16 = 0x40;

/// In the lowest five bits, how many bits a code takes together with its extra bits; above them what
/// it means. Zero if there is no such code.
type Item = u16;

/// Bytes that are no deflate stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a deflate stream")]
pub(crate) struct InvalidDeflate;

/// Opens the end of a whole stream, so that another one may follow.
///
/// # Errors
/// When the bytes are no stream, or more than one.
pub(crate) fn open_end(stream: &mut Vec<u8>) -> Result<(), InvalidDeflate> {
    let length = stream.len();
    stream.resize(length + BEYOND, 0);
    let ends = find_ends(stream);
    stream.truncate(length);
    let is_whole = |ends: &Ends| ends.end.div_ceil(8) == length;
    let Ends { last, end } = ends.filter(is_whole).ok_or(InvalidDeflate)?;
    stream[last / 8] &= !(1 << (last % 8));
    // The three bits that a stored block begins with are zero, and so is what fills its byte.
    match end % 8 {
        0 => stream.push(0),
        used => {
            stream[length - 1] &= (1 << used) - 1;
            if used > 5 {
                stream.push(0);
            }
        }
    }
    stream.extend_from_slice(&[0, 0, 0xff, 0xff]);
    Ok(())
}

/// Positions of the end of a stream, in bits from its start.
struct Ends {
    /// Where the last block begins.
    last: usize,
    /// Where it ends.
    end: usize,
}

fn find_ends(bytes: &[u8]) -> Option<Ends> {
    let mut bits = DeflateBits { bytes, position: 0 };
    loop {
        let start = bits.position;
        let is_last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => bits.skip_stored()?,
            1 => {
                let (symbols, distances) = fixed()?;
                bits.skip_codes(&symbols, &distances)?;
            }
            2 => {
                let (symbols, distances) = bits.read_codes()?;
                bits.skip_codes(&symbols, &distances)?;
            }
            _ => return None,
        }
        if is_last {
            return Some(Ends {
                last: start,
                end: bits.position,
            });
        }
    }
}

/// A place in a stream, the lowest bit of each byte first.
struct DeflateBits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl DeflateBits<'_> {
    /// Returns the next 57 bits at least.
    #[inline]
    fn peek(&self) -> Option<u64> {
        let word = self.bytes.get(self.position / 8..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*word) >> (self.position % 8))
    }

    fn take(&mut self, count: usize) -> Option<usize> {
        let value = self.peek()? & ((1 << count) - 1);
        self.position += count;
        usize::try_from(value).ok()
    }

    fn skip_stored(&mut self) -> Option<()> {
        self.position = self.position.next_multiple_of(8);
        let length = self.take(16)?;
        let inverted = self.take(16)?;
        self.position += length * 8;
        (length ^ inverted == 0xffff).then_some(())
    }

    fn skip_codes(&mut self, symbols: &Codes, distances: &Codes) -> Option<()> {
        loop {
            let word = self.peek()?;
            let item = symbols.find(word)?;
            let length = usize::from(item & 0x1f);
            self.position += length;
            if item & MATCH != 0 {
                // Both take at most 15 + 5 + 15 + 13 bits.
                let distance = distances.find(word >> length)?;
                self.position += usize::from(distance & 0x1f);
            } else if item & END != 0 {
                return Some(());
            } else {
                // Literals seldom come alone, and two more fit into the word.
                let mut word = word >> length;
                for _ in 0..2 {
                    let item = symbols.find(word)?;
                    if item & (MATCH | END) != 0 {
                        break;
                    }
                    self.position += usize::from(item);
                    word >>= item;
                }
            }
        }
    }

    /// Reads the codes of a block that has its own. (RFC 1951, 3.2.7)
    fn read_codes(&mut self) -> Option<(Codes, Codes)> {
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        let symbols = self.take(5)? + 257;
        let distances = self.take(5)? + 1;
        let count = self.take(4)? + 4;
        let mut lengths = [0; ORDER.len()];
        for place in &ORDER[..count] {
            lengths[*place] = u8::try_from(self.take(3)?).ok()?;
        }
        // An item of this code is a symbol in the upper bits.
        let code = Codes::new(&lengths, |symbol| Some(symbol << 5))?;
        let mut lengths = Vec::with_capacity(symbols + distances);
        while lengths.len() < symbols + distances {
            let item = code.find(self.peek()?)?;
            self.position += usize::from(item & 0x1f);
            let (length, count) = match item >> 5 {
                symbol @ 0..16 => (u8::try_from(symbol).ok()?, 1),
                16 => (*lengths.last()?, self.take(2)? + 3),
                17 => (0, self.take(3)? + 3),
                _ => (0, self.take(7)? + 11),
            };
            lengths.extend(std::iter::repeat_n(length, count));
        }
        if lengths.len() > symbols + distances {
            return None;
        }
        let (symbols, distances) = lengths.split_at(symbols);
        Some((symbol_codes(symbols)?, distance_codes(distances)?))
    }
}

/// The codes of blocks that have none of their own. (RFC 1951, 3.2.6)
fn fixed() -> Option<(Codes, Codes)> {
    let mut lengths = [8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    Some((symbol_codes(&lengths)?, distance_codes(&[5; 30])?))
}

// RFC 1951, 3.2.5.
fn symbol_codes(lengths: &[u8]) -> Option<Codes> {
    Codes::new(lengths, |symbol| match symbol {
        0..256 => Some(0),
        256 => Some(END),
        257..265 | 285 => Some(MATCH),
        265..285 => Some(MATCH + (symbol - 261) / 4),
        _ => None,
    })
}

// RFC 1951, 3.2.5.
fn distance_codes(lengths: &[u8]) -> Option<Codes> {
    Codes::new(lengths, |symbol| match symbol {
        0..4 => Some(0),
        4..30 => Some(symbol / 2 - 1),
        _ => None,
    })
}

/// A canonical Huffman code. (RFC 1951, 3.2.2)
struct Codes {
    /// By the next bits, if a code is no longer than they are.
    short: Vec<Item>,
    /// Number of codes of each length.
    counts: [usize; LONGEST + 1],
    /// Items in the order of their codes.
    items: Vec<Item>,
}

impl Codes {
    /// Makes the code in which each symbol has a given length, or none if that is zero; `item` says
    /// what follows a symbol and what it means.
    fn new(lengths: &[u8], item: impl Fn(u16) -> Option<Item>) -> Option<Self> {
        let mut counts = [0; LONGEST + 1];
        for length in lengths {
            *counts.get_mut(usize::from(*length))? += 1;
        }
        counts[0] = 0;
        // For each length, its first code and the place of that among the items.
        let (mut next, mut place) = ([0; LONGEST + 1], [0; LONGEST + 1]);
        for length in 1..=LONGEST {
            next[length] = (next[length - 1] + counts[length - 1]) << 1;
            place[length] = place[length - 1] + counts[length - 1];
            // More codes than bits can tell apart.
            if next[length] + counts[length] > 1 << length {
                return None;
            }
        }
        let mut codes = Self {
            short: vec![0; 1 << SHORT],
            counts,
            items: vec![0; lengths.len()],
        };
        for (symbol, &bits) in (0_u16..).zip(lengths).filter(|(_, bits)| **bits != 0) {
            let length = usize::from(bits);
            let item = item(symbol).map_or(0, |item| item + u16::from(bits));
            codes.items[place[length]] = item;
            if length <= SHORT {
                let first = reversed(next[length], length);
                for place in (first..1 << SHORT).step_by(1 << length) {
                    codes.short[place] = item;
                }
            }
            next[length] += 1;
            place[length] += 1;
        }
        Some(codes)
    }

    #[inline]
    fn find(&self, word: u64) -> Option<Item> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only the lowest bits count"
        )]
        let place = word as usize & ((1 << SHORT) - 1);
        match self.short[place] {
            0 => self.find_long(word),
            item => Some(item),
        }
    }

    #[cold]
    fn find_long(&self, mut word: u64) -> Option<Item> {
        let (mut code, mut first, mut before) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= usize::from(word & 1 == 1);
            word >>= 1;
            if code < first + count {
                let item = self.items[before + code - first];
                return (item != 0).then_some(item);
            }
            before += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

/// Codes are written with their highest bit first, everything else with the lowest.
fn reversed(code: usize, length: usize) -> usize {
    code.reverse_bits() >> (usize::BITS as usize - length)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::DeflateDecoder;
    use libdeflater::{CompressionLvl, Compressor};

    use super::*;

    fn compressed(level: i32, bytes: &[u8]) -> Vec<u8> {
        let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
        let mut stream = vec![0; compressor.deflate_compress_bound(bytes.len())];
        let length = compressor.deflate_compress(bytes, &mut stream).unwrap();
        stream.truncate(length);
        stream
    }

    /// Bytes of many kinds: noise, text, runs, and what lies between, by chance.
    fn sample(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let (count, mask) = (random() % 3000, random().to_le_bytes()[0]);
            match random() % 4 {
                0 => bytes.extend((0..count).map(|_| random().to_le_bytes()[0] & mask)),
                1 => bytes.extend((0..count).map(|_| mask)),
                2 if !bytes.is_empty() => {
                    let start = usize::try_from(random()).unwrap() % bytes.len();
                    let end = bytes.len().min(start + 400);
                    bytes.extend_from_within(start..end);
                }
                _ => {
                    for _ in 0..count {
                        bytes.extend_from_slice((random() % 977).to_string().as_bytes());
                    }
                }
            }
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn streams_are_joined() {
        let lengths = [0, 1, 2, 55, 300, 5000, 70_000, 400_000];
        for level in 0..=12 {
            let mut joined = Vec::new();
            let mut expected = Vec::new();
            for (seed, length) in (1..).zip(lengths) {
                let piece = sample(seed + 100 * u64::try_from(level).unwrap(), length);
                let mut stream = compressed(level, &piece);
                open_end(&mut stream).unwrap();
                joined.extend(stream);
                expected.extend(piece);
            }
            joined.extend([3, 0]);
            let mut decoder = DeflateDecoder::new(&*joined);
            let mut bytes = Vec::new();
            decoder.read_to_end(&mut bytes).unwrap();
            assert!(bytes == expected, "level {level}");
            assert_eq!(decoder.total_in(), joined.len() as u64, "level {level}");
        }
    }

    #[test]
    fn streams_of_other_programs_are_joined() {
        for (level, length) in [(0, 200_000), (1, 100_000), (6, 300_000), (9, 30)] {
            let piece = sample(7, length);
            let mut encoder =
                flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
            std::io::Write::write_all(&mut encoder, &piece).unwrap();
            let mut stream = encoder.finish().unwrap();
            open_end(&mut stream).unwrap();
            stream.extend([3, 0]);
            let mut bytes = Vec::new();
            DeflateDecoder::new(&*stream)
                .read_to_end(&mut bytes)
                .unwrap();
            assert!(bytes == piece, "level {level}");
        }
    }

    #[test]
    fn damaged_streams_are_refused() {
        let stream = compressed(5, &sample(3, 20_000));
        for bad in [
            Vec::new(),
            vec![7],
            vec![0xff; 100],
            stream[..stream.len() - 1].to_vec(),
            [&*stream, &[0]].concat(),
        ] {
            assert_eq!(open_end(&mut bad.clone()), Err(InvalidDeflate), "{bad:x?}");
        }
        // Damage is not always noticed, but never does more than that.
        for position in 0..stream.len().min(2000) {
            let mut damaged = stream.clone();
            damaged[position] ^= 1 << (position % 8);
            let _ = open_end(&mut damaged);
        }
    }
}
