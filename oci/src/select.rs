//! Which manifest serves a platform: the search through an index, and indexes within it.

use std::collections::HashSet;

use crate::{Descriptor, Document, Manifest, MediaKind, Platform, Sha256};

/// Deeper nesting than any builder writes or registry shows is a loop or an attack.
const DEEPEST_NESTING: usize = 4;
/// Nor has any image more indexes than this.
const MOST_INDEXES: usize = 64;

/// Why no manifest was found.
#[derive(Debug, PartialEq, Eq)]
pub enum SelectError<E> {
    /// Something on the way could not be read.
    Read(E),
    /// Nothing is for the platform.
    NoPlatform {
        /// The topmost index.
        digest: Sha256,
        /// The platforms that it has instead.
        available: Vec<Platform>,
    },
    /// Indexes within indexes within indexes, or very many of them.
    TooDeep(Sha256),
}

/// Returns the manifest that serves `platform`: the one that `top` points at, or the best one that
/// an index there leads to, from however deep. `read` returns what a descriptor points at, or none if
/// it is not there, which makes the next best one serve.
///
/// # Errors
/// The first error of `read`; and when nothing serves.
pub fn select<E>(
    top: &Descriptor,
    platform: &Platform,
    read: &mut dyn FnMut(&Descriptor) -> Result<Option<Document>, E>,
) -> Result<(Descriptor, Manifest), SelectError<E>> {
    let mut search = Search {
        platform,
        read,
        seen: HashSet::new(),
    };
    search.select(top, DEEPEST_NESTING)
}

struct Search<'a, E> {
    platform: &'a Platform,
    read: &'a mut dyn FnMut(&Descriptor) -> Result<Option<Document>, E>,
    /// Indexes within indexes that were searched. One that is named a thousand times is searched
    /// once.
    seen: HashSet<Sha256>,
}

impl<E> Search<'_, E> {
    fn select(
        &mut self,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<(Descriptor, Manifest), SelectError<E>> {
        let index = match (self.read)(descriptor).map_err(SelectError::Read)? {
            None => return Err(SelectError::nothing(descriptor)),
            Some(Document::Manifest(manifest)) => return Ok((descriptor.clone(), manifest)),
            Some(Document::Index(index)) => index,
        };
        if depth == 0 || self.seen.len() > MOST_INDEXES {
            return Err(SelectError::TooDeep(descriptor.digest));
        }
        let mut available: Vec<Platform> = Vec::new();
        for platform in index.platforms() {
            if !available.contains(platform) {
                available.push(platform.clone());
            }
        }
        for candidate in index.candidates(self.platform) {
            // What served nothing before serves nothing now.
            let is_index = MediaKind::of(&candidate.media_type) == MediaKind::Index;
            if is_index && !self.seen.insert(candidate.digest) {
                continue;
            }
            match self.select(candidate, depth - 1) {
                // Another entry may do; if none does, these are listed in the error.
                Err(SelectError::NoPlatform {
                    available: inner, ..
                }) => available.extend(inner),
                found => return found,
            }
        }
        Err(SelectError::NoPlatform {
            digest: descriptor.digest,
            available,
        })
    }
}

impl<E> SelectError<E> {
    fn nothing(descriptor: &Descriptor) -> Self {
        Self::NoPlatform {
            digest: descriptor.digest,
            available: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
