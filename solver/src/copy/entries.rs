//! What a layer is going to hold, by path.

use std::collections::BTreeMap;

use kiln_files::GuestPath;
use kiln_tree::Entry;

/// What will be at a path of the layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    /// Type, owner, mode, time and attributes; its path is not used.
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
    Inline(&'a str),
    /// Another name of the same file, placed at this path of the source: linked if it is still
    /// what was copied from there.
    SameAs(&'a [u8]),
}

/// Placed entries in the order of a walk.
///
/// They are placed in that order, unless a copy has several sources. So most stand in a sorted
/// list, without the overhead of a tree; a tree holds the others.
#[derive(Debug, Default)]
pub(crate) struct Entries<'a> {
    listed: Vec<(GuestPath, Placed<'a>)>,
    /// Those that came when the list was beyond them; no path is in both.
    others: BTreeMap<GuestPath, Placed<'a>>,
}

impl<'a> Entries<'a> {
    pub(crate) fn len(&self) -> usize {
        self.listed.len() + self.others.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, path: &GuestPath) -> Option<&Placed<'a>> {
        match self.position(path) {
            Some(position) => Some(&self.listed[position].1),
            None => self.others.get(path),
        }
    }

    pub(crate) fn get_mut(&mut self, path: &GuestPath) -> Option<&mut Placed<'a>> {
        match self.position(path) {
            Some(position) => Some(&mut self.listed[position].1),
            None => self.others.get_mut(path),
        }
    }

    /// Adds an entry, in place of one with the same path.
    pub(crate) fn insert(&mut self, path: GuestPath, placed: Placed<'a>) {
        if let Some(before) = self.get_mut(&path) {
            *before = placed;
        } else if self.is_beyond(&path) {
            self.listed.push((path, placed));
        } else {
            self.others.insert(path, placed);
        }
    }

    /// Returns all of them in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&GuestPath, &Placed<'a>)> {
        let mut listed = self.listed.iter().peekable();
        let mut others = self.others.iter().peekable();
        std::iter::from_fn(move || match (listed.peek(), others.peek()) {
            (Some((next, _)), Some((other, _))) if next > *other => others.next(),
            (None, _) => others.next(),
            _ => listed.next().map(|(path, placed)| (path, placed)),
        })
    }

    fn is_beyond(&self, path: &GuestPath) -> bool {
        self.listed.last().is_none_or(|(last, _)| last < path)
    }

    /// Returns where a path is in the list.
    fn position(&self, path: &GuestPath) -> Option<usize> {
        if self.is_beyond(path) {
            return None;
        }
        let found = self.listed.binary_search_by(|(listed, _)| listed.cmp(path));
        found.ok()
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::Timestamp;
    use kiln_tree::{NodeKind, Xattrs};

    use super::*;

    fn placed(mode: u16) -> Placed<'static> {
        Placed {
            node: Entry {
                path: b"",
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
            entries.insert(GuestPath::new(path), placed(mode as u16));
        }
        let found: Vec<_> = entries
            .iter()
            .map(|(path, placed)| (path.to_string(), placed.node.mode))
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
    }
}
