//! Sparse files in tars: which parts of a file are there, all others being zeros.
//!
//! GNU tar wrote them in four ways, one after the other: a map in the header and in blocks behind it
//! (its own format), in PAX records (0.0 and 0.1), and in front of the data (1.0). As in Go, parts
//! stand in order, do not overlap, end before the file does, and are as long as the data.

use crate::tar::header::Header;
use crate::tar::member::Record;

/// The start of a part in the file, and its length.
pub(crate) type DataSpan = (u64, u64);

/// The place of the map of a sparse file that PAX records describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    /// Among the records.
    Here(Vec<DataSpan>),
    /// In front of the data.
    BeforeData,
}

/// Reads the map of a sparse file from PAX records; none if they are not about one.
// Go: readGNUSparsePAXHeaders and readGNUSparseMap0x1.
pub(crate) fn map_of(records: &[Record]) -> Result<Option<Map>, &'static str> {
    let is_old = match (
        last(records, b"GNU.sparse.major"),
        last(records, b"GNU.sparse.minor"),
    ) {
        (Some(b"0"), Some(b"0" | b"1")) => true,
        (Some(b"1"), Some(b"0")) => false,
        (None, None) => {
            let is_map = |key: &[u8]| matches!(key, b"GNU.sparse.map" | b"GNU.sparse.offset");
            if !records.iter().any(|(key, _)| is_map(key)) {
                return Ok(None);
            }
            true
        }
        _ => return Err("sparse file of an unknown version"),
    };
    if !is_old {
        return Ok(Some(Map::BeforeData));
    }
    let invalid = "invalid map of a sparse file";
    let numbers = numbers_of(records).ok_or(invalid)?;
    let (spans, rest) = numbers.as_chunks::<2>();
    let spans: Vec<DataSpan> = spans
        .iter()
        .map(|[start, length]| (*start, *length))
        .collect();
    let count = match last(records, b"GNU.sparse.numblocks") {
        Some(text) => number(text).ok_or(invalid)?,
        None => 0,
    };
    if rest.is_empty() && spans.len() as u64 == count {
        Ok(Some(Map::Here(spans)))
    } else {
        Err(invalid)
    }
}

/// Returns how long the file is with its holes, if PAX records say so.
pub(crate) fn real_size(records: &[Record]) -> Option<Option<u64>> {
    last(records, b"GNU.sparse.size")
        .or_else(|| last(records, b"GNU.sparse.realsize"))
        .map(number)
}

/// Returns what the file is called, if PAX records say so.
pub(crate) fn real_name(records: &[Record]) -> Option<&[u8]> {
    last(records, b"GNU.sparse.name")
}

/// Returns what the last record of a name says, unless it is taken back.
fn last<'a>(records: &'a [Record], wanted: &[u8]) -> Option<&'a [u8]> {
    let (_, value) = records.iter().rev().find(|(key, _)| key == wanted)?;
    (!value.is_empty()).then_some(value.as_slice())
}

/// Returns the starts and lengths, in turn: 0.0 has a record for each, 0.1 one for all.
fn numbers_of(records: &[Record]) -> Option<Vec<u64>> {
    if let Some(map) = last(records, b"GNU.sparse.map") {
        return map.split(|byte| *byte == b',').map(number).collect();
    }
    let mut numbers = Vec::new();
    for (key, value) in records {
        let is_length = match key.as_slice() {
            b"GNU.sparse.offset" => false,
            b"GNU.sparse.numbytes" => true,
            _ => continue,
        };
        if is_length != (numbers.len() % 2 == 1) {
            return None;
        }
        numbers.push(number(value)?);
    }
    Some(numbers)
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (digits && i64::try_from(number).is_ok()).then_some(number)
}

/// The map in front of the data, as it is read: how many parts there are, then start and length of
/// each, a line for every number.
#[derive(Debug, Default)]
pub(crate) struct MapText {
    text: Vec<u8>,
    lines: u64,
}

impl MapText {
    /// Takes the next block, and returns the map if that was the last of it.
    ///
    /// # Errors
    /// When it is not one.
    pub(crate) fn add(&mut self, block: &[u8]) -> Result<Option<Vec<DataSpan>>, &'static str> {
        let invalid = "invalid map of a sparse file";
        self.lines += block.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.text.extend_from_slice(block);
        let mut numbers = self.text.split(|byte| *byte == b'\n');
        // No number is as long as a block.
        let first = numbers.next().filter(|_| self.lines > 0);
        let count = first.and_then(number).ok_or(invalid)?;
        let wanted = count.checked_mul(2).ok_or(invalid)?;
        if self.lines <= wanted {
            return Ok(None);
        }
        let mut spans = Vec::new();
        for _ in 0..count {
            let mut next = || numbers.next().and_then(number).ok_or(invalid);
            spans.push((next()?, next()?));
        }
        Ok(Some(spans))
    }
}

/// Reads `count` parts of an old map, which stand from `start` on in a block. Unused ones are empty.
pub(crate) fn spans_in(block: &[u8], start: usize, count: usize) -> Option<Vec<DataSpan>> {
    let mut spans = Vec::new();
    for at in (start..).step_by(24).take(count) {
        let header = Header(block);
        let span = (header.number(at, 12)?, header.number(at + 12, 12)?);
        if block[at] != 0 {
            spans.push(span);
        }
    }
    Some(spans)
}

/// A run of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SparsePiece {
    /// That many zeros.
    Hole(u64),
    /// That many bytes of data.
    Data(u64),
}

/// The pieces of a sparse file that are still to come, the next one last.
pub(crate) type SparsePieces = Vec<SparsePiece>;

/// Makes pieces of the map of a file, and says how many bytes its holes have in all. None if the
/// parts overlap or do not add up.
// Go: validateSparseEntries.
pub(crate) fn pieces(spans: &[DataSpan], size: u64, stored: u64) -> Option<(SparsePieces, u64)> {
    let (mut position, mut data) = (0_u64, 0_u64);
    let mut pieces = Vec::with_capacity(spans.len() * 2 + 1);
    for (start, length) in spans {
        pieces.push(SparsePiece::Hole(start.checked_sub(position)?));
        pieces.push(SparsePiece::Data(*length));
        position = start.checked_add(*length)?;
        data = data.checked_add(*length)?;
    }
    pieces.push(SparsePiece::Hole(size.checked_sub(position)?));
    pieces.reverse();
    (data == stored).then_some((pieces, size - data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&str, &str)]) -> Vec<Record> {
        let pair =
            |(key, value): &(&str, &str)| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn maps_of_all_versions() {
        let (major, minor) = ("GNU.sparse.major", "GNU.sparse.minor");
        let (count, map) = ("GNU.sparse.numblocks", "GNU.sparse.map");
        let (start, length) = ("GNU.sparse.offset", "GNU.sparse.numbytes");
        let spans = Ok(Some(Map::Here(vec![(1, 2), (8, 0)])));
        let invalid = Err("invalid map of a sparse file");
        for (pairs, expected) in [
            (&[("size", "7")][..], Ok(None)),
            (&[(major, "1"), (minor, "0")], Ok(Some(Map::BeforeData))),
            (&[(count, "2"), (map, "1,2,8,0")], spans.clone()),
            (
                &[(major, "0"), (minor, "1"), (count, "2"), (map, "1,2,8,0")],
                spans.clone(),
            ),
            (
                &[
                    (count, "2"),
                    (start, "1"),
                    (length, "2"),
                    (start, "8"),
                    (length, "0"),
                ],
                spans,
            ),
            (&[(count, "1"), (start, "1"), (start, "2")], invalid.clone()),
            (&[(count, "1"), (map, "1,2,8,0")], invalid.clone()),
            (&[(count, "2"), (map, "1,2,8")], invalid.clone()),
            (&[(count, "1"), (map, "1,-2")], invalid.clone()),
            (&[(count, "1"), (map, "1,9223372036854775808")], invalid),
            (
                &[(major, "2"), (minor, "0")],
                Err("sparse file of an unknown version"),
            ),
        ] {
            assert_eq!(map_of(&records(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_map_before_the_data_takes_blocks() {
        let mut text = MapText::default();
        assert_eq!(text.add(b"2\n"), Ok(None));
        assert_eq!(text.add(b"1\n2\n"), Ok(None));
        assert_eq!(text.add(b"8\n0\n\0\0\0"), Ok(Some(vec![(1, 2), (8, 0)])));
        assert_eq!(MapText::default().add(b"0\n\0"), Ok(Some(Vec::new())));
        for bad in [
            &b"2"[..],
            b"x\n",
            b"-1\n",
            b"\n",
            b"9223372036854775808\n",
            b"1\n2\n\n",
        ] {
            assert!(MapText::default().add(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parts_have_to_fit() {
        let made = pieces(&[(1, 2), (8, 0)], 9, 2).unwrap();
        let expected = [
            SparsePiece::Hole(1),
            SparsePiece::Data(2),
            SparsePiece::Hole(5),
            SparsePiece::Data(0),
            SparsePiece::Hole(1),
        ];
        let forwards: Vec<SparsePiece> = made.0.into_iter().rev().collect();
        assert_eq!((forwards.as_slice(), made.1), (&expected[..], 7));
        for (spans, size, stored) in [
            (&[(0, 2), (1, 2)][..], 9, 4),
            (&[(4, 2), (0, 2)], 9, 4),
            (&[(0, 10)], 9, 10),
            (&[(0, 2)], 9, 3),
            (&[(u64::MAX, 2)], u64::MAX, 2),
            (&[(0, u64::MAX), (u64::MAX, 1)], u64::MAX, 0),
        ] {
            assert_eq!(pieces(spans, size, stored), None, "{spans:?}");
        }
    }
}
