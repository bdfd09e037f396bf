//! What kiln writes is read alike by another model of the same specification.

use std::collections::BTreeMap;

use kiln_oci::{
    Compression, Descriptor, DiffId, History, ImageConfig, Index, Manifest, Platform, RootFs,
    RunConfig, Sha256, Timestamp, media_type,
};
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest, MediaType};

fn layer(name: &str) -> Descriptor {
    let mut layer = Descriptor::of(media_type::OCI_LAYER_ZSTD, name.as_bytes());
    layer.annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    layer
}

#[test]
fn media_types_are_those_of_the_specification() {
    for (ours, theirs) in [
        (media_type::OCI_INDEX, MediaType::ImageIndex),
        (media_type::OCI_MANIFEST, MediaType::ImageManifest),
        (media_type::OCI_CONFIG, MediaType::ImageConfig),
        (Compression::None.oci_layer(), MediaType::ImageLayer),
        (Compression::Gzip.oci_layer(), MediaType::ImageLayerGzip),
        (Compression::Zstd.oci_layer(), MediaType::ImageLayerZstd),
    ] {
        assert_eq!(ours, theirs.to_string());
    }
}

#[test]
fn a_manifest_reads_back() {
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    let mut ours = Manifest::oci(config.clone(), vec![layer("1"), layer("2")]);
    ours.annotations.insert("k".to_owned(), "v".to_owned());
    let theirs = ImageManifest::from_reader(&*ours.to_bytes()).unwrap();
    assert_eq!(theirs.media_type(), &Some(MediaType::ImageManifest));
    assert_eq!(
        theirs.config().digest().to_string(),
        config.digest.to_string()
    );
    let digests: Vec<_> = theirs
        .layers()
        .iter()
        .map(|l| l.digest().to_string())
        .collect();
    let expected: Vec<_> = ours.layers.iter().map(|l| l.digest.to_string()).collect();
    assert_eq!(digests, expected);
    assert_eq!(theirs.layers()[0].size(), 1);
    assert_eq!(theirs.layers()[0].media_type(), &MediaType::ImageLayerZstd);
    assert_eq!(theirs.annotations().as_ref().unwrap()["k"], "v");
}

#[test]
fn an_index_reads_back() {
    let mut entry = Descriptor::of(media_type::OCI_MANIFEST, b"m");
    entry.platform = Some(Platform::new("linux", "arm", "v7"));
    let theirs = ImageIndex::from_reader(&*Index::oci(vec![entry.clone()]).to_bytes()).unwrap();
    let platform = theirs.manifests()[0].platform().clone().unwrap();
    assert_eq!(platform.os().to_string(), "linux");
    assert_eq!(platform.architecture().to_string(), "arm");
    assert_eq!(platform.variant().as_deref(), Some("v7"));
    assert_eq!(
        theirs.manifests()[0].digest().to_string(),
        entry.digest.to_string()
    );
}

#[test]
fn a_config_reads_back() {
    let diff_id = DiffId(Sha256::of(b"layer"));
    let ours = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        created: Some(Timestamp::from_seconds(1)),
        config: RunConfig {
            user: "1000:1000".to_owned(),
            env: vec!["A=b".to_owned()],
            entrypoint: vec!["/bin/sh".to_owned()],
            cmd: vec!["-c".to_owned(), "true".to_owned()],
            working_dir: "/w".to_owned(),
            stop_signal: "SIGINT".to_owned(),
            labels: BTreeMap::from([("l".to_owned(), "m".to_owned())]),
            ..RunConfig::default()
        },
        rootfs: RootFs {
            diff_ids: vec![diff_id],
            ..RootFs::default()
        },
        history: vec![History {
            created_by: "COPY".to_owned(),
            empty_layer: true,
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    let theirs = ImageConfiguration::from_reader(&*ours.to_bytes()).unwrap();
    assert_eq!(theirs.created().as_deref(), Some("1970-01-01T00:00:01Z"));
    assert_eq!(theirs.rootfs().diff_ids(), &[diff_id.to_string()]);
    let history = theirs.history().as_ref().unwrap();
    assert_eq!(history[0].created_by().as_deref(), Some("COPY"));
    assert_eq!(history[0].empty_layer(), Some(true));
    let config = theirs.config().as_ref().unwrap();
    assert_eq!(config.user().as_deref(), Some("1000:1000"));
    assert_eq!(config.env().as_ref().unwrap(), &["A=b"]);
    assert_eq!(config.entrypoint().as_ref().unwrap(), &["/bin/sh"]);
    assert_eq!(config.cmd().as_ref().unwrap(), &["-c", "true"]);
    assert_eq!(config.working_dir().as_deref(), Some("/w"));
    assert_eq!(config.stop_signal().as_deref(), Some("SIGINT"));
    assert_eq!(config.labels().as_ref().unwrap()["l"], "m");
}
