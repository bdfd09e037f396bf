use super::*;
use crate::TreeBuilder;
use crate::{Device, NodeKind, Xattrs, XattrsBuf};
use kiln_oci::Timestamp;
use std::collections::BTreeMap;

fn file(path: &str) -> Entry<'_> {
    Entry {
        path: path.as_bytes(),
        kind: NodeKind::File {
            size: 3,
            hash: Blake3::of(path.as_bytes()),
        },
        mode: 0o644,
        uid: 1,
        gid: 2,
        mtime: Timestamp::from_seconds(7),
        xattrs: Xattrs::default(),
    }
}

fn tree(paths: &[&str]) -> Tree {
    let mut builder = TreeBuilder::new();
    for path in paths {
        builder.push(&file(path));
    }
    builder.finish()
}

fn written(tree: &Tree) -> Vec<u8> {
    let mut bytes = Vec::new();
    tree.write(&mut bytes).unwrap();
    bytes
}

#[test]
fn entries_of_every_kind_read_back() {
    let xattrs = XattrsBuf::new(vec![
        (b"user.b".to_vec(), vec![0, 255]),
        (b"security.capability".to_vec(), vec![1; 20]),
    ]);
    let kinds = [
        NodeKind::File {
            size: u64::MAX,
            hash: Blake3::of(b"x"),
        },
        NodeKind::HardLink { target: b"a/b" },
        NodeKind::DIRECTORY,
        NodeKind::Directory {
            opaque: true,
            implied: false,
        },
        NodeKind::Directory {
            opaque: false,
            implied: true,
        },
        NodeKind::Directory {
            opaque: true,
            implied: true,
        },
        NodeKind::Symlink { target: b"../x" },
        NodeKind::CharDevice(Device { major: 1, minor: 3 }),
        NodeKind::BlockDevice(Device { major: 8, minor: 0 }),
        NodeKind::Fifo,
        NodeKind::Whiteout,
    ];
    let names: Vec<String> = (0..kinds.len()).map(|i| format!("n{i:02}")).collect();
    let entries: Vec<Entry<'_>> = kinds
        .iter()
        .zip(&names)
        .map(|(kind, name)| Entry {
            kind: *kind,
            mode: 0o7777,
            uid: 3_000_000_000,
            mtime: Timestamp {
                seconds: -5,
                nanoseconds: 9,
            },
            xattrs: xattrs.as_xattrs(),
            ..file(name)
        })
        .collect();
    let mut builder = TreeBuilder::new();
    entries.iter().rev().for_each(|entry| builder.push(entry));
    let tree = builder.finish();
    assert_eq!(tree.iter().collect::<Vec<_>>(), entries);
    let names: Vec<_> = tree.at(0).xattrs.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"security.capability"[..], b"user.b"]);
    assert_eq!(Tree::from_bytes(written(&tree)), Ok(tree));
}

#[test]
fn look_ups_find_entries_and_subtrees() {
    let tree = tree(&["b", "a/x", "a", "a/y/z", "a/y", "a.txt", "a-b"]);
    let paths = |range: Range<usize>| -> Vec<String> {
        range
            .map(|i| String::from_utf8_lossy(tree.at(i).path).into_owned())
            .collect()
    };
    assert_eq!(
        paths(0..tree.len()),
        ["a", "a/x", "a/y", "a/y/z", "a-b", "a.txt", "b"]
    );
    assert_eq!(paths(tree.below(b"a")), ["a/x", "a/y", "a/y/z"]);
    assert_eq!(paths(tree.below(b"a/y")), ["a/y/z"]);
    assert_eq!(tree.below(b""), 0..7);
    assert!(tree.below(b"nothing").is_empty());
    assert_eq!(tree.get(b"a-b").map(|e| e.path), Some(&b"a-b"[..]));
    assert_eq!(tree.get(b"a/z"), None);
}

#[test]
fn the_last_of_equal_paths_stands_and_order_of_arrival_does_not_matter() {
    let mut builder = TreeBuilder::new();
    builder.push(&Entry {
        uid: 9,
        ..file("a")
    });
    builder.push(&file("b"));
    builder.push(&file("a"));
    let tree = builder.finish();
    assert_eq!((tree.len(), tree.at(0).uid), (2, 1));
    assert_eq!(tree.layer_id(), self::tree(&["b", "a"]).layer_id());
}

/// Against a map, for every pair of subsets of some paths.
#[test]
fn a_tree_with_another_has_the_entries_of_both() {
    let all = ["a", "a/x", "b", "c"];
    let subset = |bits: u32, uid: u32| {
        let mut builder = TreeBuilder::new();
        assert!(builder.is_empty());
        for (_, path) in (0..).zip(all).filter(|(bit, _)| bits & (1 << bit) != 0) {
            builder.push(&Entry { uid, ..file(path) });
            assert!(!builder.is_empty());
        }
        builder.finish()
    };
    let listed = |tree: &Tree| -> BTreeMap<Vec<u8>, u32> {
        let entries = tree.iter().map(|entry| (entry.path.to_vec(), entry.uid));
        entries.collect()
    };
    for (lower, upper) in (0..16).flat_map(|lower| (0..16).map(move |upper| (lower, upper))) {
        let (lower, upper) = (subset(lower, 1), subset(upper, 2));
        let mut expected = listed(&lower);
        expected.extend(listed(&upper));
        let merged = lower.with(&upper);
        assert_eq!(listed(&merged), expected);
        assert_eq!(merged.len(), expected.len());
        assert_eq!(Tree::from_bytes(written(&merged)).as_ref(), Ok(&merged));
    }
}

#[test]
fn damage_is_found() {
    let good = written(&tree(&["a", "b/c"]));
    for cut in 0..good.len() {
        assert_eq!(
            Tree::from_bytes(good[..cut].to_vec()),
            Err(InvalidTree),
            "{cut}"
        );
    }
    let mut swapped = good.clone();
    swapped[HEADER..HEADER + 8].rotate_left(4);
    assert_eq!(Tree::from_bytes(swapped), Err(InvalidTree));
}

/// A frozen sample: layer ids are names on disk, so a change means a new format version.
#[test]
fn the_encoding_is_frozen() {
    assert_eq!(
        tree(&["a", "b/c"]).layer_id().to_string(),
        "7670d59a0a5f93b2d22e2dba8e7f13e739539ae2228cd4d292007c637551abd3"
    );
}
