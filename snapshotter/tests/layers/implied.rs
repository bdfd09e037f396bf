//! Layers that say nothing of the directories their files are in.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_snapshotter::{
    FileContent, Layer, LayerStore, Metadata, ParentView, Reflink, Snapshotter as _, Whiteouts,
    WritableRoot, lower_directories,
};
use kiln_tree::{Entry, NodeKind};
use tar::EntryType;

use crate::odd_tars::{Tar, apply};
use crate::sample::{layer, listing, path, store};

/// A root with a directory for everybody, and one for nobody.
fn base(store: &LayerStore) -> Layer {
    let builder = store.builder().unwrap();
    let metadata = |mode, uid, seconds| Metadata {
        uid,
        ..Metadata::root_owned(mode, Timestamp::from_seconds(seconds))
    };
    for (name, metadata) in [
        ("", metadata(0o751, 0, 1)),
        ("tmp", metadata(0o1777, 0, 2)),
        ("home", metadata(0o755, 0, 3)),
        ("home/user", metadata(0o700, 1000, 4)),
    ] {
        builder.add_directory(&path(name), &metadata).unwrap();
    }
    let content = FileContent::Bytes(b"old");
    builder
        .add_file(&path("home/user/old"), &metadata(0o600, 1000, 5), content)
        .unwrap();
    builder.finish().unwrap()
}

fn above(store: &LayerStore) -> Layer {
    let tar = Tar::default()
        .file("tmp/x", "")
        .file("home/user/new", "1")
        .file("srv/www/index", "1");
    apply(store, &tar.end()).unwrap()
}

/// Mode, owner and time, in short.
fn face(entry: &Entry<'_>) -> (u16, u32, i64) {
    (entry.mode, entry.uid, entry.mtime.seconds)
}

const EXPECTED: [(&str, (u16, u32, i64)); 6] = [
    ("", (0o751, 0, 1)),
    ("tmp", (0o1777, 0, 2)),
    ("home", (0o755, 0, 3)),
    ("home/user", (0o700, 1000, 4)),
    // Nobody has said what these are. 1980, which every program can write.
    ("srv", (0o755, 0, 315_532_800)),
    ("srv/www", (0o755, 0, 315_532_800)),
];

/// Mode, owner and time of what lies below were reset by layers as Bazel and ko make them.
#[test]
fn implied_directories_keep_their_metadata() {
    let (_directory, store) = store();
    let layers = [base(&store), above(&store)];
    let view = ParentView::new(&layers).unwrap();
    let walked: Vec<Entry<'_>> = view
        .walk(&GuestPath::ROOT)
        .map(|found| found.entry)
        .collect();
    let subtree = view.subtree(&path("home")).unwrap();
    for (name, expected) in EXPECTED {
        let entry = view.get(&path(name)).unwrap();
        assert_eq!(
            (entry.kind, face(&entry)),
            (NodeKind::DIRECTORY, expected),
            "{name}"
        );
        if !name.is_empty() {
            let walked = walked.iter().find(|entry| entry.path == name.as_bytes());
            assert_eq!(walked, Some(&entry), "{name}");
        }
        if let Some(inside) = name.strip_prefix("home") {
            let entry = subtree
                .get(inside.trim_start_matches('/').as_bytes())
                .unwrap();
            assert_eq!(
                (entry.kind, face(&entry)),
                (NodeKind::DIRECTORY, expected),
                "{name}"
            );
        }
    }
    assert!(layers[1].verify(Whiteouts::Stored).is_empty());
}

#[test]
fn copied_roots_show_them_too() {
    let (_directory, store) = store();
    let layers = [base(&store), above(&store)];
    let root = Reflink::new(&store).prepare(&layers).unwrap();
    let WritableRoot::Directory(root) = root.root() else {
        panic!("copied roots are directories");
    };
    for (name, (mode, _, seconds)) in EXPECTED {
        let found = fs::metadata(root.join(name)).unwrap();
        assert_eq!(
            (found.mode() & 0o7777, found.mtime()),
            (u32::from(mode), seconds),
            "{name}"
        );
    }
}

/// What overlayfs shows is what the topmost directory is.
#[test]
fn a_stack_is_covered_only_where_that_shows() {
    let (_directory, store) = store();
    let layers = [base(&store), above(&store)];
    let lowers = lower_directories(&layers).unwrap();
    assert_eq!(lowers.len(), 3);
    assert_eq!(lower_directories(&layers).unwrap(), lowers);
    let cover = &lowers[0];
    for (name, (mode, _, seconds)) in &EXPECTED[..4] {
        let found = fs::metadata(cover.join(name)).unwrap();
        assert_eq!(
            (found.mode() & 0o7777, found.mtime()),
            (u32::from(*mode), *seconds),
            "{name}"
        );
    }
    // Nothing else is in it: overlayfs looks for the rest below.
    assert!(!cover.join("srv").exists() && !cover.join("home/user/new").exists());
    assert!(layers[1].verify(Whiteouts::Stored).is_empty());
    // Alone, the same layer is as it is.
    assert_eq!(lower_directories(&layers[1..]).unwrap().len(), 1);
    let covered = layer(&store, &["tmp/", "home/", "home/user/"]);
    let stack = [layers[0].clone(), layers[1].clone(), covered];
    assert_eq!(lower_directories(&stack).unwrap().len(), 3);
}

#[test]
fn implied_directories_follow_the_layers_between() {
    let (_directory, store) = store();
    let face_of = |layers: &[Layer], name: &str| {
        let view = ParentView::new(layers).unwrap();
        view.get(&path(name)).map(|entry| face(&entry))
    };
    let made = Some((0o755, 0, 315_532_800));
    let kept = Some((0o700, 1000, 4));
    let (base, above) = (base(&store), above(&store));
    for (between, expected) in [
        (&["home/", "-home/user"][..], made),
        (&["-home"], made),
        (&["home=file"], made),
        (&["home->tmp"], made),
        (&["home/!"], made),
        (&["/!"], made),
        (&["srv/"], kept),
    ] {
        let layers = [base.clone(), layer(&store, between), above.clone()];
        assert_eq!(face_of(&layers, "home/user"), expected, "{between:?}");
    }
    // Twice implied.
    let tar = Tar::default().file("home/user/another", "").end();
    let again = apply(&store, &tar).unwrap();
    assert_eq!(
        face_of(&[base.clone(), again.clone(), above], "home/user"),
        kept
    );
    // What is inside goes, the directory stays.
    let tar = Tar::default().file("home/user/.wh..wh..opq", "").end();
    let opaque = apply(&store, &tar).unwrap();
    assert_eq!(listing(&opaque), ["home/?", "home/user/!?"]);
    let layers = [base.clone(), opaque];
    assert_eq!(face_of(&layers, "home/user"), kept);
    assert_eq!(face_of(&layers, "home/user/old"), None);
    // A layer that describes a directory after all describes it.
    let tar = Tar::default()
        .file("home/user/x", "")
        .directory("home/user")
        .end();
    let described = apply(&store, &tar).unwrap();
    let layers = [base, described];
    assert_eq!(
        face_of(&layers, "home/user"),
        Some((0o755, 0, 1_600_000_000))
    );
}

/// What kiln writes of such a layer is read as the same layer.
#[test]
fn the_tar_of_a_layer_does_not_describe_them() {
    let ((_one, here), (_two, there)) = (store(), store());
    let tar = Tar::default()
        .file("z/b/file", "1")
        .member(EntryType::Regular, "z/b/.wh..wh..opq", "", b"")
        .file("z/a", "2")
        .file(".wh..wh..opq", "");
    let layer = apply(&here, &tar.end()).unwrap();
    assert_eq!(
        listing(&layer),
        ["/!?", "z/?", "z/a 1", "z/b/!?", "z/b/file 1"]
    );
    let mut bytes = Vec::new();
    let facts = layer.write_tar(&mut bytes).unwrap();
    assert_eq!(layer.canonical_tar().unwrap(), facts);
    let names: Vec<String> = tar::Archive::new(&*bytes)
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(
        names,
        [".wh..wh..opq", "z/a", "z/b/.wh..wh..opq", "z/b/file"]
    );
    assert_eq!(apply(&there, &bytes).unwrap(), layer);
}
