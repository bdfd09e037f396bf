//! Stacks of layers that have files in common on disk.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kiln_cache::{Blake3, Kind};
use kiln_snapshotter::{
    Content, Hashed, Layer, LayerStore, Metadata, Sameness, StoredFile, lower_directories,
};

use crate::sample::{Root, layer, path, store};

/// Returns a layer that takes every file of another over, with a suffix to its name.
fn taken(store: &LayerStore, from: &Layer, suffix: &str, sameness: Sameness) -> Layer {
    let builder = store.builder().unwrap();
    for entry in from.tree().unwrap().iter() {
        let Kind::File { size, hash } = entry.kind else {
            continue;
        };
        let stored = StoredFile {
            path: from.root().join(entry.guest_path().as_relative()),
            layer: from.id(),
            content: Hashed {
                size_bytes: size,
                hash,
            },
            sameness,
        };
        let name = format!("{}{suffix}", entry.guest_path().as_relative().display());
        let content = Content::Stored(&stored);
        builder
            .add_file(&path(&name), &Metadata::of(&entry), content)
            .unwrap();
    }
    builder.finish().unwrap()
}

/// Returns which files below directories are one and the same although not one path.
fn one_file(directories: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
    let mut seen: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut same = Vec::new();
    for directory in directories {
        for file in fs::read_dir(directory).unwrap() {
            let file = file.unwrap();
            let metadata = file.metadata().unwrap();
            let name = PathBuf::from(file.file_name());
            if let Some(other) = seen.insert((metadata.dev(), metadata.ino()), name.clone())
                && other != name
            {
                same.push((other, name));
            }
        }
    }
    same
}

/// Takes files over at all: an ordinary user's test process cannot give files to root.
fn links(layer: &Layer, file: &str) -> bool {
    fs::metadata(layer.root().join(file)).unwrap().nlink() > 1
}

fn lowers(layers: &[&Layer]) -> Vec<PathBuf> {
    let layers: Vec<Layer> = layers.iter().copied().cloned().collect();
    lower_directories(&layers).unwrap()
}

fn is_at(directory: &Path, layer: &Layer) -> bool {
    directory == layer.root()
}

#[test]
fn a_copy_beside_its_source_has_files_of_its_own() {
    let (_directory, store) = store();
    let source = layer(&store, &["x=one", "y=two"]);
    let copy = taken(&store, &source, "2", Sameness::Content);
    // Alone it costs nothing.
    assert!(is_at(&lowers(&[&copy])[0], &copy));
    if !links(&copy, "x2") {
        eprintln!("skipped: files are not taken over by an ordinary user");
        return;
    }
    assert!(!one_file(&[source.root(), copy.root()]).is_empty());
    for stack in [[&source, &copy], [&copy, &source]] {
        let directories = lowers(&stack);
        assert_eq!(one_file(&directories), []);
        assert!(
            directories
                .iter()
                .any(|directory| is_at(directory, &source))
        );
    }
    let own = lowers(&[&source, &copy]).swap_remove(0);
    assert_eq!(fs::read(own.join("x2")).unwrap(), b"one");
    assert_eq!(fs::metadata(own.join("x2")).unwrap().mtime(), 1_700_000_000);
    assert!(copy.verify(kiln_snapshotter::Whiteouts::Stored).is_empty());
    fs::write(own.join("x2"), "bad").unwrap();
    assert_eq!(copy.verify(kiln_snapshotter::Whiteouts::Stored).len(), 1);
}

#[test]
fn two_copies_of_one_source_differ() {
    let (_directory, store) = store();
    let source = layer(&store, &["x=one"]);
    let (a, b) = (
        taken(&store, &source, "a", Sameness::Content),
        taken(&store, &source, "b", Sameness::Content),
    );
    // A copy of a copy, without the layer between the two.
    let c = taken(&store, &b, "c", Sameness::Content);
    if !links(&a, "xa") {
        eprintln!("skipped: files are not taken over by an ordinary user");
        return;
    }
    for stack in [
        vec![&a, &b],
        vec![&source, &c],
        vec![&a, &c],
        vec![&source, &a, &b, &c],
    ] {
        assert_eq!(one_file(&lowers(&stack)), []);
    }
}

#[test]
fn layers_of_one_step_get_along() {
    let (_directory, store) = store();
    let first = layer(&store, &["x=one"]);
    let builder = store.builder().unwrap();
    let tree = first.tree().unwrap();
    let stored = StoredFile {
        path: first.root().join("x"),
        layer: first.id(),
        content: Hashed {
            size_bytes: 3,
            hash: Blake3::of(b"one"),
        },
        sameness: Sameness::Whole,
    };
    let metadata = Metadata::of(&tree.get(b"x").unwrap());
    builder
        .add_file(&path("x"), &metadata, Content::Stored(&stored))
        .unwrap();
    let content = Content::Bytes(b"new");
    let metadata = crate::sample::plain(0o644);
    builder.add_file(&path("y"), &metadata, content).unwrap();
    let second = builder.finish().unwrap();
    // Of x only the upper one shows.
    let directories = lowers(&[&first, &second]);
    assert!(is_at(&directories[0], &second) && is_at(&directories[1], &first));
    // What was copied from the second has inodes of the first.
    let copy = taken(&store, &second, "2", Sameness::Content);
    if links(&copy, "x2") {
        assert_eq!(one_file(&lowers(&[&first, &copy])), []);
    }
}
