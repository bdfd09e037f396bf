//! The canonical tar of a layer: a pure function of its index and its files' contents.
//!
//! docs/spec/oci.md 5. Entries stand in the order of the index; names are relative, those of
//! directories end in a slash; ustar where it fits, else PAX records, sorted, in front; times in
//! whole seconds; no user or group names; every number set. A whiteout is an empty `.wh.<name>`
//! with zeroed fields, an opaque directory is followed by `.wh..wh..opq`, a directory that is only
//! there for what is in it is left out. Two zero blocks end it.
//!
//! The diff id of every layer that kiln makes hangs on these bytes. The `tar` crate contributes
//! the place of the fields, octal numbers and the checksum, which no version can change; what
//! versions could do differently (how a long name is split, when PAX records are written and in
//! which order) is decided here, and a test freezes the result.

use std::io::Write;

use ::tar::{EntryType, Header};
use kiln_oci::Timestamp;
use kiln_tree::{Blake3, Entry, NodeKind, Tree, Xattrs};

use crate::error::LayerError;
use crate::layer::Layer;
use crate::tar::contents::{Check, ContentSource, OnDisk, TarContent, in_order};

const BLOCK: usize = 512;

/// The largest number in an octal field of eleven digits.
const LARGEST_SIZE: u64 = 0o777_7777_7777;

/// The largest number in an octal field of seven digits.
const LARGEST_ID: u32 = 0o777_7777;

/// Writes the tar of `layer`, whose files are made sure to be what the index says by `check`.
pub(crate) fn write_layer(
    layer: &Layer,
    check: Check,
    output: &mut impl Write,
) -> Result<(), LayerError> {
    let tree = layer.tree()?;
    let files = OnDisk::open(layer.id(), layer.files(), check, &tree, 0, layer.stop())?;
    write_tree(&files, &tree, 0, output, |_, _| ())
}

/// Writes the tar of the files that `tree` describes, from the entry at a position on, and calls
/// `before` in front of each.
pub(crate) fn write_tree<C: ContentSource, W: Write>(
    contents: &C,
    tree: &Tree,
    start: usize,
    output: &mut W,
    mut before: impl FnMut(usize, &mut W),
) -> Result<(), C::Error> {
    in_order(contents, tree, start, |position, content| {
        before(position, output);
        let entry = tree.at(position);
        match entry.kind {
            // It is not the layer's; reading the tar implies it again.
            NodeKind::Directory { implied: true, .. } => write_opaque_marker(&entry, output),
            _ => write_entry(&entry, output),
        }
        .map_err(LayerError::Output)?;
        match content {
            TarContent::Read(bytes) => output.write_all(&bytes).map_err(LayerError::Output)?,
            TarContent::Streamed => contents.stream(position, &entry, output)?,
            TarContent::None => {}
        }
        if let NodeKind::File { size, .. } = entry.kind {
            write_padding(size, output).map_err(LayerError::Output)?;
        }
        Ok(())
    })?;
    let end = output.write_all(&[0; 2 * BLOCK]);
    Ok(end.map_err(LayerError::Output)?)
}

/// Writes the headers of an entry, and for an opaque directory its marker.
fn write_entry(entry: &Entry<'_>, output: &mut impl Write) -> std::io::Result<()> {
    let (directory, name) = match entry.path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => entry.path.split_at(slash + 1),
        None => (&b""[..], entry.path),
    };
    if entry.kind == NodeKind::Whiteout {
        return write_marker(&[directory, b".wh.", name].concat(), output);
    }
    let path = match (entry.path, entry.is_directory()) {
        (b"", _) => b"./".to_vec(),
        (path, true) => [path, b"/"].concat(),
        (path, false) => path.to_vec(),
    };
    let (typeflag, size, link, device) = match entry.kind {
        NodeKind::File { size, .. } => (EntryType::Regular, size, &b""[..], None),
        NodeKind::HardLink { target } => (EntryType::Link, 0, target, None),
        NodeKind::Symlink { target } => (EntryType::Symlink, 0, target, None),
        NodeKind::CharDevice(device) => (EntryType::Char, 0, &b""[..], Some(device)),
        NodeKind::BlockDevice(device) => (EntryType::Block, 0, &b""[..], Some(device)),
        NodeKind::Directory { .. } => (EntryType::Directory, 0, &b""[..], None),
        NodeKind::Fifo | NodeKind::Whiteout => (EntryType::Fifo, 0, &b""[..], None),
    };
    let mtime = entry.mtime;
    let mut header = Header::new_ustar();
    let mut records = Records::default();
    header.set_entry_type(typeflag);
    header.set_mode(u32::from(entry.mode));
    header.set_uid(records.number("uid", entry.uid.into(), LARGEST_ID.into()));
    header.set_gid(records.number("gid", entry.gid.into(), LARGEST_ID.into()));
    header.set_size(records.number("size", size, LARGEST_SIZE));
    header.set_mtime(records.time(mtime));
    let device = device.map_or((0, 0), |device| (device.major, device.minor));
    header.set_device_major(records.device("SCHILY.devmajor", device.0))?;
    header.set_device_minor(records.device("SCHILY.devminor", device.1))?;
    let ustar = header.as_ustar_mut().expect("made as ustar");
    match split(&path) {
        Some((prefix, name)) => {
            ustar.prefix[..prefix.len()].copy_from_slice(prefix);
            ustar.name[..name.len()].copy_from_slice(name);
        }
        None => {
            records.text("path", &path);
            ustar.name.copy_from_slice(&path[..100]);
        }
    }
    if link.len() > ustar.linkname.len() {
        records.text("linkpath", link);
    }
    let fitting = link.len().min(ustar.linkname.len());
    ustar.linkname[..fitting].copy_from_slice(&link[..fitting]);
    for (name, value) in entry.xattrs.iter() {
        records.add([b"SCHILY.xattr.", name].concat(), value.to_vec());
    }
    records.write(output)?;
    header.set_cksum();
    output.write_all(header.as_bytes())?;
    write_opaque_marker(entry, output)
}

/// Says of an opaque directory that it is one.
fn write_opaque_marker(entry: &Entry<'_>, output: &mut impl Write) -> std::io::Result<()> {
    let NodeKind::Directory { opaque: true, .. } = entry.kind else {
        return Ok(());
    };
    let mut path = entry.path.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(b".wh..wh..opq");
    write_marker(&path, output)
}

/// Writes an empty file with zeroed fields.
fn write_marker(path: &[u8], output: &mut impl Write) -> std::io::Result<()> {
    let marker = Entry {
        path,
        kind: NodeKind::File {
            size: 0,
            hash: Blake3::from_bytes([0; 32]),
        },
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Timestamp::EPOCH,
        xattrs: Xattrs::default(),
    };
    write_entry(&marker, output)
}

fn write_padding(size: u64, output: &mut impl Write) -> std::io::Result<()> {
    let over = usize::try_from(size % BLOCK as u64).expect("below a block");
    match over {
        0 => Ok(()),
        _ => output.write_all(&[0; BLOCK][over..]),
    }
}

/// Splits a path into ustar's prefix and name, at the last slash that leaves a prefix that fits.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    let searched = &path[..path.len().min(156)];
    // The slash at a directory's end is not a place to split.
    let searched = if searched.len() == path.len() {
        &searched[..path.len() - 1]
    } else {
        searched
    };
    let slash = searched.iter().rposition(|&byte| byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && name.len() <= 100).then_some((prefix, name))
}

/// The PAX records of one entry: what its ustar header cannot say.
#[derive(Default)]
struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    fn add(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.push((key, value));
    }

    fn text(&mut self, key: &str, value: &[u8]) {
        self.add(key.into(), value.to_vec());
    }

    /// Returns what goes into the header: the number, or zero beside a record if it is too large.
    fn number(&mut self, key: &str, value: u64, largest: u64) -> u64 {
        if value <= largest {
            return value;
        }
        self.text(key, value.to_string().as_bytes());
        0
    }

    fn time(&mut self, time: Timestamp) -> u64 {
        match u64::try_from(time.seconds) {
            Ok(seconds) => self.number("mtime", seconds, LARGEST_SIZE),
            Err(_) => {
                self.text("mtime", time.seconds.to_string().as_bytes());
                0
            }
        }
    }

    fn device(&mut self, key: &str, number: u32) -> u32 {
        u32::try_from(self.number(key, number.into(), LARGEST_ID.into()))
            .expect("the number itself or zero")
    }

    fn write(mut self, output: &mut impl Write) -> std::io::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort();
        let mut data = Vec::new();
        for (key, value) in &self.0 {
            // POSIX pax: "%d %s=%s\n", the length counting its own digits.
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + digits(length) {
                length = rest + digits(length);
            }
            data.extend_from_slice(format!("{length} ").as_bytes());
            data.extend_from_slice(key);
            data.push(b'=');
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        let mut header = Header::new_ustar();
        let name = b"PaxHeaders.0/entry";
        header.as_ustar_mut().expect("made as ustar").name[..name.len()].copy_from_slice(name);
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_device_major(0)?;
        header.set_device_minor(0)?;
        header.set_size(data.len() as u64);
        header.set_cksum();
        output.write_all(header.as_bytes())?;
        output.write_all(&data)?;
        write_padding(data.len() as u64, output)
    }
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}
