//! Large files on their way into a layer, whose tar is digested from the bytes that flow by.
//!
//! A large file would be read twice, one time after the other: to be copied, and for the layer's
//! digest. Here the thread that copies it hands each piece on to one that digests, so both are
//! done when the slower one is.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use kiln_cache::{DiffId, Entry, GuestPath, Kind, Sha256Writer, Tree, TreeBuilder};
use rustix::fs::ioctl_ficlone;

use crate::build_error::{BuildError, reading, writing};
use crate::builder::{Content, LayerBuilder};
use crate::builder_state::merge;
use crate::copy::Hashed;
use crate::error::LayerError;
use crate::facts::{TarFacts, TarOrigin};
use crate::files::LayerFiles;
use crate::layer::TimeClamp;
use crate::metadata::Metadata;
use crate::tar_write::{Check, Large, Source, Step, write_tree};

/// Bytes handed on at once.
const PIECE: usize = 512 << 10;

/// Pieces on their way: the copy may be that much ahead of the digest.
const AHEAD: usize = 16;

/// The two ends of a belt that carries pieces to the digest, and the empty ones back: memory that
/// was used before costs no page faults.
struct Belt {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

struct BeltEnd {
    full: Receiver<Vec<u8>>,
    empty: Sender<Vec<u8>>,
}

fn belt() -> (Belt, BeltEnd) {
    let (full_in, full_out) = sync_channel(AHEAD);
    let (empty_in, empty_out) = channel();
    (
        Belt {
            full: full_in,
            empty: empty_out,
        },
        BeltEnd {
            full: full_out,
            empty: empty_in,
        },
    )
}

/// A large file that is to be copied.
#[derive(Debug)]
pub struct LargeFile<'a> {
    /// Where it goes.
    pub path: GuestPath,
    /// What it has besides its content.
    pub metadata: Metadata<'a>,
    /// Length and digest of the content, as they are expected.
    pub known: Hashed,
    /// The content, from its start.
    pub content: File,
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
    /// Adds large files, when everything else was added, and says whether they had the content that
    /// was expected. If so, and if nothing is added later, [`LayerBuilder::finish`] returns a layer
    /// whose digest is known.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_large_files(
        &self,
        mut files: Vec<LargeFile<'_>>,
    ) -> Result<Expectation, BuildError> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if files.is_empty() {
            return Ok(Expectation::Met);
        }
        let Some(tree) = self.expected_tree(&files) else {
            let mut expectation = Expectation::Met;
            for file in &files {
                let content = Content::File(&file.content);
                if self.add_file(&file.path, &file.metadata, content)? != file.known {
                    expectation = Expectation::Failed;
                }
            }
            return Ok(expectation);
        };
        let (belt, end) = belt();
        let (copied, tar) = std::thread::scope(|scope| {
            let digesting = scope.spawn(|| self.digest(&tree, &files, end));
            let copied = self.copy_large(&files, belt);
            let digested = digesting
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (copied, digested)
        });
        if copied? == Expectation::Failed {
            return Ok(Expectation::Failed);
        }
        // A digest that failed is computed again from the finished layer.
        if let Ok(tar) = tar {
            self.state().digested = Some((tree.layer_id(), tar));
        }
        Ok(Expectation::Met)
    }

    /// Returns the index that the layer will have; none if it cannot be told before the end, or if
    /// copying costs nothing.
    fn expected_tree(&self, files: &[LargeFile<'_>]) -> Option<Tree> {
        let mut state = self.state().clone();
        if state.has_hard_links || self.shares_extents(&files.first()?.content) {
            return None;
        }
        let part = match state.parts.last_mut() {
            Some(part) => part,
            None => {
                state.parts.push(TreeBuilder::new());
                state.parts.last_mut()?
            }
        };
        for file in files {
            part.push(&entry(file, file.known));
        }
        Some(merge(state))
    }

    /// Says whether a copy of a file is a matter of naming its extents once more.
    fn shares_extents(&self, source: &File) -> bool {
        if !self.reflinks.load(Ordering::Relaxed) {
            return false;
        }
        let path = self.work.path().join("probe");
        let cloned =
            File::create_new(&path).is_ok_and(|probe| ioctl_ficlone(probe, source).is_ok());
        // What is left of it goes with the directory.
        let _ = std::fs::remove_file(path);
        self.reflinks.store(cloned, Ordering::Relaxed);
        cloned
    }

    fn copy_large(&self, files: &[LargeFile<'_>], belt: Belt) -> Result<Expectation, BuildError> {
        let mut expectation = Expectation::Met;
        for file in files {
            let mut target = self.create(&file.path, file.metadata.mode)?;
            let mut hasher = blake3::Hasher::new();
            let mut size_bytes = 0;
            loop {
                let mut piece = belt.empty.try_recv().unwrap_or_default();
                piece.clear();
                piece.reserve_exact(PIECE);
                (&file.content)
                    .take(PIECE as u64)
                    .read_to_end(&mut piece)
                    .map_err(reading(&file.path))?;
                if piece.is_empty() {
                    break;
                }
                hasher.update(&piece);
                size_bytes += piece.len() as u64;
                target.write_all(&piece).map_err(writing(&file.path))?;
                // One who stopped listening met an error of his own.
                let _ = belt.full.send(piece);
            }
            let hashed = Hashed {
                size_bytes,
                hash: hasher.finalize().into(),
            };
            if hashed != file.known {
                expectation = Expectation::Failed;
            }
            self.set_metadata(&target, &file.metadata)
                .map_err(writing(&file.path))?;
            self.push(&entry(file, hashed));
        }
        Ok(expectation)
    }

    /// Digests the tar of the layer; the content of these files comes in pieces.
    fn digest(
        &self,
        tree: &Tree,
        files: &[LargeFile<'_>],
        belt: BeltEnd,
    ) -> Result<TarFacts, LayerError> {
        let mut hashing = Sha256Writer::new(io::sink());
        let source = Source {
            id: tree.layer_id(),
            files: Some(LayerFiles::in_one(self.root.path().to_owned())),
            check: Check::Length,
        };
        let mut coming = files.iter().peekable();
        write_tree(&source, tree, 0, TimeClamp::None, &mut hashing, |step| {
            let Step::Large { entry, output } = step else {
                return Ok(Large::OnDisk);
            };
            let Some(file) = coming.next_if(|file| file.path.as_bytes() == entry.path) else {
                return Ok(Large::OnDisk);
            };
            let mut left = file.known.size_bytes;
            while left > 0 {
                let piece = belt.full.recv().unwrap_or_default();
                // Of another length than expected: the digest is for nobody.
                if piece.is_empty() || piece.len() as u64 > left {
                    return Err(LayerError::Output(io::ErrorKind::UnexpectedEof.into()));
                }
                left -= piece.len() as u64;
                output.write_all(&piece).map_err(LayerError::Output)?;
                // Whoever copies may have copied all.
                let _ = belt.empty.send(piece);
            }
            Ok(Large::Written)
        })?;
        let (_, digest, size_bytes) = hashing.finish();
        Ok(TarFacts {
            diff_id: DiffId(digest),
            size_bytes,
            origin: TarOrigin::Canonical,
        })
    }
}

fn entry<'a>(file: &'a LargeFile<'_>, hashed: Hashed) -> Entry<'a> {
    let kind = Kind::File {
        size: hashed.size_bytes,
        hash: hashed.hash,
    };
    file.metadata.entry(&file.path, kind)
}
