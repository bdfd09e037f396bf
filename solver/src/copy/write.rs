//! From placed entries to a layer: the one part of a copy that moves bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use kiln_cache::{Entry, GuestPath, Kind};
use kiln_snapshotter::{
    BuildError, Content, Expectation, Hashed, LargeFile, LayerBuilder, Metadata, Sameness,
    StoredFile,
};
use rayon::prelude::*;

use super::earlier::Earlier;
use super::entries::{Bytes, Entries, Placed};
use crate::files::Files;

/// Bytes. From here on a file is digested while it is copied; smaller ones are copied by several
/// threads at once.
pub(super) const LARGE: u64 = 16 << 20;

/// Large files that are open at once.
const MOST_OPEN: usize = 64;

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

/// Writes entries into a layer.
pub(crate) fn write<'a>(
    builder: &LayerBuilder,
    source: &dyn Files,
    earlier: &Earlier,
    entries: &Entries<'a>,
) -> Result<Fidelity, WriteError> {
    let names = hard_links(entries);
    let mut files = Vec::new();
    for (path, placed) in entries.iter() {
        let metadata = Metadata::of(&placed.node);
        match placed.node.kind {
            Kind::Directory { .. } => builder.add_directory(path, &metadata)?,
            Kind::Symlink { target } => builder.add_symlink(path, &metadata, target)?,
            Kind::File { .. } => files.push((path, placed)),
            Kind::CharDevice(device) => {
                builder.add_device(path, &metadata, kiln_snapshotter::DeviceKind::Char, device)?;
            }
            Kind::BlockDevice(device) => {
                builder.add_device(path, &metadata, kiln_snapshotter::DeviceKind::Block, device)?;
            }
            Kind::Fifo => builder.add_fifo(path, &metadata)?,
            // Whiteouts never come out of a merged view or a context, and files with several
            // names were turned into files when they were placed.
            Kind::HardLink { .. } | Kind::Whiteout => {}
        }
    }
    let is_further_name =
        |path: &GuestPath, first: &[u8]| names.get(first).is_some_and(|name| *name != path);
    let large = Mutex::new(Vec::new());
    let copied = |path: &GuestPath, placed: &Placed<'a>| match placed.bytes {
        Bytes::SameAs(first) | Bytes::Source(first) if is_further_name(path, first) => {
            Ok(Fidelity::Exact)
        }
        Bytes::Source(from) | Bytes::SameAs(from) => {
            match file(builder, source, earlier, path, placed, from)? {
                Copied::Now(fidelity) => Ok(fidelity),
                Copied::Later(file) => later(builder, &large, file),
            }
        }
        Bytes::Inline(content) => {
            let metadata = Metadata::of(&placed.node);
            builder.add_file(path, &metadata, Content::Bytes(content.as_bytes()))?;
            Ok(Fidelity::Exact)
        }
        Bytes::None => Ok(Fidelity::Exact),
    };
    let mut fidelity = files
        .par_iter()
        .map(|(path, placed)| copied(path, placed))
        .try_reduce(|| Fidelity::Exact, |a, b| Ok::<_, WriteError>(a.and(b)))?;
    let large = large.into_inner().unwrap_or_else(PoisonError::into_inner);
    fidelity = fidelity.and(builder.add_large_files(large)?.into());
    for (path, placed) in files {
        if let Bytes::SameAs(first) | Bytes::Source(first) = placed.bytes
            && let Some(name) = names.get(first)
            && *name != path
        {
            builder.add_hard_link(path, name)?;
        }
    }
    Ok(fidelity)
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

/// Puts a large file off, unless so many are open for that already that it is copied at once.
fn later<'a>(
    builder: &LayerBuilder,
    put_off: &Mutex<Vec<LargeFile<'a>>>,
    file: LargeFile<'a>,
) -> Result<Fidelity, WriteError> {
    let mut put_off = put_off.lock().unwrap_or_else(PoisonError::into_inner);
    if put_off.len() < MOST_OPEN {
        put_off.push(file);
        return Ok(Fidelity::Exact);
    }
    drop(put_off);
    let written = builder.add_file(&file.path, &file.metadata, Content::File(&file.content))?;
    Ok(match written == file.known {
        true => Fidelity::Exact,
        false => Fidelity::Changed,
    })
}

/// When a file is copied.
enum Copied<'a> {
    Now(Fidelity),
    /// With the other large ones.
    Later(LargeFile<'a>),
}

fn file<'a>(
    builder: &LayerBuilder,
    source: &dyn Files,
    earlier: &Earlier,
    path: &GuestPath,
    placed: &Placed<'a>,
    from: &[u8],
) -> Result<Copied<'a>, WriteError> {
    let Entry {
        kind: Kind::File { size, hash },
        ..
    } = placed.node
    else {
        return Ok(Copied::Now(Fidelity::Exact));
    };
    let metadata = Metadata::of(&placed.node);
    let known = Hashed {
        size_bytes: size,
        hash,
    };
    let stored = source
        .stored(from)
        .map(|(layer, path)| StoredFile {
            path,
            layer,
            content: known,
            sameness: Sameness::Content,
        })
        .or_else(|| earlier.stored(path, known, &metadata));
    if let Some(stored) = stored {
        builder.add_file(path, &metadata, Content::Stored(&stored))?;
        return Ok(Copied::Now(Fidelity::Exact));
    }
    let opened: File = source.open(from).map_err(|error| WriteError::Open {
        path: GuestPath::new(from),
        source: error,
    })?;
    if size >= LARGE {
        return Ok(Copied::Later(LargeFile {
            path: path.clone(),
            metadata,
            known,
            content: opened,
        }));
    }
    let written = builder.add_file(path, &metadata, Content::File(&opened))?;
    Ok(Copied::Now(match written == known {
        true => Fidelity::Exact,
        false => Fidelity::Changed,
    }))
}
