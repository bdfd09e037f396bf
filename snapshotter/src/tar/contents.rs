//! Contents of the files of a tar, read in the order of the index.
//!
//! Most of the time goes into opening small files, so a few threads read ahead, each a bounded
//! batch; the caller's thread writes, and hashes, alone. The threads are not rayon's: a caller on
//! rayon's pool would wait for work that the pool cannot start.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Builder;

use kiln_files::Pieces;
use kiln_threads::Stop;
use kiln_tree::{Blake3, Entry, LayerId, NodeKind, Tree};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::copy::PieceHasher;
use crate::error::LayerError;
use crate::layer_files::{LayerFiles, OpenFiles};

/// Bytes. Larger files are not handed over whole: reading them is sequential anyway.
pub(crate) const SMALL: u64 = 256 << 10;

/// Bytes that one batch holds at most, a single file apart. Several are on their way for each
/// thread, and memory that was not used before costs more than handing over another batch.
const BATCH_BYTES: u64 = 256 << 10;

/// Files in one batch: enough that handing it over costs nothing.
const BATCH_FILES: usize = 64;

/// Below this many files with no more than so many bytes, starting threads costs more than they
/// bring.
const FEW_FILES: usize = 64;
const FEW_BYTES: u64 = 4 << 20;

/// A source of the content of files. Several threads ask at once.
pub(crate) trait ContentSource: Sync {
    /// The error of reading.
    type Error: From<LayerError> + Send;

    /// Threads that work ahead, at most.
    const THREADS: usize;

    /// Returns what is looked at between two entries.
    fn stop(&self) -> &Stop;

    /// Returns the content of the file at a position, or none if it is to be streamed. Positions
    /// come in order for each thread; none comes that was streamed already.
    fn read(&self, position: usize, file: &Entry<'_>) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Writes the content of a file that was not read.
    fn stream(
        &self,
        position: usize,
        file: &Entry<'_>,
        output: &mut dyn Write,
    ) -> Result<(), Self::Error>;
}

/// The content of an entry on its way out.
pub(crate) enum TarContent {
    /// Not a regular file.
    None,
    /// Read ahead.
    Read(Vec<u8>),
    /// To be streamed. Not open yet, or reading ahead would hold a thousand descriptors.
    Streamed,
}

/// Calls `act` for each entry of `tree` from a position on, in order, with its content.
pub(crate) fn in_order<C: ContentSource>(
    contents: &C,
    tree: &Tree,
    first: usize,
    mut act: impl FnMut(usize, TarContent) -> Result<(), C::Error>,
) -> Result<(), C::Error> {
    let read = |position: usize| -> Result<TarContent, C::Error> {
        let stopped = contents.stop().check();
        stopped.map_err(LayerError::Output)?;
        let entry = tree.at(position);
        let NodeKind::File { .. } = entry.kind else {
            return Ok(TarContent::None);
        };
        let content = contents.read(position, &entry)?;
        Ok(content.map_or(TarContent::Streamed, TarContent::Read))
    };
    let Some(batches) = batches(tree, first) else {
        return (first..tree.len()).try_for_each(|position| act(position, read(position)?));
    };
    let threads = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .min(C::THREADS)
        .min(batches.len());
    std::thread::scope(|scope| {
        let (batches, read) = (&batches, &read);
        // Thread t reads the batches t, t + threads, …, at most two ahead.
        let receivers: io::Result<Vec<Receiver<_>>> = (0..threads)
            .map(|first| {
                let (sender, receiver) = sync_channel(1);
                Builder::new().spawn_scoped(scope, move || {
                    for batch in batches.iter().skip(first).step_by(threads) {
                        let contents: Result<Vec<TarContent>, C::Error> =
                            batch.clone().map(read).collect();
                        // After an error the receiver is gone.
                        if sender.send(contents).is_err() {
                            return;
                        }
                    }
                })?;
                Ok(receiver)
            })
            .collect();
        let Ok(receivers) = receivers else {
            // The system refuses threads; those that started end because their receiver is gone.
            return (first..tree.len()).try_for_each(|position| act(position, read(position)?));
        };
        for (number, batch) in batches.iter().enumerate() {
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

/// Returns what is read at once; none if there is so little that one thread does it.
fn batches(tree: &Tree, first: usize) -> Option<Vec<Range<usize>>> {
    let mut batches = Vec::new();
    let (mut start, mut files, mut bytes) = (first, 0, 0);
    let (mut all_files, mut all_bytes) = (0, 0);
    for position in first..tree.len() {
        let NodeKind::File { size, .. } = tree.at(position).kind else {
            continue;
        };
        (files, bytes) = (files + 1, bytes + size);
        (all_files, all_bytes) = (all_files + 1, all_bytes + size);
        if bytes >= BATCH_BYTES || files >= BATCH_FILES {
            batches.push(start..position + 1);
            (start, files, bytes) = (position + 1, 0, 0);
        }
    }
    batches.push(start..tree.len());
    (all_files >= FEW_FILES || all_bytes > FEW_BYTES).then_some(batches)
}

/// The way in which files are compared with the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// By their length: the caller digests the tar and compares that.
    Length,
    /// By their BLAKE3 too: for callers that do not digest the tar.
    Content,
}

/// The files of a layer that is unpacked.
pub(crate) struct OnDisk {
    id: LayerId,
    files: Option<LayerFiles>,
    /// None if no entry has content.
    open: Option<OpenFiles>,
    check: Check,
    stop: Stop,
}

impl OnDisk {
    /// Opens the directories with the files of a layer, if any entry from a position on has
    /// content.
    pub(crate) fn open(
        id: LayerId,
        files: Option<LayerFiles>,
        check: Check,
        tree: &Tree,
        first: usize,
        stop: &Stop,
    ) -> Result<Self, LayerError> {
        let has_content =
            |position: usize| matches!(tree.at(position).kind, NodeKind::File { size: 1.., .. });
        let open = match ((first..tree.len()).any(has_content), &files) {
            (false, _) => None,
            (true, Some(files)) => Some(files.open()?),
            (true, None) => return Err(LayerError::NotUnpacked(id)),
        };
        Ok(Self {
            id,
            files,
            open,
            check,
            stop: stop.clone(),
        })
    }

    fn file(&self, entry: &Entry<'_>) -> Result<File, LayerError> {
        let open = self.open.as_ref().expect("opened if any file has content");
        open.file(entry.path)
            .map_err(|error| LayerError::at(self.path(entry))(error))
    }

    fn path(&self, entry: &Entry<'_>) -> PathBuf {
        let path = entry.guest_path();
        let files = self.files.as_ref();
        files.map_or_else(|| path.as_relative().to_owned(), |files| files.path(&path))
    }

    fn changed(&self, entry: &Entry<'_>) -> LayerError {
        LayerError::Changed {
            id: self.id,
            path: entry.guest_path(),
        }
    }
}

impl ContentSource for OnDisk {
    type Error = LayerError;

    // Opening files is quick; the consumer of the contents is slower than a few threads.
    const THREADS: usize = 4;

    fn stop(&self) -> &Stop {
        &self.stop
    }

    fn read(&self, _: usize, entry: &Entry<'_>) -> Result<Option<Vec<u8>>, LayerError> {
        let NodeKind::File { size, hash } = entry.kind else {
            return Ok(None);
        };
        match size {
            0 => return Ok(Some(Vec::new())),
            1..=SMALL => {}
            _ => return Ok(None),
        }
        let bytes = read_up_to(&self.file(entry)?, size)
            .map_err(|error| LayerError::at(self.path(entry))(error))?;
        let is_right = match self.check {
            Check::Length => bytes.len() as u64 == size,
            Check::Content => Blake3::of(&bytes) == hash,
        };
        if is_right {
            Ok(Some(bytes))
        } else {
            Err(self.changed(entry))
        }
    }

    fn stream(
        &self,
        _: usize,
        entry: &Entry<'_>,
        output: &mut dyn Write,
    ) -> Result<(), LayerError> {
        let NodeKind::File { size, hash } = entry.kind else {
            return Ok(());
        };
        let file = self.file(entry)?;
        let (mut pieces, mut buffer) = (Pieces::of(&file), vec![0; 256 << 10]);
        let mut hashing = PieceHasher::default();
        let mut left = size;
        loop {
            self.stop.check().map_err(LayerError::Output)?;
            let piece = pieces
                .next(&mut buffer)
                .map_err(|error| LayerError::at(self.path(entry))(error))?;
            let Some(piece) = piece else {
                break;
            };
            left = left
                .checked_sub(piece.size_bytes())
                .ok_or_else(|| self.changed(entry))?;
            if self.check == Check::Content {
                hashing.take(piece);
            }
            for bytes in piece.slices() {
                output.write_all(bytes).map_err(LayerError::Output)?;
            }
        }
        let is_right = match self.check {
            Check::Length => true,
            Check::Content => hashing.finish().hash == hash,
        };
        if left == 0 && is_right {
            Ok(())
        } else {
            Err(self.changed(entry))
        }
    }
}

/// Reads a regular file that is `expected` bytes long, no more than [`SMALL`], and no more than one
/// byte beyond that, which tells a file that grew.
///
/// A read that was given more room than that and ends there has met the end; asking once more
/// costs as much as the first time.
pub(crate) fn read_up_to(file: &File, expected: u64) -> io::Result<Vec<u8>> {
    let expected = usize::try_from(expected).expect("a small file");
    let mut bytes = Vec::with_capacity(expected + 1);
    loop {
        match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) if bytes.len() >= expected => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
