//! What a walk meets, in order: unchanged files as positions, the others as records.
//!
//! Threads walk side by side, each with a list of its own. The records of all go to one place, where
//! they stay when lists are put together.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use kiln_files::GrowingBytes;

use super::found::FoundFile;

/// Something that the walk met.
pub(super) enum Met {
    /// As it was: its position in the previous index.
    Known(usize),
    /// New, changed, or of a kind about which the previous index was not asked.
    New(Box<FoundFile>),
}

/// The records of everything that is not known.
#[derive(Default)]
pub(super) struct MetRecords(Mutex<GrowingBytes>);

/// What one thread met.
#[derive(Default)]
pub(super) struct MetPart {
    items: Vec<MetItem>,
    /// Records on their way to those of all.
    own: Vec<u8>,
    /// How many items there were when the last records went there.
    sent: usize,
}

/// All that was met.
pub(super) struct MetList {
    items: Vec<MetItem>,
    records: GrowingBytes,
}

/// A position, or half of `usize` and the offset of a record: there is one for each of many files.
#[derive(Clone, Copy)]
struct MetItem(usize);

const IS_NEW: usize = 1 << (usize::BITS - 1);

/// Bytes of records that a thread keeps before it adds them to those of all.
const OWN: usize = 64 << 10;

impl MetPart {
    pub(super) fn with_room(count: usize) -> Self {
        Self {
            items: Vec::with_capacity(count),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn push(&mut self, met: &Met, records: &MetRecords) {
        match met {
            Met::Known(position) => self.items.push(MetItem(*position)),
            Met::New(found) => {
                self.items.push(MetItem(IS_NEW | self.own.len()));
                found.encode(&mut self.own);
                if self.own.len() >= OWN {
                    self.send(records);
                }
            }
        }
    }

    /// Sends the records to those of all, so that others may take over what was met.
    pub(super) fn send(&mut self, records: &MetRecords) {
        if !self.own.is_empty() {
            let mut records = records.0.lock().unwrap_or_else(PoisonError::into_inner);
            let base = records.add(|out| out.extend_from_slice(&self.own));
            self.own.clear();
            for item in &mut self.items[self.sent..] {
                if item.0 & IS_NEW != 0 {
                    item.0 += base;
                }
            }
        }
        self.sent = self.items.len();
    }

    /// Adds some of what another walk met that has sent its records.
    pub(super) fn append(&mut self, other: &Self, range: Range<usize>, records: &MetRecords) {
        debug_assert!(other.sent >= range.end);
        self.send(records);
        self.items.extend_from_slice(&other.items[range]);
        self.sent = self.items.len();
    }

    /// Forgets what came after so many.
    pub(super) fn truncate(&mut self, count: usize) {
        self.items.truncate(count);
        self.sent = self.sent.min(count);
    }

    /// Returns all that was met, with its records.
    pub(super) fn finish(mut self, records: MetRecords) -> MetList {
        self.send(&records);
        let records = records.0.into_inner();
        MetList {
            items: self.items,
            records: records.unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl MetList {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Met> {
        self.items.iter().map(|item| self.met(*item))
    }

    /// Makes known what `known` knows the position of.
    pub(super) fn settle(&mut self, mut known: impl FnMut(&mut FoundFile) -> Option<usize>) {
        for index in 0..self.items.len() {
            if let Met::New(mut found) = self.met(self.items[index])
                && let Some(position) = known(&mut found)
            {
                self.items[index] = MetItem(position);
            }
        }
    }

    /// Returns the positions of everything; none if something is not known.
    pub(super) fn positions(&self) -> Option<impl Iterator<Item = usize>> {
        let is_known = self.items.iter().all(|item| item.0 & IS_NEW == 0);
        is_known.then(|| self.items.iter().map(|item| item.0))
    }

    fn met(&self, item: MetItem) -> Met {
        if item.0 & IS_NEW == 0 {
            return Met::Known(item.0);
        }
        let found = FoundFile::decode(self.records.record(item.0 & !IS_NEW));
        Met::New(Box::new(found.expect("push wrote it")))
    }
}
