//! What a layer is going to hold, by path.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use kiln_files::{GrowingBytes, GuestPath, compare_paths};
use kiln_tree::Entry;

/// What will be at a path of the layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    /// Path, type, owner, mode, time and attributes.
    pub(crate) node: Entry<'a>,
    /// Where a regular file's bytes come from.
    pub(crate) bytes: Bytes<'a>,
}

/// Where a regular file's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes<'a> {
    /// Not a regular file.
    None,
    /// The source's file at this path.
    Source(&'a [u8]),
    /// The Dockerfile.
    Inline(&'a [u8]),
    /// Another name of the same file, placed at this path of the source: linked if it is still
    /// what was copied from there.
    SameAs(&'a [u8]),
}

impl<'a> Placed<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.node.encode(out);
        let (tag, bytes): (u8, &[u8]) = match self.bytes {
            Bytes::None => (0, &[]),
            Bytes::Source(path) => (1, path),
            Bytes::Inline(content) => (2, content),
            Bytes::SameAs(path) => (3, path),
        };
        out.push(tag);
        out.extend_from_slice(&bytes.len().to_ne_bytes());
        out.extend_from_slice(bytes);
    }

    fn decode(record: &'a [u8]) -> Option<Self> {
        let (node, rest) = Entry::decode(record)?;
        let (tag, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first_chunk()?;
        let bytes = rest.get(..usize::from_ne_bytes(*length))?;
        let bytes = match tag {
            0 => Bytes::None,
            1 => Bytes::Source(bytes),
            2 => Bytes::Inline(bytes),
            3 => Bytes::SameAs(bytes),
            _ => return None,
        };
        Some(Self { node, bytes })
    }
}

/// Placed entries in the order of a walk.
///
/// They are placed in that order, unless a copy has several sources. So the records of most stand
/// in a sorted list, without the overhead of a tree; a tree holds the others.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    records: GrowingBytes,
    /// Those that came in order.
    listed: Vec<EntryId>,
    /// Those that came when the list was beyond them; they count instead of listed ones.
    others: BTreeMap<GuestPath, EntryId>,
    /// How many paths there are.
    count: usize,
}

/// An entry among others: where its record is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryId(usize);

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn at(&self, id: EntryId) -> Placed<'_> {
        Placed::decode(self.records.record(id.0)).expect("it was written by insert")
    }

    pub(crate) fn get(&self, path: &GuestPath) -> Option<Placed<'_>> {
        let other = self.others.get(path).copied();
        other
            .or_else(|| self.find_listed(path))
            .map(|id| self.at(id))
    }

    /// Adds an entry, in place of one with the same path.
    pub(crate) fn insert(&mut self, placed: &Placed<'_>) {
        let path = placed.node.path;
        let id = EntryId(self.records.add(|out| placed.encode(out)));
        let last = self.listed.last();
        if last.is_none_or(|last| self.compare(*last, path).is_lt()) {
            self.listed.push(id);
            self.count += 1;
            return;
        }
        let path = placed.node.guest_path();
        let is_new = self.find_listed(&path).is_none();
        let is_other = self.others.insert(path, id).is_some();
        self.count += usize::from(is_new && !is_other);
    }

    /// Changes the entry at a path, if there is one.
    pub(crate) fn change(&mut self, path: &GuestPath, change: impl FnOnce(&mut Placed<'_>)) {
        let mut record = Vec::new();
        if let Some(mut placed) = self.get(path) {
            change(&mut placed);
            placed.encode(&mut record);
        }
        if let Some(placed) = Placed::decode(&record) {
            self.insert(&placed);
        }
    }

    /// Returns all of them in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (EntryId, Placed<'_>)> {
        let mut listed = self.listed.iter().copied().peekable();
        let mut others = self.others.iter().peekable();
        std::iter::from_fn(move || {
            let order = match (listed.peek(), others.peek()) {
                (Some(next), Some((path, _))) => self.compare(*next, path.as_bytes()),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            if order.is_le() {
                let next = listed.next();
                if order.is_lt() {
                    return next;
                }
            }
            others.next().map(|(_, id)| *id)
        })
        .map(|id| (id, self.at(id)))
    }

    fn compare(&self, listed: EntryId, path: &[u8]) -> Ordering {
        compare_paths(self.at(listed).node.path, path)
    }

    fn find_listed(&self, path: &GuestPath) -> Option<EntryId> {
        let compare = |id: &EntryId| self.compare(*id, path.as_bytes());
        // Nearly every path that is asked for is beyond the list.
        if compare(self.listed.last()?).is_lt() {
            return None;
        }
        let found = self.listed.binary_search_by(compare);
        found.ok().map(|position| self.listed[position])
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::Timestamp;
    use kiln_tree::{NodeKind, Xattrs};

    use super::*;

    fn placed(path: &str, mode: u16) -> Placed<'_> {
        Placed {
            node: Entry {
                path: path.as_bytes(),
                kind: NodeKind::Fifo,
                mode,
                uid: 0,
                gid: 0,
                mtime: Timestamp::EPOCH,
                xattrs: Xattrs::default(),
            },
            bytes: Bytes::None,
        }
    }

    #[test]
    fn entries_come_out_sorted_and_the_last_of_a_path_counts() {
        let mut entries = Entries::default();
        for (mode, path) in ["b", "b/c", "d", "a", "b/a", "d", "a", "c", "e"]
            .into_iter()
            .enumerate()
        {
            entries.insert(&placed(path, mode as u16));
        }
        let found: Vec<_> = entries
            .iter()
            .map(|(_, placed)| (placed.node.guest_path().to_string(), placed.node.mode))
            .collect();
        let expected = [
            ("/a", 6),
            ("/b", 0),
            ("/b/a", 4),
            ("/b/c", 1),
            ("/c", 7),
            ("/d", 5),
            ("/e", 8),
        ];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)));
        assert_eq!(entries.len(), 7);
        for (path, mode) in expected {
            let path = GuestPath::new(path);
            assert_eq!(
                entries.get(&path).map(|placed| placed.node.mode),
                Some(mode)
            );
        }
        assert!(entries.get(&GuestPath::new("b/b")).is_none());
        assert!(entries.get(&GuestPath::new("f")).is_none());
        // What is changed stays where it is.
        for (path, mode) in [("b/a", 14), ("d", 15), ("e", 16), ("f", 17)] {
            entries.change(&GuestPath::new(path), |placed| {
                placed.node.mode = mode;
                placed.bytes = Bytes::SameAs(b"x");
            });
        }
        let modes: Vec<_> = entries.iter().map(|(_, placed)| placed.node.mode).collect();
        assert_eq!(modes, [6, 0, 14, 1, 7, 15, 16]);
        assert_eq!(entries.len(), 7);
        let changed = entries.get(&GuestPath::new("e")).unwrap();
        assert_eq!(changed.bytes, Bytes::SameAs(b"x"));
    }
}
