//! From placed entries to a layer: the one part of a copy that moves bytes.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;

use kiln_files::GuestPath;
use kiln_snapshotter::{
    BuildError, DeviceNodeKind, Digest, Expectation, FileContent, Hashed, LARGE_FILE, LayerBuilder,
    LayerError, Metadata, NewFile, NewFiles,
};
use kiln_threads::Stop;
use kiln_tree::NodeKind;

use super::earlier::Earlier;
use super::entries::{Bytes, Entries, EntryId, Placed};
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
    entries: &Entries,
    turn: WriteRound,
) -> Result<Fidelity, WriteError> {
    let CopyTarget {
        builder,
        earlier,
        vertex,
    } = target;
    let names = hard_links(entries);
    for (_, placed) in entries.iter() {
        add_unless_file(builder, &placed)?;
    }
    let first_name = |placed: &Placed<'_>| match placed.bytes {
        Bytes::SameAs(first) | Bytes::Source(first) => {
            let name = names.get(first).copied();
            name.filter(|name| *name != placed.node.path)
        }
        Bytes::Inline(_) | Bytes::None => None,
    };
    let files = || entries.iter().filter(|(_, placed)| is_file(placed));
    let mut new = Vec::new();
    for (id, placed) in files() {
        if first_name(&placed).is_none() && !add_known(builder, &placed)? {
            new.push(id);
        }
    }
    let is_any_large = || new.iter().any(|id| is_large(&entries.at(*id)));
    // Of a layer that is like an earlier one, most need not be digested again.
    let is_alike = earlier.layer().is_some() && !is_any_large();
    let digest = match turn {
        WriteRound::Last if names.is_empty() && !is_alike => Digest::OnTheWay,
        _ => Digest::Later,
    };
    let sizes = new.iter().map(|id| content(&entries.at(*id)).size_bytes);
    let new = FromSource {
        progress: CopyProgress::new(vertex, new.len(), sizes.sum()),
        source,
        entries,
        files: new,
    };
    let expectation = builder.add_files(&new, digest)?;
    new.progress.finish();
    if expectation == Expectation::Failed {
        new.refuse_damage(builder.stop())?;
    }
    for (_, placed) in files() {
        if let Some(name) = first_name(&placed) {
            builder.add_hard_link(&placed.node.guest_path(), &GuestPath::new(name))?;
        }
    }
    Ok(expectation.into())
}

/// Adds what is no regular file.
fn add_unless_file(builder: &LayerBuilder, placed: &Placed<'_>) -> Result<(), WriteError> {
    let node = &placed.node;
    let (path, metadata) = (|| node.guest_path(), Metadata::of(node));
    match node.kind {
        NodeKind::Directory { .. } => builder.add_directory(&path(), &metadata)?,
        NodeKind::Symlink { target } => builder.add_symlink(&path(), &metadata, target)?,
        NodeKind::CharDevice(device) => {
            builder.add_device(&path(), &metadata, DeviceNodeKind::Char, device)?;
        }
        NodeKind::BlockDevice(device) => {
            builder.add_device(&path(), &metadata, DeviceNodeKind::Block, device)?;
        }
        NodeKind::Fifo => builder.add_fifo(&path(), &metadata)?,
        // Whiteouts never come out of a merged view or a context, and files with several names
        // were turned into files when they were placed.
        NodeKind::File { .. } | NodeKind::HardLink { .. } | NodeKind::Whiteout => {}
    }
    Ok(())
}

fn is_file(placed: &Placed<'_>) -> bool {
    matches!(placed.node.kind, NodeKind::File { .. })
}

fn is_large(placed: &Placed<'_>) -> bool {
    matches!(placed.node.kind, NodeKind::File { size, .. } if size >= LARGE_FILE)
}

/// Returns, for each source file with several names in the layer, the name that comes first: that
/// is where the file itself goes.
fn hard_links(entries: &Entries) -> HashMap<&[u8], &[u8]> {
    let mut groups = HashMap::new();
    let shared: HashSet<&[u8]> = entries
        .iter()
        .filter_map(|(_, placed)| match placed.bytes {
            Bytes::SameAs(first) => Some(first),
            _ => None,
        })
        .collect();
    if shared.is_empty() {
        return groups;
    }
    for (_, placed) in entries.iter() {
        if let Bytes::SameAs(first) | Bytes::Source(first) = placed.bytes
            && shared.contains(first)
        {
            groups.entry(first).or_insert(placed.node.path);
        }
    }
    groups
}

/// Adds a file if nothing has to be read for it, and says whether it did.
fn add_known(builder: &LayerBuilder, placed: &Placed<'_>) -> Result<bool, WriteError> {
    let bytes = match placed.bytes {
        Bytes::Inline(content) => content,
        Bytes::None => return Ok(true),
        // It may be a socket, which cannot be opened.
        Bytes::Source(_) | Bytes::SameAs(_) if content(placed).size_bytes == 0 => &[],
        Bytes::Source(_) | Bytes::SameAs(_) => return Ok(false),
    };
    let (path, metadata) = (placed.node.guest_path(), Metadata::of(&placed.node));
    builder.add_file(&path, &metadata, FileContent::Bytes(bytes))?;
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
    entries: &'a Entries,
    files: Vec<EntryId>,
}

impl FromSource<'_> {
    fn placed(&self, number: usize) -> Placed<'_> {
        self.entries.at(self.files[number])
    }

    /// Fails if one of the files is the store's own and not what its layer says: those never
    /// change, so it was damaged.
    fn refuse_damage(&self, stop: &Stop) -> Result<(), WriteError> {
        for number in 0..self.files.len() {
            let placed = self.placed(number);
            let (Bytes::Source(from) | Bytes::SameAs(from)) = placed.bytes else {
                continue;
            };
            let Some(id) = self.source.layer_of(from) else {
                continue;
            };
            let found = kiln_snapshotter::hash(&self.open(number)?, stop).map_err(|source| {
                let path = placed.node.guest_path();
                WriteError::Open { path, source }
            })?;
            if found != content(&placed) {
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
        let placed = self.placed(number);
        NewFile {
            path: placed.node.guest_path(),
            metadata: Metadata::of(&placed.node),
            known: content(&placed),
        }
    }

    fn open(&self, number: usize) -> Result<File, WriteError> {
        let placed = self.placed(number);
        let (Bytes::Source(from) | Bytes::SameAs(from)) = placed.bytes else {
            unreachable!("what the Dockerfile holds was added");
        };
        let opened = self.source.open(from).map_err(|error| WriteError::Open {
            path: GuestPath::new(from),
            source: error,
        })?;
        self.progress.begin(content(&placed).size_bytes);
        Ok(opened)
    }
}
