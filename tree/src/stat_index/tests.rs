use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};

use super::*;
use crate::Blake3;
use crate::tree::{NodeKind, Xattrs};

/// Returns an index of these files; inode and owner tell whose entry a later one is.
fn index(paths: &[&str], mark: u32) -> StatIndex {
    let mut builder = StatIndexBuilder::default();
    for path in paths {
        let entry = Entry {
            path: path.as_bytes(),
            kind: NodeKind::File {
                size: 3,
                hash: Blake3::of(path.as_bytes()),
            },
            mode: 0o644,
            uid: mark,
            gid: 2,
            mtime: Timestamp::from_seconds(7),
            xattrs: Xattrs::default(),
        };
        let identity = FileIdentity {
            device: 1,
            inode: u64::from(mark),
            ctime: Timestamp {
                seconds: -3,
                nanoseconds: 5,
            },
            read_at: -9,
        };
        builder.push(&entry, &identity);
    }
    builder.finish()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn bytes_of(index: &StatIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.write(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_written_index_reads_back() {
    for paths in [&[][..], &["a", "b/c", "d"]] {
        let written = index(paths, 4);
        let read = StatIndex::read(file_of(&bytes_of(&written)))
            .unwrap()
            .unwrap();
        assert_eq!(read.tree(), written.tree());
        for position in 0..paths.len() {
            assert_eq!(read.identity(position), written.identity(position));
            assert_eq!(read.identity(position).inode, 4);
        }
    }
}

#[test]
fn a_damaged_index_is_none() {
    let good = bytes_of(&index(&["a", "b"], 4));
    let none = |bytes: &[u8]| StatIndex::read(file_of(bytes)).unwrap().is_none();
    assert!(!none(&good));
    let mut other_format = good.clone();
    other_format[0] ^= 1;
    assert!(none(&other_format));
    // The length of the identities: more than there is, and one record less.
    for length in [u64::MAX, 1 << 20, FileIdentity::LENGTH as u64] {
        let mut wrong = good.clone();
        wrong[MAGIC.len()..MAGIC.len() + 8].copy_from_slice(&length.to_le_bytes());
        assert!(none(&wrong), "{length}");
    }
    let header = MAGIC.len() + 8;
    for cut in header..good.len() {
        assert!(none(&good[..cut]), "{cut}");
    }
    // A record is missing, and the header says so.
    let mut shorter = good.clone();
    shorter.drain(header..header + FileIdentity::LENGTH);
    shorter[MAGIC.len()..header].copy_from_slice(&(FileIdentity::LENGTH as u64).to_le_bytes());
    assert!(none(&shorter));
}

/// Against a map, for every pair of subsets of some paths and every scanned prefix.
#[test]
fn merging_keeps_what_lies_outside_of_the_scan() {
    let all = ["a", "a/x", "a/y", "b", "c"];
    let subset = |bits: usize, keep: &dyn Fn(&str) -> bool| -> Vec<&str> {
        let chosen = (0..).zip(all).filter(|(bit, _)| bits & (1 << bit) != 0);
        chosen
            .map(|(_, path)| path)
            .filter(|path| keep(path))
            .collect()
    };
    let listed = |index: &StatIndex| -> BTreeMap<Vec<u8>, (u32, u64)> {
        let entries = index.tree().iter().enumerate();
        entries
            .map(|(position, entry)| {
                let inode = index.identity(position).inode;
                (entry.path.to_vec(), (entry.uid, inode))
            })
            .collect()
    };
    for scanned in [
        &[][..],
        &["a"],
        &["a/y", "c"],
        &["b"],
        &["a", "b", "c"],
        &[""],
    ] {
        let is_scanned = |path: &str| {
            scanned.iter().any(|prefix| {
                prefix.is_empty() || path == *prefix || path.starts_with(&format!("{prefix}/"))
            })
        };
        let prefixes: Vec<GuestPath> = scanned.iter().map(GuestPath::new).collect();
        for (old, new) in (0..32).flat_map(|old| (0..32).map(move |new| (old, new))) {
            let old = index(&subset(old, &|_| true), 1);
            // A scan finds the directories on the way too.
            let new = index(&subset(new, &|path| is_scanned(path) || path == "a"), 2);
            let mut expected = listed(&old);
            expected.retain(|path, _| !is_scanned(str::from_utf8(path).unwrap()));
            expected.extend(listed(&new));
            assert_eq!(listed(&merge(&old, new, &prefixes)), expected);
        }
    }
}

#[test]
fn paths_below_one_another_and_missing_ones_are_covered_once() {
    let index = index(&["a", "a/x", "a/y", "b", "c"], 1);
    let covered_by = |paths: &[&str]| {
        let paths: Vec<GuestPath> = paths.iter().map(GuestPath::new).collect();
        covered(index.tree(), &paths)
    };
    assert_eq!(covered_by(&["a", "a/x", "bb", "c"]), [0..3, 4..5]);
    assert_eq!(covered_by(&["0", "a/x", "a/y", "d"]), [1..2, 2..3]);
    assert_eq!(covered_by(&[]), []);
}

#[test]
fn a_file_is_settled_when_it_is_older_than_the_window() {
    let window = i64::try_from(RACY_WINDOW.as_secs()).unwrap();
    let identity = |ctime: i64| FileIdentity {
        device: 1,
        inode: 1,
        ctime: Timestamp::from_seconds(ctime),
        read_at: 100,
    };
    let is_settled =
        |ctime: i64, mtime: i64| identity(ctime).is_settled(Timestamp::from_seconds(mtime));
    assert!(is_settled(100 - window - 1, 100 - window - 1));
    assert!(!is_settled(100 - window, 0));
    assert!(!is_settled(0, 100 - window));
    assert!(!is_settled(0, 200), "a time in the future");
}
