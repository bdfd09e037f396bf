use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kiln_oci::media_type;
use serde_json::json;

use super::*;
use crate::cache_writer::CacheWriter;

fn key(name: &str) -> ActionKey {
    ActionKey(Blake3::of(name.as_bytes()))
}

fn layer(name: &str, place: LayerPlace) -> SharedLayer {
    SharedLayer {
        id: LayerId(Blake3::of(name.as_bytes())),
        diff_id: DiffId(Sha256::of(name.as_bytes())),
        tar_bytes: 7,
        place,
    }
}

fn blob(name: &str) -> Descriptor {
    Descriptor::new(media_type::OCI_LAYER_GZIP, Sha256::of(name.as_bytes()), 5)
}

fn record(names: &[&str]) -> ActionRecord {
    let layers = names.iter().zip(1..).map(|(name, second)| BuiltLayer {
        layer: LayerId(Blake3::of(name.as_bytes())),
        created: Timestamp::from_seconds(second),
    });
    let mut receipt = Receipt::default();
    receipt.add("command", names.join(" "));
    ActionRecord {
        state: LayerStack::on(Some(Sha256::of(b"base"))).with_all(layers),
        took: Duration::from_millis(1500),
        receipt,
        evidence: vec![key(&format!("evidence of {names:?}"))],
    }
}

fn sample(place: impl Fn(usize, &str) -> LayerPlace) -> SharedCache {
    let layers = ["a", "b"].iter().enumerate();
    let mut writer = CacheWriter::new(
        layers
            .map(|(n, name)| layer(name, place(n, name)))
            .collect(),
    );
    writer.add(key("one"), &record(&["a"]));
    writer.add(key("two"), &record(&["a", "b"]));
    // One of its layers is in no place.
    writer.add(key("three"), &record(&["a", "c"]));
    writer.finish()
}

fn in_blobs() -> SharedCache {
    sample(|_, name| LayerPlace::Blob(Box::new(blob(name))))
}

#[test]
fn records_come_back_under_all_their_keys() {
    let cache = in_blobs();
    let Ok(FoundCache::Shared(read)) = parse_cache_config(&cache.to_config()) else {
        panic!("kiln wrote it");
    };
    assert_eq!(read, cache);
    let keys: HashMap<ActionKey, usize> = read.keys().collect();
    assert_eq!(keys.len(), 4);
    for (name, names) in [("one", &["a"][..]), ("two", &["a", "b"])] {
        let expected = record(names);
        assert_eq!(keys[&key(name)], keys[&expected.evidence[0]]);
        assert_eq!(
            read.record(keys[&key(name)], &read.stacks()),
            (key(name), expected)
        );
    }
    let description = read.layers()[1].description(&[], "h/app").unwrap();
    assert_eq!(description.blob.descriptor, blob("b"));
    assert_eq!(description.tar().size_bytes, 7);
}

#[test]
fn contents_of_mounts_stand_in_kilns_member_alone() {
    let mount = SharedMount {
        key: Blake3::of(b"npm"),
        id: "npm".to_owned(),
        diff_id: DiffId(Sha256::of(b"npm")),
        blob: blob("npm"),
    };
    let without: Value = serde_json::from_slice(&in_blobs().to_config()).unwrap();
    assert_eq!(without["kiln"].get("mounts"), None);
    let mut writer = CacheWriter::new(Vec::new());
    writer.cache = in_blobs();
    writer.add_mount(mount.clone());
    let config = writer.finish().to_config();
    let Ok(FoundCache::Shared(read)) = parse_cache_config(&config) else {
        panic!("kiln wrote it");
    };
    assert_eq!(read.mounts(), [mount]);
    let mut with: Value = serde_json::from_slice(&config).unwrap();
    with["kiln"].as_object_mut().unwrap().remove("mounts");
    assert_eq!(with, without);
}

#[test]
fn buildkit_finds_layers_with_their_parents() {
    let config: Value = serde_json::from_slice(&in_blobs().to_config()).unwrap();
    let parents: Vec<&Value> = config["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| &layer["parent"])
        .collect();
    assert_eq!(parents, [&json!(-1), &json!(0)]);
    assert_eq!(config["layers"][1]["blob"], json!(blob("b").digest));
    assert_eq!(config["records"][1]["layers"][0]["layer"], 1);
    let digest = config["records"][0]["digest"].as_str().unwrap();
    assert!(digest.starts_with("sha256:"));
}

#[test]
fn an_image_names_its_own_layers() {
    let mut config = ImageConfig::default();
    assert_eq!(read_inline(&config).unwrap(), FoundCache::Nothing);
    sample(|place, _| LayerPlace::Position(place + 3)).write_inline(&mut config);
    let FoundCache::Shared(read) = read_inline(&config).unwrap() else {
        panic!("kiln wrote it");
    };
    let image: Vec<Descriptor> = ["x", "x", "x", "a", "b"].map(blob).to_vec();
    let description = read.layers()[1].description(&image, "h/app").unwrap();
    assert_eq!(description.blob.descriptor, blob("b"));
    assert_eq!(read.layers()[1].description(&image[..4], "h/app"), None);
    // What differs from run to run is not in an image.
    assert_eq!(read.record(0, &read.stacks()).1.took, Duration::ZERO);
    let records = config.other[BUILDKIT_INLINE].as_str().unwrap();
    let records = BASE64_STANDARD.decode(records).unwrap();
    let records: Value = serde_json::from_slice(&records).unwrap();
    assert_eq!(records[1]["layers"][0]["layer"], 4);
    remove_inline(&mut config);
    assert_eq!(config, ImageConfig::default());
}

#[test]
fn a_config_with_wrong_references_is_refused() {
    let good: Value = serde_json::from_slice(&in_blobs().to_config()).unwrap();
    let check = |path: &str, value: Value, expected: &str| {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        let bytes = serde_json::to_vec(&bad).unwrap();
        let error = parse_cache_config(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    };
    check("/kiln/format", json!(2), "format 2");
    check("/kiln/states/1/on/state", json!(1), "state");
    check("/kiln/states/1/on/layer", json!(9), "layer");
    check("/kiln/records/0/state", json!(9), "state");
    check("/kiln/records/0/keys", json!([]), "key");
    check("/kiln/layers/0/id", json!("x"), "not one of a cache");
    check("/kiln", json!(1), "not one of a cache");
    let foreign = br#"{"layers":[],"records":[]}"#;
    assert_eq!(parse_cache_config(foreign).unwrap(), FoundCache::BuildKit);
}
