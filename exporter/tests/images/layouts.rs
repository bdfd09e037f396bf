//! One image out of a layout, by tag or digest.

use std::collections::BTreeMap;
use std::fs;

use kiln_cache::{Descriptor, Image, Platform, Sha256, Stop, media_type};
use kiln_exporter::{
    Family, ImageOptions, LayoutEntry, NamedImage, load_from_layout, write_layout,
};
use kiln_snapshotter::UnpackLimit;

use crate::sample::State;

/// Returns the same image for another platform.
fn for_platform(state: &State, image: &Image, platform: &str) -> Image {
    let platform: Platform = platform.parse().unwrap();
    let mut config = image.config.clone();
    (config.os, config.architecture, config.variant) =
        (platform.os, platform.architecture, platform.variant);
    state.blobs.put(&config.to_bytes()).unwrap();
    let mut manifest = image.manifest.clone();
    manifest.config = Descriptor::of(media_type::OCI_CONFIG, &config.to_bytes());
    let digest = state.blobs.put(&manifest.to_bytes()).unwrap();
    Image::read(&state.blobs, digest).unwrap()
}

#[test]
fn images_are_found_by_tag_digest_and_platform() {
    let state = State::new();
    let sample = state.sample();
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"];
    let images: Vec<_> = platforms
        .iter()
        .map(|text| for_platform(&state, &sample, text))
        .map(|image| state.realise(&image, &ImageOptions::default()))
        .collect();
    let digests: Vec<Sha256> = images
        .iter()
        .map(|image| image.manifest.descriptor.digest)
        .collect();
    let all = NamedImage::index(
        images,
        vec!["foo/bar:v1".parse().unwrap()],
        Family::Oci,
        BTreeMap::new(),
    );
    let index = all.root.descriptor.digest;
    let single = state.named(&sample, &["foo/bar"]);
    let layout = state.path("layout");
    write_layout(&[all, single], &layout, &Stop::default()).unwrap();

    let other = State::new();
    let find = |entry: LayoutEntry<'_>, platform: &str| {
        let platform = platform.parse().unwrap();
        load_from_layout(
            &layout,
            entry,
            &other.store,
            &other.blobs,
            &platform,
            UnpackLimit::default(),
        )
        .map(|image| image.descriptor.digest)
        .map_err(|error| error.to_string())
    };
    for (platform, digest) in platforms.iter().zip(&digests) {
        assert_eq!(find(LayoutEntry::Tag("v1"), platform), Ok(*digest));
        assert_eq!(find(LayoutEntry::Digest(index), platform), Ok(*digest));
    }
    assert_eq!(
        find(LayoutEntry::Digest(digests[1]), "linux/amd64"),
        Ok(digests[1])
    );
    assert!(find(LayoutEntry::Tag("latest"), "linux/amd64").is_ok());
    assert_eq!(
        find(LayoutEntry::Tag("v2"), "linux/amd64"),
        Err("there is no tag v2; there is latest, v1".to_owned())
    );
    assert_eq!(
        find(LayoutEntry::Tag("v1"), "linux/s390x"),
        Err(format!(
            "no match for platform linux/s390x in manifest {index}: not found"
        ))
    );
    assert_eq!(
        find(LayoutEntry::Digest(Sha256::of(b"?")), "linux/amd64"),
        Err(format!(
            "blobs/sha256/{} is missing",
            Sha256::of(b"?").hex()
        ))
    );
    for layer in Image::read(&other.blobs, digests[0])
        .unwrap()
        .manifest
        .layers
    {
        assert!(other.blobs.contains(layer.digest));
    }
}

#[test]
fn damaged_blobs_stay_outside() {
    let state = State::new();
    let named = state.named(&state.sample(), &["x"]);
    let layout = state.path("layout");
    let layer = named.manifests[0].layers[0].descriptor.digest;
    write_layout(std::slice::from_ref(&named), &layout, &Stop::default()).unwrap();
    let path = layout.join("blobs/sha256").join(layer.hex());
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let other = State::new();
    let platform = Platform::host();
    let loaded = load_from_layout(
        &layout,
        LayoutEntry::Tag("latest"),
        &other.store,
        &other.blobs,
        &platform,
        UnpackLimit::default(),
    );
    assert!(loaded.is_err());
    assert!(!other.blobs.contains(layer));
    assert!(!other.blobs.contains(named.root.descriptor.digest));
}
