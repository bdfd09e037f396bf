//! Reading tar streams that somebody else wrote.
//!
//! The framing is ours, because what a layer's bytes mean has to agree with what containerd and
//! Docker (Go's archive/tar) make of them, and because the `tar` crate reads PAX records by line:
//! a capability that holds a newline byte breaks its record, after which a `size` record is
//! ignored and the stream falls out of step. It also takes extension headers of any length into
//! memory. As in Go: sizes of links, directories and devices do not count, global PAX headers say
//! nothing, one zero block followed by something else is an error.

use std::io::{self, Read};

use kiln_cache::{Device, Timestamp};

use crate::tar_header::{Header, Record, narrow, parse_records, parse_time, until_zero};

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
    /// A file stored in a way that only GNU tar knows.
    #[error("sparse file {name} in PAX form is not supported; pack it without --sparse")]
    Sparse {
        /// Its name.
        name: String,
    },
    /// The stream ends within a member or cannot be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
}

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As written: may be absolute, or contain `..`.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: MemberKind,
    /// Bytes of content that follow.
    pub(crate) size: u64,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: Vec<Record>,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharDevice(Device),
    BlockDevice(Device),
    Directory,
    Fifo,
    /// Says something about the archive, not a file.
    Comment,
}

/// Reads members one after another; between them, reads the content of the present one.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    /// Bytes read so far.
    offset: u64,
    /// Bytes of the present member still in the stream, padding left out.
    left: u64,
    padding: u64,
    /// Holes and data of a sparse member, the next one last.
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Hole(u64),
    Data(u64),
}

/// What extension headers say about the next member.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Vec<Record>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            offset: 0,
            left: 0,
            padding: 0,
            pieces: Vec::new(),
        }
    }

    /// Returns the next member; none at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let offset = self.offset;
            let failed = |problem| TarError::Header { offset, problem };
            let Some(block) = self.block()? else {
                return Ok(None);
            };
            if block == [0; BLOCK] {
                return match self.block()? {
                    None => Ok(None),
                    Some(second) if second == [0; BLOCK] => Ok(None),
                    Some(_) => Err(failed("something follows a zero block")),
                };
            }
            let header = Header(&block);
            if !header.checksum_is_right() {
                return Err(failed("wrong checksum"));
            }
            let size = header.number(124, 12).ok_or(failed("invalid size"))?;
            let typeflag = block[156];
            match typeflag {
                b'x' | b'g' | b'L' | b'K' => {
                    let data = self.extension(size).map_err(|error| match error {
                        Some(error) => TarError::Read(error),
                        None => failed("extension header is too long"),
                    })?;
                    match typeflag {
                        b'x' => {
                            extensions.records =
                                parse_records(&data).ok_or(failed("invalid PAX records"))?;
                        }
                        b'L' => extensions.long_name = Some(until_zero(&data).to_vec()),
                        b'K' => extensions.long_link = Some(until_zero(&data).to_vec()),
                        _ => {}
                    }
                }
                _ => {
                    let mut member = header.member(typeflag).map_err(failed)?;
                    let mut stored = member.size;
                    extensions
                        .extend(&mut member, &mut stored)
                        .map_err(failed)?;
                    if extensions
                        .records
                        .iter()
                        .any(|(key, _)| key.starts_with(b"GNU.sparse."))
                    {
                        return Err(TarError::Sparse {
                            name: String::from_utf8_lossy(&member.path).into_owned(),
                        });
                    }
                    match member.kind {
                        MemberKind::File => {}
                        // Go: isHeaderOnly. What has no content has no blocks either.
                        MemberKind::Comment => {}
                        _ => (member.size, stored) = (0, 0),
                    }
                    self.left = stored;
                    self.padding = stored.wrapping_neg() % BLOCK as u64;
                    if typeflag == b'S' {
                        self.read_sparse_map(&header).map_err(|error| match error {
                            Some(error) => TarError::Read(error),
                            None => failed("invalid map of a sparse file"),
                        })?;
                        member.size = header.number(483, 12).ok_or(failed("invalid size"))?;
                    }
                    return Ok(Some(member));
                }
            }
        }
    }

    /// Reads what follows the archive, so that a digest of the whole stream can be made.
    pub(crate) fn drain(mut self) -> Result<R, TarError> {
        self.skip()?;
        io::copy(&mut self.input, &mut io::sink()).map_err(TarError::Read)?;
        Ok(self.input)
    }

    /// Skips what is left of the present member.
    fn skip(&mut self) -> Result<(), TarError> {
        self.pieces.clear();
        let mut rest = std::mem::take(&mut self.left) + std::mem::take(&mut self.padding);
        self.offset += rest;
        let mut buffer = [0; 8192];
        while rest > 0 {
            let wanted = usize::try_from(rest)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            self.input
                .read_exact(&mut buffer[..wanted])
                .map_err(TarError::Read)?;
            rest -= wanted as u64;
        }
        Ok(())
    }

    /// Reads a block; none at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    /// Reads the content of an extension header; the error is none if it is too long.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Option<io::Error>> {
        if size > LONGEST_EXTENSION {
            return Err(None);
        }
        let mut data = vec![0; usize::try_from(size).expect("at most a mebibyte")];
        self.input.read_exact(&mut data).map_err(Some)?;
        self.offset += size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(data)
    }

    /// Reads where the data of an old GNU sparse member belong; the error is none if they overlap
    /// or do not add up.
    fn read_sparse_map(&mut self, header: &Header<'_>) -> Result<(), Option<io::Error>> {
        let mut spans = Vec::new();
        let mut add = |block: &[u8], start: usize, count: usize| {
            for number in 0..count {
                let at = start + number * 24;
                let offset = Header(block).number(at, 12)?;
                let length = Header(block).number(at + 12, 12)?;
                if block[at] != 0 {
                    spans.push((offset, length));
                }
            }
            Some(())
        };
        add(header.0, 386, 4).ok_or(None)?;
        let mut is_extended = header.0[482] == 1;
        // A map as long as the longest extension header is long enough.
        let mut blocks_left = LONGEST_EXTENSION / BLOCK as u64;
        while is_extended {
            blocks_left = blocks_left.checked_sub(1).ok_or(None)?;
            let block = match self.block() {
                Ok(Some(block)) => block,
                Ok(None) => return Err(Some(io::ErrorKind::UnexpectedEof.into())),
                Err(TarError::Read(error)) => return Err(Some(error)),
                Err(_) => return Err(None),
            };
            add(&block, 0, 21).ok_or(None)?;
            is_extended = block[504] == 1;
        }
        let real_size = header.number(483, 12).ok_or(None)?;
        let (mut position, mut stored) = (0_u64, 0_u64);
        let mut pieces = Vec::new();
        for (offset, length) in spans {
            let hole = offset.checked_sub(position).ok_or(None)?;
            pieces.extend([Piece::Hole(hole), Piece::Data(length)]);
            position = offset.checked_add(length).ok_or(None)?;
            stored = stored.checked_add(length).ok_or(None)?;
        }
        let hole = real_size.checked_sub(position).ok_or(None)?;
        pieces.push(Piece::Hole(hole));
        if stored != self.left {
            return Err(None);
        }
        pieces.reverse();
        self.pieces = pieces;
        Ok(())
    }
}

/// Reads the content of the present member.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut limit = self.left;
        while let Some(piece) = self.pieces.last_mut() {
            match piece {
                Piece::Hole(0) | Piece::Data(0) => {
                    self.pieces.pop();
                }
                Piece::Hole(length) => {
                    let count = usize::try_from(*length)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len());
                    buffer[..count].fill(0);
                    *length -= count as u64;
                    return Ok(count);
                }
                Piece::Data(length) => {
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
        if let Some(Piece::Data(length)) = self.pieces.last_mut() {
            *length -= count as u64;
        }
        Ok(count)
    }
}

impl Extensions {
    /// Puts what the extension headers say into a member.
    fn extend(&self, member: &mut Member, stored: &mut u64) -> Result<(), &'static str> {
        for (key, value) in &self.records {
            let number = || {
                std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok())
                    .ok_or("invalid number in PAX records")
            };
            // An empty value takes the record back. (POSIX pax, "pax Extended Header")
            match key.as_slice() {
                _ if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") => {}
                b"path" => member.path.clone_from(value),
                b"linkpath" => member.set_link(value),
                b"size" => {
                    member.size = number()?;
                    *stored = member.size;
                }
                b"uid" => member.uid = narrow(number()?)?,
                b"gid" => member.gid = narrow(number()?)?,
                b"mtime" => {
                    member.mtime = parse_time(value).ok_or("invalid time in PAX records")?;
                }
                b"SCHILY.devmajor" => member.set_device(|device| &mut device.major, number()?)?,
                b"SCHILY.devminor" => member.set_device(|device| &mut device.minor, number()?)?,
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        member.xattrs.push((name.to_vec(), value.clone()));
                    }
                }
            }
        }
        if let Some(name) = &self.long_name {
            member.path.clone_from(name);
        }
        if let Some(link) = &self.long_link {
            member.set_link(link);
        }
        let is_text = |bytes: &[u8]| !bytes.contains(&0);
        let link_is_text = match &member.kind {
            MemberKind::HardLink(link) | MemberKind::Symlink(link) => is_text(link),
            _ => true,
        };
        match is_text(&member.path) && link_is_text {
            true => Ok(()),
            false => Err("a name contains a zero byte"),
        }
    }
}

impl Member {
    fn set_link(&mut self, target: &[u8]) {
        if let MemberKind::HardLink(link) | MemberKind::Symlink(link) = &mut self.kind {
            *link = target.to_vec();
        }
    }

    fn set_device(
        &mut self,
        part: impl Fn(&mut Device) -> &mut u32,
        number: u64,
    ) -> Result<(), &'static str> {
        if let MemberKind::CharDevice(device) | MemberKind::BlockDevice(device) = &mut self.kind {
            *part(device) = narrow(number)?;
        }
        Ok(())
    }
}
