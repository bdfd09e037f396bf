//! `LayerBuilder`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use kiln_snapshotter::{Added, BuildError, FileContent, Hashed, Metadata};
use kiln_tree::{Blake3, NodeKind};

use crate::sample::{Root, add, layer, listing, path, plain, store};

#[test]
fn files_land_on_disk_and_in_the_index() {
    let (_directory, store) = store();
    let layer = layer(
        &store,
        &[
            "d/",
            "d/f=hello",
            "l->d/f",
            "h hard=d/f",
            "-gone",
            "o/!",
            "o/x=",
        ],
    );
    assert_eq!(
        listing(&layer),
        [
            "d/", "d/f 5", "-gone", "h == d/f", "l -> d/f", "o/!", "o/x 0"
        ]
    );
    let root = layer.root();
    assert_eq!(fs::read_to_string(root.join("h")).unwrap(), "hello");
    let metadata = fs::metadata(root.join("d/f")).unwrap();
    assert_eq!(metadata.mtime(), 1_700_000_000);
    assert_eq!(metadata.nlink(), 2);
    assert_eq!(fs::metadata(root.join("d")).unwrap().mtime(), 1_700_000_000);
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o755);
    let whiteout = fs::symlink_metadata(root.join("gone")).unwrap();
    assert_eq!(whiteout.rdev(), 0);
    let hash = match layer.tree().unwrap().get(b"d/f").unwrap().kind {
        NodeKind::File { hash, .. } => hash,
        other => panic!("{other:?}"),
    };
    assert_eq!(hash, Blake3::of(b"hello"));
}

#[test]
fn the_same_files_are_the_same_layer_in_any_order() {
    let (directory, store) = store();
    let one = layer(&store, &["a/", "a/x=1", "b=2", "c hard=b"]);
    let other = layer(&store, &["c=2", "b hard=c", "a/", "a/x=old", "a/x=1"]);
    assert_eq!(one, other);
    assert_eq!(one.diff_id().unwrap(), other.diff_id().unwrap());
    store.store().settle().unwrap();
    let work = fs::read_dir(directory.path().join("work")).unwrap();
    for own in work {
        assert_eq!(fs::read_dir(own.unwrap().path()).unwrap().count(), 0);
    }
}

#[test]
fn later_entries_replace_earlier_ones() {
    let (_directory, store) = store();
    let layer = layer(
        &store,
        &[
            "d/",
            "d/sub/",
            "d/sub/x=1",
            "d=now a file",
            "f=1",
            "f/",
            "f/y=2",
            "l->f",
            "l=3",
            "g=old",
            "h hard=g",
            "g=new one",
        ],
    );
    assert_eq!(
        listing(&layer),
        ["d 10", "f/", "f/y 1", "g 7", "h 3", "l 1"]
    );
    assert_eq!(fs::read_to_string(layer.root().join("h")).unwrap(), "old");
}

#[test]
fn a_directory_made_again_after_it_was_replaced_is_empty() {
    let (_directory, store) = store();
    let layer = layer(
        &store,
        &[
            "d/", "d/x=1", "d=f", "d/", "d/y=2", "d/z/", "d/z/a=", "d/z=", "d/z/",
        ],
    );
    assert_eq!(listing(&layer), ["d/", "d/y 1", "d/z/"]);
}

#[test]
fn links_are_not_followed_out_of_the_layer() {
    let (_directory, store) = store();
    let outside = tempfile::tempdir().unwrap();
    let builder = store.builder().unwrap();
    let target = outside.path().to_str().unwrap();
    add(&builder, &[&format!("evil->{target}"), "self->."]);
    for name in ["evil/x", "self/x"] {
        let error = builder
            .add_file(&path(name), &plain(0o644), FileContent::Bytes(b"x"))
            .unwrap_err();
        assert!(
            matches!(error, BuildError::ParentNotDirectory(_)),
            "{error}"
        );
        let error = builder
            .add_directory(&path(name), &plain(0o755))
            .unwrap_err();
        assert!(
            matches!(error, BuildError::ParentNotDirectory(_)),
            "{error}"
        );
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_file_without_its_directory_is_refused() {
    let (_directory, store) = store();
    let builder = store.builder().unwrap();
    let error = builder
        .add_file(&path("a/b"), &plain(0o644), FileContent::Bytes(b""))
        .unwrap_err();
    assert!(matches!(error, BuildError::NoParent(_)), "{error}");
    let error = builder
        .add_hard_link(&path("x"), &path("nothing"))
        .unwrap_err();
    assert!(
        matches!(error, BuildError::DanglingHardLink { .. }),
        "{error}"
    );
    assert_eq!(builder.look(&path("a")), Added::Nothing);
}

#[test]
fn modes_and_owners_are_exact() {
    let (_directory, store) = store();
    let builder = store.builder().unwrap();
    for mode in [0o000, 0o400, 0o644, 0o777, 0o4755, 0o2711, 0o1777] {
        let name = path(&format!("{mode:o}"));
        let metadata = Metadata {
            uid: 12,
            gid: 34,
            ..plain(mode)
        };
        builder
            .add_file(&name, &metadata, FileContent::Bytes(b"x"))
            .unwrap();
    }
    let layer = builder.finish().unwrap();
    let root = layer.root();
    for entry in layer.tree().unwrap().iter() {
        assert_eq!((entry.uid, entry.gid), (12, 34));
        let metadata = fs::metadata(root.join(entry.guest_path().as_relative())).unwrap();
        assert_eq!(
            metadata.permissions().mode() & 0o7777,
            u32::from(entry.mode)
        );
        if rustix::process::geteuid().is_root() {
            assert_eq!((metadata.uid(), metadata.gid()), (12, 34));
        }
    }
}

#[test]
fn content_comes_from_memory_files_and_streams() {
    let (directory, store) = store();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let source = directory.path().join("source");
    fs::write(&source, &bytes).unwrap();
    let open = || fs::File::open(&source).unwrap();
    let expected = Hashed {
        size_bytes: bytes.len() as u64,
        hash: Blake3::of(&bytes),
    };
    let first = store.builder().unwrap();
    let (file, second, third) = (open(), open(), open());
    let metadata = plain(0o644);
    let add = |name: &str, content| first.add_file(&path(name), &metadata, content).unwrap();
    assert_eq!(add("bytes", FileContent::Bytes(&bytes)), expected);
    assert_eq!(add("file", FileContent::File(&file)), expected);
    assert_eq!(
        add("known", FileContent::Known(&second, expected)),
        expected
    );
    let stale = Hashed {
        size_bytes: 2_000_000,
        ..expected
    };
    assert_eq!(add("stale", FileContent::Known(&third, stale)), expected);
    let streamed = first
        .add_stream(&path("stream"), &metadata, &mut &bytes[..])
        .unwrap();
    assert_eq!(streamed, expected);
}

#[test]
fn several_threads_add_at_once() {
    let (_directory, store) = store();
    let builder = store.builder().unwrap();
    for directory in 0..8 {
        add(&builder, &[&format!("{directory}/")]);
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let builder = &builder;
            scope.spawn(move || {
                for file in 0..200 {
                    add(builder, &[&format!("{}/{thread}-{file}=x", file % 8)]);
                }
            });
        }
    });
    let layer = builder.finish().unwrap();
    assert_eq!(layer.tree().unwrap().len(), 808);
}

#[test]
fn dropped_builders_leave_nothing() {
    let (directory, store) = store();
    let builder = store.builder().unwrap();
    add(&builder, &["a/", "a/b=c"]);
    drop(builder);
    drop(store);
    let work = fs::read_dir(directory.path().join("work")).unwrap();
    assert_eq!(work.count(), 0);
    assert!(!directory.path().join("layers").exists());
}

/// What a crash between two steps can leave behind.
#[test]
fn half_written_layers_are_replaced() {
    let (directory, store) = store();
    let made = layer(&store, &["a=1"]);
    let place = made.root().parent().unwrap().to_owned();
    drop((made, store));
    fs::write(place.join("index"), "").unwrap();
    let store =
        kiln_snapshotter::LayerStore::new(&kiln_cache::Store::open(directory.path()).unwrap());
    let again = layer(&store, &["a=1"]);
    assert_eq!(listing(&again), ["a 1"]);
    assert_eq!(
        fs::read(place.join("index")).unwrap().len() as u64,
        again.tree().unwrap().file_length()
    );
    fs::remove_dir_all(place.join("diff")).unwrap();
    assert_eq!(again.files(), None);
    layer(&store, &["a=1"]);
    assert!(again.files().is_some());
}
