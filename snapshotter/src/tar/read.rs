//! Tar streams that other programs wrote, read member by member.
//!
//! The framing is ours, because what a layer's bytes mean has to agree with what containerd and
//! Docker (Go's archive/tar) make of them, and because the `tar` crate reads PAX records by line:
//! a capability that holds a newline byte breaks its record, after which a `size` record is
//! ignored and the stream falls out of step. It also takes extension headers of any length into
//! memory. As in Go: sizes of links, directories and devices do not count, global PAX headers say
//! nothing, one zero block followed by something else is an error, and the padding of the last
//! member may be missing.

use std::io::{self, Read};

use crate::tar::extensions::Extensions;
use crate::tar::header::{Header, parse_records, until_zero};
use crate::tar::member::Record;
use crate::tar::member::{Member, MemberKind};
use crate::tar::sparse::{self, DataSpan, Map, MapText, SparsePiece, SparsePieces};
use crate::unpack_limit::Meter;

const BLOCK: usize = 512;

/// Bytes. What an extension header (long name, PAX records) holds at most. (Go: maxSpecialFileSize)
const LONGEST_EXTENSION: u64 = 1 << 20;

/// Why a stream is not a tar that kiln reads.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A block that should be a header is not one.
    #[error("not a tar header at byte {offset}: {problem}")]
    Header {
        /// Where in the uncompressed stream.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The stream ends within a member or cannot be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
}

/// Reads members one after another; between them, reads the content of the present one.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    /// Holes count, though the stream does not hold them.
    meter: Meter,
    /// Bytes read so far.
    offset: u64,
    /// Bytes of the present member still in the stream, padding left out.
    left: u64,
    padding: u64,
    /// Holes and data of a sparse member.
    pieces: SparsePieces,
}

/// Why a member could not be read: the stream failed, or its header is wrong.
enum ReadFault {
    Read(io::Error),
    Problem(&'static str),
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<&'static str> for ReadFault {
    fn from(problem: &'static str) -> Self {
        Self::Problem(problem)
    }
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R, meter: &Meter) -> Self {
        Self {
            input,
            meter: meter.clone(),
            offset: 0,
            left: 0,
            padding: 0,
            pieces: Vec::new(),
        }
    }

    /// Returns what counts the bytes that the archive asks for.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Returns the next member; none at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            if self.skip().map_err(TarError::Read)? == Skipped::ToTheEnd {
                return Ok(None);
            }
            let offset = self.offset;
            let failed = |fault| match fault {
                ReadFault::Read(error) => TarError::Read(error),
                ReadFault::Problem(problem) => TarError::Header { offset, problem },
            };
            let Some(block) = self.block().map_err(TarError::Read)? else {
                return Ok(None);
            };
            if block == [0; BLOCK] {
                return match self.block().map_err(TarError::Read)? {
                    None => Ok(None),
                    Some(second) if second == [0; BLOCK] => Ok(None),
                    Some(_) => Err(failed("something follows a zero block".into())),
                };
            }
            let member = self.member(&Header(&block), &mut extensions);
            if let Some(member) = member.map_err(failed)? {
                return Ok(Some(member));
            }
        }
    }

    /// Reads what belongs to a header; none if that is about the next member.
    fn member(
        &mut self,
        header: &Header<'_>,
        extensions: &mut Extensions,
    ) -> Result<Option<Member>, ReadFault> {
        if !header.checksum_is_right() {
            return Err("wrong checksum".into());
        }
        let size = header.number(124, 12).ok_or("invalid size")?;
        let typeflag = header.typeflag();
        match typeflag {
            b'x' => {
                let data = self.extension(size)?;
                extensions.records = parse_records(&data).ok_or("invalid PAX records")?;
            }
            b'L' => extensions.long_name = Some(until_zero(&self.extension(size)?).to_vec()),
            b'K' => extensions.long_link = Some(until_zero(&self.extension(size)?).to_vec()),
            b'g' => drop(self.extension(size)?),
            _ => {
                let mut member = header.member(typeflag)?;
                extensions.extend(&mut member)?;
                match member.kind {
                    MemberKind::File | MemberKind::Comment => {}
                    // Go: isHeaderOnly. What has no content has no blocks either.
                    _ => member.size = 0,
                }
                self.left = member.size;
                self.padding = member.size.wrapping_neg() % BLOCK as u64;
                self.find_holes(&mut member, header, &extensions.records)?;
                return Ok(Some(member));
            }
        }
        Ok(None)
    }

    /// Returns where in the archive the reader is: after [`Self::next`], the content of that member.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns whether the content of the present member lies in the archive as it is.
    pub(crate) fn is_in_one_piece(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Returns how many bytes of the present member are still to come, which then do not come.
    pub(crate) fn take_left(&mut self) -> u64 {
        self.pieces.clear();
        std::mem::take(&mut self.left)
    }

    /// Goes to a place in the archive by means of `act`.
    pub(crate) fn go_to(
        &mut self,
        offset: u64,
        act: impl FnOnce(&mut R, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        act(&mut self.input, offset)?;
        self.offset = offset;
        Ok(())
    }

    /// Reads what follows the archive, so that a digest of the whole stream can be made.
    pub(crate) fn drain(mut self) -> Result<R, TarError> {
        self.skip()
            .and_then(|_| io::copy(&mut self.input, &mut io::sink()))
            .map_err(TarError::Read)?;
        Ok(self.input)
    }

    /// Skips what is left of the present member.
    fn skip(&mut self) -> io::Result<Skipped> {
        self.pieces.clear();
        let rest = std::mem::take(&mut self.left);
        if self.skip_bytes(rest)? < rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Some programs do not fill up the last block.
        let padding = std::mem::take(&mut self.padding);
        if self.skip_bytes(padding)? == padding {
            Ok(Skipped::ToTheNext)
        } else {
            Ok(Skipped::ToTheEnd)
        }
    }

    /// Skips so many bytes, or as many as there are, and says how many.
    fn skip_bytes(&mut self, count: u64) -> io::Result<u64> {
        let skipped = io::copy(&mut self.input.by_ref().take(count), &mut io::sink())?;
        self.offset = self.offset.saturating_add(skipped);
        Ok(skipped)
    }

    /// Reads a block; none at the end of the stream.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    /// Reads the content of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ReadFault> {
        if size > LONGEST_EXTENSION {
            return Err("extension header is too long".into());
        }
        let mut data = vec![0; usize::try_from(size).expect("at most a mebibyte")];
        self.input.read_exact(&mut data)?;
        self.offset += size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(data)
    }

    /// Reads where the data of a sparse member belong, if it is one.
    fn find_holes(
        &mut self,
        member: &mut Member,
        header: &Header<'_>,
        records: &[Record],
    ) -> Result<(), ReadFault> {
        let invalid = "invalid map of a sparse file";
        let (spans, size) = if header.typeflag() == b'S' {
            let size = header.number(483, 12).ok_or("invalid size")?;
            (self.read_old_map(header)?, size)
        } else if let Some(map) = sparse::map_of(records)? {
            if member.kind != MemberKind::File {
                return Err(invalid.into());
            }
            // Go: without such a record, the size is that of the member.
            let size = match sparse::real_size(records) {
                Some(size) => size.ok_or(invalid)?,
                None => member.size,
            };
            let spans = match map {
                Map::Here(spans) => spans,
                Map::BeforeData => self.read_map_before_data()?,
            };
            (spans, size)
        } else {
            return Ok(());
        };
        if let Some(name) = sparse::real_name(records) {
            if name.contains(&0) {
                return Err("a name contains a zero byte".into());
            }
            member.path = name.to_vec();
        }
        let (pieces, hole_bytes) = sparse::pieces(&spans, size, self.left).ok_or(invalid)?;
        self.meter.add(hole_bytes)?;
        self.pieces = pieces;
        member.size = size;
        Ok(())
    }

    /// Reads the map of a file in GNU tar's own format, of which the header has four parts.
    fn read_old_map(&mut self, header: &Header<'_>) -> Result<Vec<DataSpan>, ReadFault> {
        let invalid = "invalid map of a sparse file";
        let mut spans = sparse::spans_in(header.0, 386, 4).ok_or(invalid)?;
        let mut is_extended = header.0[482] != 0;
        // A map as long as the longest extension header is long enough.
        let mut blocks_left = LONGEST_EXTENSION / BLOCK as u64;
        while is_extended {
            blocks_left = blocks_left.checked_sub(1).ok_or(invalid)?;
            let block = self.block()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            spans.extend(sparse::spans_in(&block, 0, 21).ok_or(invalid)?);
            is_extended = block[504] != 0;
        }
        Ok(spans)
    }

    /// Reads the map of a file that stands in blocks of its own in front of the data.
    fn read_map_before_data(&mut self) -> Result<Vec<DataSpan>, ReadFault> {
        let invalid = "invalid map of a sparse file";
        let mut text = MapText::default();
        for _ in 0..LONGEST_EXTENSION / BLOCK as u64 {
            self.left = self.left.checked_sub(BLOCK as u64).ok_or(invalid)?;
            let block = self.block()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if let Some(spans) = text.add(&block)? {
                return Ok(spans);
            }
        }
        Err(invalid.into())
    }
}

/// The extent to which a member was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skipped {
    ToTheNext,
    ToTheEnd,
}

impl From<io::ErrorKind> for ReadFault {
    fn from(kind: io::ErrorKind) -> Self {
        Self::Read(kind.into())
    }
}

/// Reads the content of the present member.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut limit = self.left;
        while let Some(piece) = self.pieces.last_mut() {
            match piece {
                SparsePiece::Hole(0) | SparsePiece::Data(0) => {
                    self.pieces.pop();
                }
                SparsePiece::Hole(length) => {
                    let count = usize::try_from(*length)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len());
                    buffer[..count].fill(0);
                    *length -= count as u64;
                    return Ok(count);
                }
                SparsePiece::Data(length) => {
                    limit = *length;
                    break;
                }
            }
        }
        let wanted = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        self.offset += count as u64;
        if let Some(SparsePiece::Data(length)) = self.pieces.last_mut() {
            *length -= count as u64;
        }
        Ok(count)
    }
}
