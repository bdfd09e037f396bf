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
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
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
    records: Vec<(Vec<u8>, Vec<u8>)>,
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

/// A header block. Offsets are those of POSIX ustar and GNU tar's `struct oldgnu_header`.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    fn checksum_is_right(&self) -> bool {
        let Some(expected) = self.number(148, 8) else {
            return false;
        };
        let bytes = || {
            let (before, rest) = self.0.split_at(148);
            before.iter().chain(&rest[8..])
        };
        let blank = 8 * u64::from(b' ');
        let unsigned: u64 = bytes().map(|byte| u64::from(*byte)).sum::<u64>() + blank;
        // Some old programs summed signed bytes.
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        expected == unsigned || i64::try_from(expected) == Ok(signed + 256)
    }

    /// Returns a non-negative number: octal digits, or base 256 if the first bit is set.
    fn number(&self, at: usize, length: usize) -> Option<u64> {
        u64::try_from(self.signed_number(at, length)?).ok()
    }

    fn signed_number(&self, at: usize, length: usize) -> Option<i64> {
        let field = &self.0[at..at + length];
        if field[0] & 0x80 != 0 {
            let is_negative = field[0] & 0x40 != 0;
            let fill = if is_negative { 0xff } else { 0 };
            let (high, low) = field.split_at(length.saturating_sub(8));
            let mut value = if is_negative { -1_i64 } else { 0 };
            for (position, byte) in high.iter().enumerate() {
                let byte = if position == 0 { byte & 0x7f } else { *byte };
                let fill = if position == 0 { fill & 0x7f } else { fill };
                if byte != fill {
                    return None;
                }
            }
            for (position, byte) in low.iter().enumerate() {
                let is_mark = high.is_empty() && position == 0;
                let byte = match (is_mark, is_negative) {
                    (true, false) => byte & 0x7f,
                    _ => *byte,
                };
                value = value << 8 | i64::from(byte);
            }
            return (is_negative == (value < 0)).then_some(value);
        }
        let text = field
            .split(|byte| *byte == 0)
            .find(|part| !part.is_empty())
            .unwrap_or_default();
        let text = std::str::from_utf8(text).ok()?.trim_matches(' ');
        match text {
            "" => Some(0),
            text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                i64::from_str_radix(text, 8).ok()
            }
            _ => None,
        }
    }

    fn text(&self, at: usize, length: usize) -> &[u8] {
        until_zero(&self.0[at..at + length])
    }

    fn member(&self, typeflag: u8) -> Result<Member, &'static str> {
        let is_ustar = &self.0[257..263] == b"ustar\0";
        let mut path = self.text(0, 100).to_vec();
        // GNU tar keeps other things where ustar has the prefix.
        let prefix = self.text(345, 155);
        if is_ustar && !prefix.is_empty() {
            path = [prefix, b"/", &path].concat();
        }
        let link = || self.text(157, 100).to_vec();
        let device = || -> Result<Device, &'static str> {
            let number = |at| self.number(at, 8).ok_or("invalid device number");
            Ok(Device {
                major: narrow(number(329)?)?,
                minor: narrow(number(337)?)?,
            })
        };
        let kind = match typeflag {
            // Programs of before POSIX mark directories by the slash alone.
            b'\0' if path.ends_with(b"/") => MemberKind::Directory,
            b'\0' | b'0' | b'7' | b'S' => MemberKind::File,
            b'1' => MemberKind::HardLink(link()),
            b'2' => MemberKind::Symlink(link()),
            b'3' => MemberKind::CharDevice(device()?),
            b'4' => MemberKind::BlockDevice(device()?),
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            b'V' => MemberKind::Comment,
            _ => return Err("unknown type of member"),
        };
        let mode = self.number(100, 8).ok_or("invalid mode")?;
        let seconds = self.signed_number(136, 12).ok_or("invalid time")?;
        Ok(Member {
            path,
            kind,
            size: self.number(124, 12).ok_or("invalid size")?,
            mode: u16::try_from(mode & 0o7777).expect("twelve bits"),
            uid: narrow(self.number(108, 8).ok_or("invalid user id")?)?,
            gid: narrow(self.number(116, 8).ok_or("invalid group id")?)?,
            mtime: Timestamp::from_seconds(seconds),
            xattrs: Vec::new(),
        })
    }
}

fn narrow(number: u64) -> Result<u32, &'static str> {
    u32::try_from(number).map_err(|_| "an id or device number is too large")
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Parses `"%d %s=%s\n"` records, whose length decides where they end: values are bytes.
fn parse_records(mut data: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !data.is_empty() && data[0] != 0 {
        let space = data.iter().take(20).position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
        let (record, rest) = data.split_at_checked(length)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() {
            return None;
        }
        records.push((key.to_vec(), value.to_vec()));
        data = rest;
    }
    Some(records)
}

/// Parses seconds since the epoch with an optional fraction.
fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    Some(match (whole.starts_with('-'), nanoseconds) {
        (true, 1..) => Timestamp {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
        _ => Timestamp {
            seconds,
            nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_notation() {
        let number = |field: &[u8]| Header(field).signed_number(0, field.len());
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"    644 ", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"000000x\0", None),
            (b"0000009\0", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe",
                Some(-2),
            ),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\0\xb2\xd0\x5e\0", Some(3_000_000_000)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn records_are_counted_not_split() {
        let records = parse_records(b"12 a=b\nc=d\n\n9 path=x\n").unwrap();
        let expected = [("a", "b\nc=d\n"), ("path", "x")]
            .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()));
        assert_eq!(records, expected);
        for bad in [
            &b"5 a=b\n"[..],
            b"x",
            b"6 a=bc",
            b"99 a=b\n",
            b"4 =b\n",
            b"0 a=b\n",
        ] {
            assert_eq!(parse_records(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, seconds, nanoseconds) in [
            ("12", 12, 0),
            ("12.5", 12, 500_000_000),
            ("-1.25", -2, 750_000_000),
            ("-0.5", -1, 500_000_000),
            ("-7", -7, 0),
            ("1.1234567891", 1, 123_456_789),
        ] {
            let time = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(parse_time(text.as_bytes()), Some(time), "{text}");
        }
        assert_eq!(parse_time(b"1.x"), None);
        assert_eq!(parse_time(b"-9223372036854775808.1"), None);
    }
}
