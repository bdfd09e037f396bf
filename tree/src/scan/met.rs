//! What a walk meets, in order: unchanged files as positions, the others as records.

use kiln_files::GrowingBytes;

use super::found::FoundFile;

/// Something that the walk met.
pub(super) enum Met {
    /// As it was: its position in the previous index.
    Known(usize),
    /// New, changed, or of a kind about which the previous index was not asked.
    New(Box<FoundFile>),
}

/// All that was met.
#[derive(Default)]
pub(super) struct MetList {
    items: Vec<MetItem>,
    /// Of those that are not known.
    records: GrowingBytes,
}

#[derive(Clone, Copy)]
enum MetItem {
    Known(usize),
    /// The offset of its record.
    New(usize),
}

impl MetList {
    /// Starts with room for so many.
    pub(super) fn with_room(count: usize) -> Self {
        Self {
            items: Vec::with_capacity(count),
            records: GrowingBytes::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn push(&mut self, met: &Met) {
        let item = match met {
            Met::Known(position) => MetItem::Known(*position),
            Met::New(found) => MetItem::New(self.records.add(|out| found.encode(out))),
        };
        self.items.push(item);
    }

    /// Adds everything that another walk met.
    pub(super) fn append(&mut self, other: &Self) {
        self.items.reserve(other.len());
        for met in other.iter() {
            self.push(&met);
        }
    }

    /// Forgets what came after so many.
    pub(super) fn truncate(&mut self, count: usize) {
        self.items.truncate(count);
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
                self.items[index] = MetItem::Known(position);
            }
        }
    }

    /// Returns the positions of everything; none if something is not known.
    pub(super) fn positions(&self) -> Option<impl Iterator<Item = usize>> {
        let position = |item: &MetItem| match item {
            MetItem::Known(position) => Some(*position),
            MetItem::New(_) => None,
        };
        let is_all = self.items.iter().all(|item| position(item).is_some());
        is_all.then(|| self.items.iter().filter_map(position))
    }

    fn met(&self, item: MetItem) -> Met {
        match item {
            MetItem::Known(position) => Met::Known(position),
            MetItem::New(offset) => {
                let found = FoundFile::decode(self.records.record(offset));
                Met::New(Box::new(found.expect("push wrote it")))
            }
        }
    }
}
