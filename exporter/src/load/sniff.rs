//! Telling what archives and layers are packed with.

use std::io::{self, Chain, Cursor, Read};

use kiln_snapshotter::ArchiveCompression;

/// A reader with the bytes put back that were looked at.
pub(crate) type Rewound<R> = Chain<Cursor<Vec<u8>>, R>;

/// Looks at the first bytes.
pub(crate) fn sniff<R: Read>(mut reader: R) -> io::Result<(ArchiveCompression, Rewound<R>)> {
    let mut start = Vec::new();
    reader.by_ref().take(6).read_to_end(&mut start)?;
    let packed = ArchiveCompression::of(&start);
    Ok((packed, Cursor::new(start).chain(reader)))
}
