//! Steps for tests: roots that are prepared, mounted, changed and committed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kiln_cache::Store;
use kiln_files::GuestPath;
use kiln_snapshotter::overlay;
use kiln_snapshotter::{
    Layer, LayerStore, Overlay, ParentView, Reflink, Snapshotter, WritableRoot,
};

use crate::overlays::path_of;
use crate::sample::{layer, path};

pub(crate) fn open(scratch: &Path) -> LayerStore {
    LayerStore::new(&Store::open(&scratch.join("state")).unwrap())
}

/// Runs a step on `layers` with both snapshotters, which have to agree, and returns its layer.
pub(crate) fn step(store: &LayerStore, layers: &[Layer], act: impl Fn(&Path)) -> Layer {
    step_with(store, layers, &[], act)
}

pub(crate) fn step_with(
    store: &LayerStore,
    layers: &[Layer],
    stubs: &[&str],
    act: impl Fn(&Path),
) -> Layer {
    let stubs: Vec<GuestPath> = stubs.iter().map(|stub| path(stub)).collect();
    let snapshotters: [&dyn Snapshotter; 2] = [&Overlay::new(store), &Reflink::new(store)];
    let [stacked, copied] = snapshotters.map(|snapshotter| {
        let writable = snapshotter.prepare(layers).unwrap();
        match writable.root() {
            WritableRoot::Overlay(spec) => {
                let root = overlay::mount(spec).unwrap();
                act(&path_of(&root));
            }
            WritableRoot::Directory(root) => act(root),
        }
        let view = ParentView::new(layers).unwrap();
        writable.commit(&view, &stubs).unwrap()
    });
    // An opaque directory and whiteouts for all that was in it say the same.
    let merged = |layer: &Layer| -> Vec<String> {
        let layers = [layers, std::slice::from_ref(layer)].concat();
        let view = ParentView::new(&layers).unwrap();
        view.walk(&GuestPath::ROOT)
            .map(|located| {
                let line = crate::sample::describe(&located.entry);
                format!("{line} {:o} {}", located.entry.mode, located.entry.uid)
            })
            .collect()
    };
    assert_eq!(merged(&stacked), merged(&copied));
    assert_eq!(
        stacked.tree().unwrap().is_empty(),
        copied.tree().unwrap().is_empty()
    );
    check_disk(&stacked);
    stacked
}

/// The disk holds what the index says and nothing else.
pub(crate) fn check_disk(layer: &Layer) {
    fn names(directory: &Path, below: &GuestPath, found: &mut Vec<GuestPath>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = below.join(std::os::unix::ffi::OsStrExt::as_bytes(&*entry.file_name()));
            if entry.file_type().unwrap().is_dir() {
                names(&entry.path(), &name, found);
            }
            found.push(name);
        }
    }
    let root = layer.unpacked().unwrap().path(&GuestPath::ROOT);
    let mut found = Vec::new();
    names(&root, &GuestPath::ROOT, &mut found);
    found.sort();
    let tree = layer.tree().unwrap();
    let expected: Vec<GuestPath> = tree.iter().map(|entry| entry.guest_path()).collect();
    assert_eq!(found, expected);
    for entry in tree.iter() {
        let host = root.join(entry.guest_path().as_relative());
        let metadata = fs::symlink_metadata(host).unwrap();
        if entry.kind != kiln_tree::NodeKind::Whiteout {
            assert_eq!(metadata.mtime(), entry.mtime.seconds, "{entry:?}");
            assert_eq!(entry.mtime.nanoseconds, 0, "{entry:?}");
        }
    }
    layer.diff_id().unwrap();
}

/// Runs a step on stacked layers.
pub(crate) fn step_of_overlay(store: &LayerStore, layers: &[Layer], act: impl Fn(&Path)) -> Layer {
    let writable = Overlay::new(store).prepare(layers).unwrap();
    let WritableRoot::Overlay(spec) = writable.root() else {
        panic!("an overlay is one");
    };
    let root = overlay::mount(spec).unwrap();
    act(&path_of(&root));
    drop(root);
    let view = ParentView::new(layers).unwrap();
    writable.commit(&view, &[]).unwrap()
}

pub(crate) fn base(store: &LayerStore) -> Layer {
    layer(
        store,
        &[
            "etc/",
            "etc/passwd=root",
            "etc/hosts=",
            "usr/",
            "usr/bin/",
            "usr/bin/sh=shell",
            "usr/share/",
            "usr/share/doc=text",
            "var/",
            "var/old/",
            "var/old/a=1",
            "var/old/b=2",
            "bin->usr/bin",
        ],
    )
}
