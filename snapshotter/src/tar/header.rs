//! The fields of tar headers and the records of PAX headers, read.

use kiln_oci::Timestamp;
use kiln_tree::Device;

use crate::tar::member::{Member, MemberKind, Record};

/// A header block. Offsets are those of POSIX ustar and GNU tar's `struct oldgnu_header`.
pub(crate) struct Header<'a>(pub(crate) &'a [u8]);

impl Header<'_> {
    pub(crate) fn checksum_is_right(&self) -> bool {
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

    pub(crate) fn typeflag(&self) -> u8 {
        self.0[156]
    }

    /// Returns a non-negative number: octal digits, or base 256 if the first bit is set.
    pub(crate) fn number(&self, at: usize, length: usize) -> Option<u64> {
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

    pub(crate) fn member(&self, typeflag: u8) -> Result<Member, &'static str> {
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
            uid: id(self.number(108, 8).ok_or("invalid user id")?)?,
            gid: id(self.number(116, 8).ok_or("invalid group id")?)?,
            mtime: Timestamp::from_seconds(seconds),
            xattrs: Vec::new(),
        })
    }
}

pub(crate) fn narrow(number: u64) -> Result<u32, &'static str> {
    u32::try_from(number).map_err(|_| "an id or device number is too large")
}

/// Makes a user or group id. The largest number is none: it tells chown(2) to change nothing.
pub(crate) fn id(number: u64) -> Result<u32, &'static str> {
    match narrow(number)? {
        u32::MAX => Err("4294967295 is no user or group id"),
        id => Ok(id),
    }
}

pub(crate) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Parses `"%d %s=%s\n"` records, whose length decides where they end: values are bytes.
pub(crate) fn parse_records(mut data: &[u8]) -> Option<Vec<Record>> {
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
pub(crate) fn parse_time(text: &[u8]) -> Option<Timestamp> {
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
