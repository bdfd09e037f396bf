//! One store, several users of it, some of which die.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kiln_cache::{Blobs, Store};
use kiln_oci::Compression;
use kiln_snapshotter::{Layer, LayerStore, Packing};

use crate::sample::{Root, add, everything, layer, listing, store};

#[test]
fn threads_make_the_same_layer_once() {
    let (directory, store) = store();
    let blobs = Blobs::new(store.store());
    let packed: Vec<(Layer, _)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                // Each as if it were a process of its own.
                let store = match number % 2 {
                    0 => store.clone(),
                    _ => LayerStore::new(&Store::open(directory.path()).unwrap()),
                };
                let blobs = blobs.clone();
                scope.spawn(move || {
                    let made = everything(&store);
                    made.diff_id().unwrap();
                    let blob = made.pack(&blobs, Packing::new(Compression::Gzip)).unwrap();
                    (made, blob)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(packed.iter().all(|made| *made == packed[0]));
    let facts = packed[0].0.facts().unwrap();
    assert_eq!((facts.tars.len(), facts.blobs.len()), (1, 1));
}

/// Makes layers in a process that [`killed_makers_leave_whole_layers`] kills; not a test of its own.
#[test]
fn helper_makes_layers_until_killed() {
    let Some(state) = std::env::args()
        .skip_while(|argument| argument != "--skip")
        .nth(1)
        .filter(|argument| argument.starts_with('/'))
    else {
        return;
    };
    let store = LayerStore::new(&Store::open(Path::new(&state)).unwrap());
    let blobs = Blobs::new(store.store());
    for number in 0.. {
        let line = format!("file={number}");
        let made = layer(&store, &["d/", "d/x=1", "d/y=2", &line]);
        made.pack(&blobs, Packing::new(Compression::Zstd)).unwrap();
    }
}

#[test]
fn killed_makers_leave_whole_layers() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    for round in 0..6_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "sharing::helper_makes_layers_until_killed",
                "--nocapture",
                "--skip",
            ])
            .arg(&state)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Any moment will do, once there is something to be found.
        while round == 0 && !state.join("diffs").exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(7 * round + 3));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = LayerStore::new(&Store::open(&state).unwrap());
    let mut seen = 0;
    for group in fs::read_dir(state.join("layers")).unwrap() {
        for place in fs::read_dir(group.unwrap().path()).unwrap() {
            let name = place.unwrap().file_name().into_string().unwrap();
            let found = store.layer(name.parse().unwrap()).unwrap();
            assert_eq!(found.tree().unwrap().layer_id(), found.id());
            assert_eq!(listing(&found).len(), 4);
            assert!(found.root().join("d/y").exists());
            let known = found.facts().unwrap().diff_id();
            let diff_id = found.diff_id().unwrap();
            assert!(known.is_none_or(|known| known == diff_id));
            seen += 1;
        }
    }
    assert!(seen > 0);
    for name in fs::read_dir(state.join("diffs")).unwrap() {
        let hex = name.unwrap().file_name().into_string().unwrap();
        let diff_id = kiln_oci::DiffId(kiln_oci::Sha256::from_hex(&hex).unwrap());
        assert_eq!(
            store.by_diff_id(diff_id).unwrap().diff_id().unwrap(),
            diff_id
        );
    }
    store.store().recover(|left| Ok(left.clone())).unwrap();
    store.empty().unwrap();
    let work = fs::read_dir(state.join("work")).unwrap();
    assert_eq!(work.count(), 1, "only this process's own directory is left");
}

#[test]
fn damaged_name_of_a_layer_is_found_again_among_all() {
    let (directory, store) = store();
    let layers: Vec<Layer> = ["a=1", "b=2", "c=3"]
        .map(|line| layer(&store, &[line]))
        .into();
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| layer.diff_id().unwrap())
        .collect();
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let name = directory.path().join("diffs").join(diff_id.0.hex());
        fs::write(&name, "no id").unwrap();
        assert_eq!(store.by_diff_id(diff_id).as_ref(), Some(layer));
        let mended = fs::read_to_string(&name).unwrap();
        assert_eq!(mended.trim(), layer.id().to_string());
    }
}

#[test]
fn layer_on_another_names_it_and_has_its_files() {
    let (_directory, store) = store();
    let below = layer(&store, &["d/", "d/x=1", "d/y=2"]);
    let builder = store.builder().unwrap();
    add(&builder, &["d/", "d/y=other"]);
    let above = builder.finish_on(&below).unwrap();
    assert_eq!(below.donor(), None);
    assert_eq!(above.donor(), Some(below));
    assert_eq!(listing(&above), ["d/", "d/x 1", "d/y 5"]);
}
