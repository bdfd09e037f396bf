//! The canonical tar of a layer: a pure function of its index and its files' contents.
//!
//! spec/oci.md section 5. Entries stand in the order of the index; names are relative, those of
//! directories end in a slash; ustar where it fits, else PAX records, sorted, in front; times in
//! whole seconds; no user or group names; every number set. A whiteout is an empty `.wh.<name>`
//! with zeroed fields, an opaque directory is followed by `.wh..wh..opq`. Two zero blocks end it.
//!
//! The diff id of every layer that kiln makes hangs on these bytes. The `tar` crate contributes
//! the place of the fields, octal numbers and the checksum, which no version can change; what
//! versions could do differently (how a long name is split, when PAX records are written and in
//! which order) is decided here, and a test freezes the result.
//!
//! Most of the time goes into opening small files, so a few threads read ahead, each a bounded
//! batch; the caller's thread writes, and hashes, alone. The threads are not rayon's: a caller on
//! rayon's pool would wait for work that the pool cannot start.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};

use kiln_cache::{Blake3, Entry, Kind, LayerId, Timestamp, Tree, Xattrs};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use tar::{EntryType, Header};

use crate::error::LayerError;
use crate::files::{LayerFiles, OpenFiles};
use crate::layer::{Layer, TimeClamp};

const BLOCK: usize = 512;

/// Bytes. Larger files are not read ahead: reading them is sequential anyway.
const SMALL: u64 = 256 << 10;

/// Bytes that one batch of small files holds at most, a single file apart. Several are on their way
/// for each thread, and memory that was not used before costs more than handing over another batch.
const BATCH_BYTES: u64 = 256 << 10;

/// Files in one batch: enough that handing it over costs nothing.
const BATCH_FILES: usize = 64;

/// Below this many files, starting threads costs more than they bring.
const FEW_FILES: usize = 64;

/// The largest number in an octal field of eleven digits.
const LARGEST_SIZE: u64 = 0o777_7777_7777;

/// The largest number in an octal field of seven digits.
const LARGEST_ID: u32 = 0o777_7777;

/// Writes the tar of `layer`.
pub(crate) fn write(
    layer: &Layer,
    clamp: TimeClamp,
    output: &mut impl Write,
) -> Result<(), LayerError> {
    write_from(layer, 0, clamp, output, |_, _| ())
}

/// Writes the tar of `layer` from the entry at a position on, and calls `before` in front of each.
pub(crate) fn write_from<W: Write>(
    layer: &Layer,
    start: usize,
    clamp: TimeClamp,
    output: &mut W,
    mut before: impl FnMut(usize, &mut W),
) -> Result<(), LayerError> {
    let source = Source {
        id: layer.id(),
        files: layer.files(),
        check: Check::Length,
    };
    let tree = layer.tree()?;
    write_tree(&source, &tree, start, clamp, output, |step| {
        if let Step::Entry { position, output } = step {
            before(position, output);
        }
        Ok(Large::OnDisk)
    })
}

/// Where the files of a layer are.
pub(crate) struct Source {
    pub(crate) id: LayerId,
    /// None if they are not unpacked.
    pub(crate) files: Option<LayerFiles>,
    pub(crate) check: Check,
}

/// How it is made sure that files are what the index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// By their length: whoever wants the tar looks at its digest.
    Length,
    /// By their BLAKE3 too, which is for those who do not digest the tar.
    Content,
}

/// Writes the tar of `layer`, whose files must have the content that the index says.
pub(crate) fn write_checked(layer: &Layer, output: &mut impl Write) -> Result<(), LayerError> {
    let source = Source {
        id: layer.id(),
        files: layer.files(),
        check: Check::Content,
    };
    let on_disk = |_: Step<'_, _>| Ok(Large::OnDisk);
    write_tree(
        &source,
        &*layer.tree()?,
        0,
        TimeClamp::None,
        output,
        on_disk,
    )
}

/// What is about to be written.
pub(crate) enum Step<'a, W> {
    /// The entry at a position.
    Entry { position: usize, output: &'a mut W },
    /// The content of a large file.
    Large { entry: Entry<'a>, output: &'a mut W },
}

/// Where the content of a large file is.
pub(crate) enum Large {
    /// Where all files are.
    OnDisk,
    /// It was written.
    Written,
}

/// Writes the tar of the files that `tree` describes, from the entry at a position on.
pub(crate) fn write_tree<W: Write>(
    source: &Source,
    tree: &Tree,
    start: usize,
    clamp: TimeClamp,
    output: &mut W,
    mut about: impl FnMut(Step<'_, W>) -> Result<Large, LayerError>,
) -> Result<(), LayerError> {
    let files = Files::open(source, tree, start)?;
    files.in_order(|position, content| {
        about(Step::Entry { position, output })?;
        let entry = tree.at(position);
        write_entry(&entry, clamp, output).map_err(LayerError::Output)?;
        if let Kind::File { size, hash } = entry.kind {
            match content {
                Content::Read(bytes) => output.write_all(&bytes).map_err(LayerError::Output)?,
                Content::Large => match about(Step::Large { entry, output })? {
                    Large::OnDisk => files.copy(&entry, size, hash, output)?,
                    Large::Written => {}
                },
                Content::None => {}
            }
            write_padding(size, output).map_err(LayerError::Output)?;
        }
        Ok(())
    })?;
    output
        .write_all(&[0; 2 * BLOCK])
        .map_err(LayerError::Output)
}

/// The content of a file on its way out.
enum Content {
    /// Not a file with content.
    None,
    /// Read ahead.
    Read(Vec<u8>),
    /// To be streamed. Not open yet, or reading ahead would hold a thousand descriptors.
    Large,
}

/// The files of a layer, read in the order of the index.
struct Files<'a> {
    source: &'a Source,
    tree: &'a Tree,
    /// Where reading begins.
    first: usize,
    /// None if no entry has content.
    open: Option<OpenFiles>,
    batches: Vec<Range<usize>>,
    count: usize,
}

impl<'a> Files<'a> {
    fn open(source: &'a Source, tree: &'a Tree, first: usize) -> Result<Self, LayerError> {
        let mut batches = Vec::new();
        let (mut start, mut bytes, mut files, mut count) = (first, 0, 0, 0);
        for (position, entry) in tree.iter().enumerate().skip(first) {
            let Kind::File { size: 1.., .. } = entry.kind else {
                continue;
            };
            (files, count) = (files + 1, count + 1);
            if let Kind::File {
                size: size @ ..=SMALL,
                ..
            } = entry.kind
            {
                bytes += size;
            }
            if bytes >= BATCH_BYTES || files >= BATCH_FILES {
                batches.push(start..position + 1);
                (start, bytes, files) = (position + 1, 0, 0);
            }
        }
        batches.push(start..tree.len());
        let open = match (count, &source.files) {
            (0, _) => None,
            (_, Some(files)) => Some(files.open()?),
            (_, None) => return Err(LayerError::NotUnpacked(source.id)),
        };
        Ok(Self {
            source,
            tree,
            first,
            open,
            batches,
            count,
        })
    }

    /// Calls `act` for each entry with its content.
    fn in_order(
        &self,
        mut act: impl FnMut(usize, Content) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        if self.count < FEW_FILES {
            return (self.first..self.tree.len())
                .try_for_each(|position| act(position, self.read(position)?));
        }
        let threads = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(4)
            .min(self.batches.len());
        std::thread::scope(|scope| {
            // Thread t reads the batches t, t + threads, …, at most two ahead.
            let receivers: Vec<Receiver<_>> = (0..threads)
                .map(|first| {
                    let (sender, receiver) = sync_channel(1);
                    scope.spawn(move || {
                        for batch in self.batches.iter().skip(first).step_by(threads) {
                            let contents: Result<Vec<Content>, LayerError> =
                                batch.clone().map(|position| self.read(position)).collect();
                            // Nobody listens any more after an error.
                            if sender.send(contents).is_err() {
                                return;
                            }
                        }
                    });
                    receiver
                })
                .collect();
            for (number, batch) in self.batches.iter().enumerate() {
                let contents = receivers[number % threads]
                    .recv()
                    .expect("each thread sends all its batches")?;
                for (position, content) in batch.clone().zip(contents) {
                    act(position, content)?;
                }
            }
            Ok(())
        })
    }

    fn read(&self, position: usize) -> Result<Content, LayerError> {
        let entry = self.tree.at(position);
        match entry.kind {
            Kind::File { size: 0, .. } => Ok(Content::None),
            Kind::File { size, .. } if size > SMALL => Ok(Content::Large),
            Kind::File { size, hash } => {
                let size = usize::try_from(size).expect("a small number");
                let bytes = read_up_to(&self.file(&entry)?, size)
                    .map_err(|error| LayerError::at(self.path(&entry))(error))?;
                let is_right = match self.source.check {
                    Check::Length => bytes.len() == size,
                    Check::Content => Blake3::of(&bytes) == hash,
                };
                match is_right {
                    true => Ok(Content::Read(bytes)),
                    false => Err(self.changed(&entry)),
                }
            }
            _ => Ok(Content::None),
        }
    }

    fn copy(
        &self,
        entry: &Entry<'_>,
        size: u64,
        hash: Blake3,
        output: &mut impl Write,
    ) -> Result<(), LayerError> {
        let mut file = self.file(entry)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        let mut left = size;
        loop {
            let count = file
                .read(&mut buffer)
                .map_err(|error| LayerError::at(self.path(entry))(error))?;
            if count == 0 {
                break;
            }
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| self.changed(entry))?;
            if self.source.check == Check::Content {
                hasher.update(&buffer[..count]);
            }
            output
                .write_all(&buffer[..count])
                .map_err(LayerError::Output)?;
        }
        let is_right = match self.source.check {
            Check::Length => true,
            Check::Content => Blake3::from(hasher.finalize()) == hash,
        };
        match left == 0 && is_right {
            true => Ok(()),
            false => Err(self.changed(entry)),
        }
    }

    fn file(&self, entry: &Entry<'_>) -> Result<File, LayerError> {
        let open = self.open.as_ref().expect("opened if any file has content");
        open.file(entry.path)
            .map_err(|error| LayerError::at(self.path(entry))(error))
    }

    fn path(&self, entry: &Entry<'_>) -> PathBuf {
        let path = entry.guest_path();
        let files = self.source.files.as_ref();
        files.map_or_else(|| path.as_relative().to_owned(), |files| files.path(&path))
    }

    fn changed(&self, entry: &Entry<'_>) -> LayerError {
        LayerError::Changed {
            id: self.source.id,
            path: entry.guest_path(),
        }
    }
}

/// Reads a regular file that is `expected` bytes long, and no more than one byte beyond that, which
/// tells a file that grew.
///
/// A read that was given more room than that and ends there has met the end; asking once more
/// costs as much as the first time.
fn read_up_to(file: &File, expected: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected + 1);
    while bytes.len() < expected {
        match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Writes the headers of an entry, and for an opaque directory its marker.
fn write_entry(
    entry: &Entry<'_>,
    clamp: TimeClamp,
    output: &mut impl Write,
) -> std::io::Result<()> {
    let (directory, name) = match entry.path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => entry.path.split_at(slash + 1),
        None => (&b""[..], entry.path),
    };
    if entry.kind == Kind::Whiteout {
        return write_marker(&[directory, b".wh.", name].concat(), output);
    }
    let path = match (entry.path, entry.is_directory()) {
        (b"", _) => b"./".to_vec(),
        (path, true) => [path, b"/"].concat(),
        (path, false) => path.to_vec(),
    };
    let (typeflag, size, link, device) = match entry.kind {
        Kind::File { size, .. } => (EntryType::Regular, size, &b""[..], None),
        Kind::HardLink { target } => (EntryType::Link, 0, target, None),
        Kind::Symlink { target } => (EntryType::Symlink, 0, target, None),
        Kind::CharDevice(device) => (EntryType::Char, 0, &b""[..], Some(device)),
        Kind::BlockDevice(device) => (EntryType::Block, 0, &b""[..], Some(device)),
        Kind::Directory { .. } => (EntryType::Directory, 0, &b""[..], None),
        Kind::Fifo | Kind::Whiteout => (EntryType::Fifo, 0, &b""[..], None),
    };
    let mtime = match clamp {
        TimeClamp::To(latest) => entry.mtime.min(latest),
        TimeClamp::None => entry.mtime,
    };
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
    if entry.kind == (Kind::Directory { opaque: true }) {
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        write_marker(&[path, b".wh..wh..opq"].concat(), output)?;
    }
    Ok(())
}

/// Writes an empty file with zeroed fields.
fn write_marker(path: &[u8], output: &mut impl Write) -> std::io::Result<()> {
    let marker = Entry {
        path,
        kind: Kind::File {
            size: 0,
            hash: Blake3::from_bytes([0; 32]),
        },
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Timestamp::EPOCH,
        xattrs: Xattrs::default(),
    };
    write_entry(&marker, TimeClamp::None, output)
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
    let searched = match searched.len() == path.len() {
        true => &searched[..path.len() - 1],
        false => searched,
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
