//! Digest and length of the tar that kiln makes of a layer.
//!
//! SHA-256 has no parallel form, so kiln avoids to compute it: the digest is remembered, and that of
//! a layer made by the same step as an earlier one goes on at the first entry in which the two
//! differ. For that, some dozens of states of the computation are kept beside each layer:
//!
//! ```text
//! layers/<2 hex>/<layer id>/like    text: the layer id of the earlier one
//! layers/<2 hex>/<layer id>/states  text: a sample, then position and state for each
//! ```

use std::fs;
use std::io;

use kiln_oci::{DiffId, Sha256State, Sha256Writer};
use kiln_tree::{Entry, LayerId, NodeKind, Tree};

use crate::error::LayerError;
use crate::facts::{TarFacts, TarOrigin};
use crate::layer::{Layer, LayerStore};
use crate::tar::contents::{Check, ContentSource, OnDisk};
use crate::tar::write::write_tree;

/// Bytes of a block of tar.
const BLOCK: u64 = 512;

/// Two zero blocks, all that the tar of an empty layer is.
const EMPTY_TAR_BYTES: u64 = 2 * BLOCK;

/// About how many states are kept of a layer.
const MILESTONES: u64 = 64;

/// The least number of bytes of tar between two states that are kept.
const LEAST_SPACING_BYTES: u64 = 256 << 10;

/// A state of the computation in front of an entry.
#[derive(Clone, Debug)]
struct Milestone {
    position: usize,
    state: Sha256State,
}

/// A tar that was digested: facts, and states to go on from.
#[derive(Clone, Debug)]
pub(crate) struct Digested {
    tar: TarFacts,
    milestones: Vec<Milestone>,
}

/// Digests the tar of the files that `tree` describes.
pub(crate) fn digest_tree<C: ContentSource>(
    contents: &C,
    tree: &Tree,
) -> Result<Digested, C::Error> {
    go_on(contents, tree, Vec::new())
}

/// Digests a tar from the last of some states on.
fn go_on<C: ContentSource>(
    contents: &C,
    tree: &Tree,
    mut milestones: Vec<Milestone>,
) -> Result<Digested, C::Error> {
    let (start, mut hashing) = match milestones.last() {
        Some(last) => (last.position, Sha256Writer::resume(io::sink(), &last.state)),
        None => (0, Sha256Writer::new(io::sink())),
    };
    let mut last = milestones.last().map_or(0, |last| last.state.size_bytes());
    let spacing = LEAST_SPACING_BYTES.max(tar_bytes(tree) / MILESTONES);
    let before = |position: usize, hashing: &mut Sha256Writer<io::Sink>| {
        let state = hashing.state();
        if state.size_bytes() >= last + spacing {
            last = state.size_bytes();
            milestones.push(Milestone { position, state });
        }
    };
    write_tree(contents, tree, start, &mut hashing, before)?;
    let (_, digest, size_bytes) = hashing.finish();
    let tar = TarFacts {
        diff_id: DiffId(digest),
        size_bytes,
        origin: TarOrigin::Canonical,
    };
    Ok(Digested { tar, milestones })
}

impl Layer {
    /// Returns digest and length of the tar that kiln itself makes of the layer; computed once and
    /// remembered.
    ///
    /// A layer can be known by other digests too: those of foreign archives with the same files.
    /// An image of ours names its layers by what can be made again without those archives.
    ///
    /// # Errors
    /// When the layer cannot be read.
    pub fn canonical_tar(&self) -> Result<TarFacts, LayerError> {
        if let Some(tar) = self.known_canonical_tar()? {
            // A kiln that wrote it down may have been killed before it made the name in `diffs/`.
            self.find_by(tar.diff_id)?;
            return Ok(tar);
        }
        if self.tree()?.is_empty() {
            return Ok(TarFacts {
                diff_id: DiffId::EMPTY,
                size_bytes: EMPTY_TAR_BYTES,
                origin: TarOrigin::Canonical,
            });
        }
        // Of several threads or processes that want the digest, one computes it.
        let _lock = self.lock_work()?;
        if let Some(tar) = self.known_canonical_tar()? {
            return Ok(tar);
        }
        let tree = self.tree()?;
        let milestones = self.inherited_milestones(&tree);
        let start = milestones.last().map_or(0, |last| last.position);
        let files = OnDisk::open(
            self.id(),
            self.files(),
            Check::Length,
            &tree,
            start,
            self.stop(),
        )?;
        let digested = go_on(&files, &tree, milestones)?;
        self.remember_digested(&digested)?;
        Ok(digested.tar)
    }

    fn known_canonical_tar(&self) -> Result<Option<TarFacts>, LayerError> {
        let mut tars = self.facts()?.tars.into_iter();
        Ok(tars.find(|tar| tar.origin == TarOrigin::Canonical))
    }

    /// Remembers the tar of the layer, and the states for one that begins like it.
    pub(crate) fn remember_digested(&self, digested: &Digested) -> Result<(), LayerError> {
        let Digested { tar, milestones } = digested;
        if !milestones.is_empty() {
            // Without them the next layer like this one is hashed from its start.
            let _ = self.replace(&self.path("states"), to_text(milestones).as_bytes());
        }
        self.remember_tar(*tar)
    }

    /// Returns the milestones of the earlier layer up to the entry from which on this one differs.
    fn inherited_milestones(&self, tree: &Tree) -> Vec<Milestone> {
        let like = fs::read_to_string(self.path("like")).ok();
        let earlier = like
            .and_then(|text| text.trim_end().parse::<LayerId>().ok())
            .and_then(|id| self.layers().layer(id));
        let Some(earlier) = earlier else {
            return Vec::new();
        };
        let text = fs::read_to_string(earlier.path("states")).unwrap_or_default();
        let mut milestones = from_text(&text);
        if let Some(last) = milestones.last()
            && let Ok(other) = earlier.tree()
        {
            let common = tree.common_start(&other, last.position);
            milestones.retain(|milestone| milestone.position <= common);
            return milestones;
        }
        Vec::new()
    }
}

impl LayerStore {
    /// Notes that a layer was made by the same step as an earlier one, and is likely to have most
    /// files in common with it. Nothing but speed depends on it.
    pub fn note_likeness(&self, layer: &Layer, earlier: LayerId) {
        if layer.id() != earlier {
            let _ = layer.replace(&layer.path("like"), format!("{earlier}\n").as_bytes());
        }
    }
}

/// Returns about how long the tar of a layer is: without what long names take.
fn tar_bytes(tree: &Tree) -> u64 {
    let length = |entry: Entry<'_>| match entry.kind {
        NodeKind::File { size, .. } => BLOCK + size.next_multiple_of(BLOCK),
        _ => BLOCK,
    };
    tree.iter().map(length).sum()
}

fn to_text(milestones: &[Milestone]) -> String {
    let mut text = format!("{}\n", Sha256State::sample().to_text());
    for Milestone { position, state } in milestones {
        text.push_str(&format!("{position} {}\n", state.to_text()));
    }
    text
}

/// Reads milestones; none if they were written by another implementation, or only in part.
fn from_text(text: &str) -> Vec<Milestone> {
    let mut lines = text.lines();
    if lines.next() != Some(&Sha256State::sample().to_text()) {
        return Vec::new();
    }
    let milestone = |line: &str| {
        let (position, state) = line.split_once(' ')?;
        Some(Milestone {
            position: position.parse().ok()?,
            state: Sha256State::from_text(state)?,
        })
    };
    lines
        .map(milestone)
        .collect::<Option<_>>()
        .unwrap_or_default()
}
