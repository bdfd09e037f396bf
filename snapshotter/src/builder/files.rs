//! Files on their way into a layer whose tar is digested from the bytes that flow by.
//!
//! They would be read twice, one time after the other: to be copied, and for the layer's digest.
//! Here those who copy hand what they have read to one that digests, in the order of the tar, so
//! both are done when the slower one is. What the layer has besides these files is read from it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use kiln_files::{GuestPath, Piece, Pieces};
use kiln_threads::Stop;
use kiln_tree::{Entry, NodeKind, Tree, TreeBuilder};
use rayon::prelude::*;
use rustix::fs::ioctl_ficlone;

use crate::build_error::{BuildError, reading, writing};
use crate::builder::state::merge;
use crate::builder::{FileContent, LayerBuilder};
use crate::copy::{Hashed, PieceHasher};
use crate::error::LayerError;
use crate::holed::HoledFile;
use crate::layer_files::LayerFiles;
use crate::metadata::Metadata;
use crate::tar::contents::{Check, ContentSource, OnDisk, SMALL, read_up_to};
use crate::tar::digest::digest_tree;

/// Bytes. From here on a file is digested while it is copied. Between small and large it is copied
/// first, with others at once, and then read again: that costs less than to hold it in memory.
pub const LARGE_FILE: u64 = 16 << 20;

/// Bytes of a large file that are handed on at once.
const PIECE: usize = 512 << 10;

/// A piece of a large file on its way.
enum Sent {
    Bytes(Vec<u8>),
    Hole(u64),
}

/// Pieces on their way: the copy may be that much ahead of the digest.
const AHEAD: usize = 16;

/// Files that are to be added, in the order of a walk. Several threads ask for them at once.
pub trait NewFiles: Sync {
    /// Why they cannot be added.
    type Error: From<BuildError> + From<LayerError> + Send;

    /// Returns how many there are.
    fn count(&self) -> usize;

    /// Returns what is known of one of them.
    fn describe(&self, number: usize) -> NewFile<'_>;

    /// Opens one of them, to be read from its start.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, number: usize) -> Result<File, Self::Error>;
}

/// A regular file that is to be added.
#[derive(Clone, Debug)]
pub struct NewFile<'a> {
    /// Where it goes.
    pub path: GuestPath,
    /// What it has besides its content.
    pub metadata: Metadata<'a>,
    /// Length and digest of the content, as they are expected.
    pub known: Hashed,
}

impl NewFile<'_> {
    fn entry(&self, content: Hashed) -> Entry<'_> {
        let kind = NodeKind::File {
            size: content.size_bytes,
            hash: content.hash,
        };
        self.metadata.entry(&self.path, kind)
    }
}

/// When the tar of a layer is digested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// While files are added, which are the last ones: [`LayerBuilder::finish`] returns a layer
    /// whose digest is known.
    OnTheWay,
    /// When it is asked for: more files come, or most of them need not be read.
    Later,
}

/// Whether files had the content that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// All had.
    Met,
    /// One or more had not; they were added as they are.
    Failed,
}

impl LayerBuilder {
    /// Adds files, and says whether they had the content that was expected.
    ///
    /// # Errors
    /// See [`BuildError`], and what [`NewFiles::open`] says.
    ///
    /// # Panics
    /// When they are not in the order of a walk.
    pub fn add_files<N: NewFiles>(
        &self,
        files: &N,
        digest: Digest,
    ) -> Result<Expectation, N::Error> {
        if files.count() == 0 {
            return Ok(Expectation::Met);
        }
        let expected = match digest {
            Digest::Later => None,
            // Then copying costs nothing, and there is nothing to be gained.
            Digest::OnTheWay if self.shares_extents(&files.open(0)?) => None,
            Digest::OnTheWay => self.expected_tree(files),
        };
        match expected {
            Some((tree, positions)) => self.add_digesting(files, tree, positions),
            None => self.add_each(files),
        }
    }

    fn add_each<N: NewFiles>(&self, files: &N) -> Result<Expectation, N::Error> {
        let add = |number: usize| {
            let NewFile {
                path,
                metadata,
                known,
            } = files.describe(number);
            let content = files.open(number)?;
            let added = self.add_file(&path, &metadata, FileContent::File(&content))?;
            Ok::<bool, N::Error>(added == known)
        };
        kiln_threads::prepare_pool();
        let are_met = (0..files.count())
            .into_par_iter()
            .map(add)
            .try_reduce(|| true, |a, b| Ok(a && b))?;
        Ok(if are_met {
            Expectation::Met
        } else {
            Expectation::Failed
        })
    }

    fn add_digesting<N: NewFiles>(
        &self,
        files: &N,
        tree: Tree,
        positions: Vec<u32>,
    ) -> Result<Expectation, N::Error> {
        let id = tree.layer_id();
        let own = LayerFiles::in_one(self.root.path().to_owned());
        let copying = CopiedFiles {
            builder: self,
            files,
            positions,
            present: OnDisk::open(id, Some(own), Check::Length, &tree, 0, self.stop())?,
            changed: Mutex::default(),
            pieces: Mutex::default(),
        };
        let digested = digest_tree(&copying, &tree)?;
        let changed = copying.changed.into_inner();
        let changed = changed.unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        state.parts = vec![TreeBuilder::of(tree)];
        state.replaced.clear();
        if changed.is_empty() {
            state.digested = Some((id, digested));
            return Ok(Expectation::Met);
        }
        drop(state);
        for (number, content) in changed {
            self.push(&files.describe(number).entry(content))?;
        }
        Ok(Expectation::Failed)
    }

    /// Returns the index that the layer will have and where in it the files are; none if it cannot
    /// be told before the end.
    fn expected_tree<N: NewFiles>(&self, files: &N) -> Option<(Tree, Vec<u32>)> {
        let mut state = self.state().clone();
        if state.has_hard_links {
            return None;
        }
        if state.parts.is_empty() {
            state.parts.push(TreeBuilder::new());
        }
        let part = state.parts.last_mut()?;
        for number in 0..files.count() {
            let file = files.describe(number);
            part.push(&file.entry(file.known));
        }
        let tree = merge(state);
        let positions = positions(files, &tree);
        // A file that takes the place of a directory takes away what is in that.
        let is_around = |position: u32| !tree.below(tree.at(position as usize).path).is_empty();
        if positions.iter().copied().any(is_around) {
            None
        } else {
            Some((tree, positions))
        }
    }

    /// Says whether a copy of a file is a matter of naming its extents once more.
    fn shares_extents(&self, source: &File) -> bool {
        if !self.reflinks.load(Ordering::Relaxed) {
            return false;
        }
        let path = self.work.path().join("probe");
        let cloned = clones_into(source, &path);
        // What is left of it goes with the directory.
        let _ = std::fs::remove_file(path);
        self.reflinks.store(cloned, Ordering::Relaxed);
        cloned
    }
}

fn clones_into(source: &File, path: &Path) -> bool {
    File::create_new(path).is_ok_and(|probe| ioctl_ficlone(probe, source).is_ok())
}

/// Returns where in the tree each file is.
fn positions<N: NewFiles>(files: &N, tree: &Tree) -> Vec<u32> {
    let mut positions = Vec::with_capacity(files.count());
    for (position, entry) in tree.iter().enumerate() {
        let next = positions.len();
        if next < files.count() && files.describe(next).path.as_bytes() == entry.path {
            positions.push(u32::try_from(position).expect("an index stays below 4 GiB"));
        }
    }
    assert_eq!(positions.len(), files.count(), "files come in order");
    positions
}

/// Files that are copied when the digest asks for their content.
struct CopiedFiles<'a, N> {
    builder: &'a LayerBuilder,
    files: &'a N,
    positions: Vec<u32>,
    /// What was added before, and what was copied.
    present: OnDisk,
    /// Numbers of files that had other content than expected, and which. The digest is of
    /// no use then.
    changed: Mutex<Vec<(usize, Hashed)>>,
    /// Memory of pieces that were digested: what was used before costs no page faults.
    pieces: Mutex<Vec<Vec<u8>>>,
}

impl<N: NewFiles> CopiedFiles<'_, N> {
    /// Returns the number of the file at a position; none if it was added before.
    fn number(&self, position: usize) -> Option<usize> {
        let position = u32::try_from(position).ok()?;
        self.positions.binary_search(&position).ok()
    }

    /// Compares what was written with what was expected.
    fn written(&self, number: usize, content: Hashed) {
        if content != self.files.describe(number).known {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            changed.push((number, content));
        }
    }

    fn has_changed(&self, number: usize) -> bool {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.iter().any(|(other, _)| *other == number)
    }

    /// Copies a large file and writes its content to `output` meanwhile.
    fn stream_large(&self, number: usize, output: &mut dyn Write) -> Result<(), N::Error> {
        let file = self.files.describe(number);
        let source = self.files.open(number)?;
        let (pieces, coming) = sync_channel::<Sent>(AHEAD);
        std::thread::scope(|scope| {
            let copy = move || self.copy_large(&file, &source, &pieces);
            let copying = kiln_threads::spawn_or_fail(scope, copy).map_err(LayerError::Output)?;
            let mut hashing = PieceHasher::default();
            for sent in coming {
                let piece = match &sent {
                    Sent::Bytes(bytes) => Piece::Bytes(bytes),
                    Sent::Hole(count) => Piece::Hole(*count),
                };
                hashing.take(piece);
                for bytes in piece.slices() {
                    output.write_all(bytes).map_err(LayerError::Output)?;
                }
                if let Sent::Bytes(bytes) = sent {
                    let mut used = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
                    used.push(bytes);
                }
            }
            copying
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            self.written(number, hashing.finish());
            Ok(())
        })
    }

    fn copy_large(
        &self,
        file: &NewFile<'_>,
        source: &File,
        coming: &SyncSender<Sent>,
    ) -> Result<(), BuildError> {
        let builder = self.builder;
        let target = builder.create(&file.path, file.metadata.mode)?;
        let (mut pieces, mut holed) = (Pieces::of(source), HoledFile::new(&target));
        loop {
            builder.stop().check().map_err(writing(&file.path))?;
            let used = self.pieces.lock().map(|mut used| used.pop());
            let mut buffer = used.ok().flatten().unwrap_or_default();
            buffer.resize(PIECE, 0);
            let piece = pieces.next(&mut buffer).map_err(reading(&file.path))?;
            let Some(piece) = piece else {
                break;
            };
            holed.write(piece).map_err(writing(&file.path))?;
            let sent = match piece {
                Piece::Hole(count) => Sent::Hole(count),
                Piece::Bytes(bytes) => {
                    let length = bytes.len();
                    buffer.truncate(length);
                    Sent::Bytes(buffer)
                }
            };
            // One who stopped listening met an error of his own.
            if coming.send(sent).is_err() {
                break;
            }
        }
        holed.finish().map_err(writing(&file.path))?;
        builder
            .set_metadata(&target, &file.metadata)
            .map_err(writing(&file.path))
    }
}

impl<N: NewFiles> ContentSource for CopiedFiles<'_, N> {
    type Error = N::Error;

    // They make files, which takes more than reading them.
    const THREADS: usize = 8;

    fn stop(&self) -> &Stop {
        self.builder.stop()
    }

    fn read(&self, position: usize, entry: &Entry<'_>) -> Result<Option<Vec<u8>>, N::Error> {
        let Some(number) = self.number(position) else {
            return Ok(self.present.read(position, entry)?);
        };
        let NewFile {
            path,
            metadata,
            known,
        } = self.files.describe(number);
        if known.size_bytes >= LARGE_FILE {
            return Ok(None);
        }
        let source = self.files.open(number)?;
        if known.size_bytes <= SMALL {
            let bytes = read_up_to(&source, known.size_bytes).map_err(reading(&path))?;
            if bytes.len() as u64 == known.size_bytes {
                let content = FileContent::Bytes(&bytes);
                self.written(number, self.builder.write_file(&path, &metadata, content)?);
                return Ok(Some(bytes));
            }
            // It has another length by now.
        }
        let content = FileContent::File(&source);
        self.written(number, self.builder.write_file(&path, &metadata, content)?);
        Ok(None)
    }

    fn stream(
        &self,
        position: usize,
        entry: &Entry<'_>,
        output: &mut dyn Write,
    ) -> Result<(), N::Error> {
        match self.number(position) {
            Some(number) if self.files.describe(number).known.size_bytes >= LARGE_FILE => {
                self.stream_large(number, output)
            }
            // There is no tar with what it has now.
            Some(number) if self.has_changed(number) => Ok(()),
            _ => Ok(self.present.stream(position, entry, output)?),
        }
    }
}
