//! From placed entries to a layer: the one part of a copy that moves bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;

use kiln_files::GuestPath;
use kiln_snapshotter::{
    BuildError, Digest, Expectation, FileContent, Hashed, LARGE_FILE, LayerBuilder, LayerError,
    Metadata, NewFile, NewFiles,
};
use kiln_threads::Stop;
use kiln_tree::NodeKind;

use super::earlier::Earlier;
use super::entries::{Bytes, Entries, Placed};
use super::progress::CopyProgress;
use crate::files::Files;
use crate::progress::Vertex;

/// Why a copy's files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A source file could not be opened.
    #[error("cannot open {path} to copy it")]
    Open {
        /// The path in the source.
        path: GuestPath,
        /// What went wrong.
        source: io::Error,
    },
    /// A file of the layer could not be written.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The layer could not be digested.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// Whether the bytes that were copied are those that the key speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fidelity {
    /// They are.
    Exact,
    /// A file was changed between being hashed and being copied.
    Changed,
}

impl From<Expectation> for Fidelity {
    fn from(expectation: Expectation) -> Self {
        match expectation {
            Expectation::Met => Self::Exact,
            Expectation::Failed => Self::Changed,
        }
    }
}

impl Fidelity {
    /// Returns what is true of two copies together.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Exact, Self::Exact) => Self::Exact,
            _ => Self::Changed,
        }
    }
}

/// Whether the entries to be written are a layer's last ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteRound {
    /// More will be written.
    NotLast,
    /// The layer has everything then.
    Last,
}

/// What a copy writes to, and tells how far it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyTarget<'a> {
    pub(crate) builder: &'a LayerBuilder,
    /// What the same copy made before.
    pub(crate) earlier: &'a Earlier,
    pub(crate) vertex: &'a Vertex<'a>,
}

/// Writes entries into a layer.
pub(crate) fn write(
    target: CopyTarget<'_>,
    source: &dyn Files,
    entries: &Entries<'_>,
    turn: WriteRound,
) -> Result<Fidelity, WriteError> {
    let CopyTarget {
        builder,
        earlier,
        vertex,
    } = target;
    let names = hard_links(entries);
    let mut files = Vec::new();
    for (path, placed) in entries.iter() {
        let metadata = Metadata::of(&placed.node);
        match placed.node.kind {
            NodeKind::Directory { .. } => builder.add_directory(path, &metadata)?,
            NodeKind::Symlink { target } => builder.add_symlink(path, &metadata, target)?,
            NodeKind::File { .. } => files.push((path, placed)),
            NodeKind::CharDevice(device) => {
                builder.add_device(
                    path,
                    &metadata,
                    kiln_snapshotter::DeviceNodeKind::Char,
                    device,
                )?;
            }
            NodeKind::BlockDevice(device) => {
                builder.add_device(
                    path,
                    &metadata,
                    kiln_snapshotter::DeviceNodeKind::Block,
                    device,
                )?;
            }
            NodeKind::Fifo => builder.add_fifo(path, &metadata)?,
            // Whiteouts never come out of a merged view or a context, and files with several
            // names were turned into files when they were placed.
            NodeKind::HardLink { .. } | NodeKind::Whiteout => {}
        }
    }
    let first_name = |path: &GuestPath, placed: &Placed<'_>| match placed.bytes {
        Bytes::SameAs(first) | Bytes::Source(first) => {
            names.get(first).copied().filter(|name| *name != path)
        }
        Bytes::Inline(_) | Bytes::None => None,
    };
    let mut new = Vec::with_capacity(files.len());
    for &(path, placed) in &files {
        if first_name(path, placed).is_none() && !add_known(builder, path, placed)? {
            new.push((path, placed));
        }
    }
    // Of a layer that is like an earlier one, most need not be digested again.
    let is_alike = earlier.layer().is_some() && !new.iter().any(|(_, placed)| is_large(placed));
    let digest = match turn {
        WriteRound::Last if names.is_empty() && !is_alike => Digest::OnTheWay,
        _ => Digest::Later,
    };
    let sizes = new.iter().map(|(_, placed)| content(placed).size_bytes);
    let new = FromSource {
        progress: CopyProgress::new(vertex, new.len(), sizes.sum()),
        source,
        files: new,
    };
    let expectation = builder.add_files(&new, digest)?;
    new.progress.finish();
    if expectation == Expectation::Failed {
        new.refuse_damage(builder.stop())?;
    }
    for (path, placed) in files {
        if let Some(name) = first_name(path, placed) {
            builder.add_hard_link(path, name)?;
        }
    }
    Ok(expectation.into())
}

fn is_large(placed: &Placed<'_>) -> bool {
    matches!(placed.node.kind, NodeKind::File { size, .. } if size >= LARGE_FILE)
}

/// Returns, for each source file with several names in the layer, the name that comes first: that
/// is where the file itself goes.
fn hard_links<'e, 'a>(entries: &'e Entries<'a>) -> HashMap<&'a [u8], &'e GuestPath> {
    let mut groups: HashMap<&[u8], &GuestPath> = HashMap::new();
    let shared: Vec<&[u8]> = entries
        .iter()
        .filter_map(|(_, placed)| match placed.bytes {
            Bytes::SameAs(first) => Some(first),
            _ => None,
        })
        .collect();
    if shared.is_empty() {
        return groups;
    }
    let shared: std::collections::HashSet<&[u8]> = shared.into_iter().collect();
    for (path, placed) in entries.iter() {
        if let Bytes::SameAs(first) | Bytes::Source(first) = placed.bytes
            && shared.contains(first)
        {
            groups.entry(first).or_insert(path);
        }
    }
    groups
}

/// Adds a file if nothing has to be read for it, and says whether it did.
fn add_known(
    builder: &LayerBuilder,
    path: &GuestPath,
    placed: &Placed<'_>,
) -> Result<bool, WriteError> {
    let bytes = match placed.bytes {
        Bytes::Inline(content) => content.as_bytes(),
        Bytes::None => return Ok(true),
        // It may be a socket, which cannot be opened.
        Bytes::Source(_) | Bytes::SameAs(_) if content(placed).size_bytes == 0 => &[],
        Bytes::Source(_) | Bytes::SameAs(_) => return Ok(false),
    };
    builder.add_file(path, &Metadata::of(&placed.node), FileContent::Bytes(bytes))?;
    Ok(true)
}

/// Returns what a regular file that was placed holds.
fn content(placed: &Placed<'_>) -> Hashed {
    let NodeKind::File { size, hash } = placed.node.kind else {
        unreachable!("only regular files have bytes");
    };
    Hashed {
        size_bytes: size,
        hash,
    }
}

/// Files that have to be read from the source.
struct FromSource<'a> {
    progress: CopyProgress<'a>,
    source: &'a dyn Files,
    files: Vec<(&'a GuestPath, &'a Placed<'a>)>,
}

impl FromSource<'_> {
    /// Fails if one of the files is the store's own and not what its layer says: those never
    /// change, so it was damaged.
    fn refuse_damage(&self, stop: &Stop) -> Result<(), WriteError> {
        for (number, (path, placed)) in self.files.iter().enumerate() {
            let (Bytes::Source(from) | Bytes::SameAs(from)) = placed.bytes else {
                continue;
            };
            let Some(id) = self.source.layer_of(from) else {
                continue;
            };
            let found = kiln_snapshotter::hash(&self.open(number)?, stop).map_err(|source| {
                let path = (*path).clone();
                WriteError::Open { path, source }
            })?;
            if found != content(placed) {
                let path = GuestPath::new(from);
                return Err(LayerError::Changed { id, path }.into());
            }
        }
        Ok(())
    }
}

impl NewFiles for FromSource<'_> {
    type Error = WriteError;

    fn count(&self) -> usize {
        self.files.len()
    }

    fn describe(&self, number: usize) -> NewFile<'_> {
        let (path, placed) = self.files[number];
        NewFile {
            path,
            metadata: Metadata::of(&placed.node),
            known: content(placed),
        }
    }

    fn open(&self, number: usize) -> Result<File, WriteError> {
        let (Bytes::Source(from) | Bytes::SameAs(from)) = self.files[number].1.bytes else {
            unreachable!("what the Dockerfile holds was added");
        };
        let opened = self.source.open(from).map_err(|error| WriteError::Open {
            path: GuestPath::new(from),
            source: error,
        })?;
        self.progress
            .begin(content(self.files[number].1).size_bytes);
        Ok(opened)
    }
}
