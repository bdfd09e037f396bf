//! One image out of a layout, by tag or digest.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use kiln_exporter::{
    ExportError, ImageOptions, LayoutEntry, LoadSource, MediaFamily, NamedImage, Platforms,
    ReadLayoutError, StaleBlobs, copy_from_layout, find_in_layout, load, load_from_layout,
    open_in_layout, read_from_layout, write_cache_layout, write_docker_layout, write_layout,
};
use kiln_oci::{Descriptor, Image, Index, Platform, Sha256, media_type};
use kiln_snapshotter::UnpackLimit;
use kiln_threads::Stop;

use rustix::fs::{CWD, FileType, Mode, mknodat};

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
    kiln_cache::read_image(&state.blobs, digest).unwrap()
}

#[test]
fn images_are_found_by_tag_digest_and_platform() {
    let state = State::new();
    let sample = state.sample();
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"];
    let images: Vec<_> = platforms
        .iter()
        .map(|text| for_platform(&state, &sample, text))
        .map(|image| state.resolve_for_export(&image, &ImageOptions::default()))
        .collect();
    let digests: Vec<Sha256> = images
        .iter()
        .map(|image| image.manifest.descriptor.digest)
        .collect();
    let all = NamedImage::index(
        images,
        vec!["foo/bar:v1".parse().unwrap()],
        MediaFamily::Oci,
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
    for layer in kiln_cache::read_image(&other.blobs, digests[0])
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

/// Replaces a directory by a link to `elsewhere`, which gets what is in it.
fn lead_elsewhere(directory: &Path, elsewhere: &Path) {
    fs::rename(directory, elsewhere).unwrap();
    symlink(elsewhere, directory).unwrap();
}

/// A layout that came with somebody's project once had kiln delete files of a directory that it
/// linked to, and write there.
#[test]
fn links_of_a_layout_lead_to_no_files_of_others() {
    let state = State::new();
    let image = state.named(&state.sample(), &["foo/bar"]);
    let stop = Stop::default();
    for part in ["blobs", "blobs/sha256"] {
        let layout = state.path(&format!("linked-{}", part.len()));
        write_layout(std::slice::from_ref(&image), &layout, &stop).unwrap();
        let elsewhere = state.path(&format!("elsewhere-{}", part.len()));
        lead_elsewhere(&layout.join(part), &elsewhere);
        fs::remove_file(layout.join("index.json")).unwrap();
        let inside = match part {
            "blobs" => elsewhere.join("sha256"),
            _ => elsewhere.clone(),
        };
        fs::write(inside.join("stranger"), "").unwrap();
        let before = fs::read_dir(&inside).unwrap().count();
        for stale in [StaleBlobs::Keep, StaleBlobs::Delete] {
            let error = write_cache_layout(&image, &layout, "x", stale, &stop).unwrap_err();
            assert!(matches!(&error, ExportError::Link(path) if *path == layout.join(part)));
        }
        let error = write_layout(std::slice::from_ref(&image), &layout, &stop).unwrap_err();
        assert!(error.to_string().contains("is a link"), "{error}");
        assert_eq!(fs::read_dir(&inside).unwrap().count(), before);
    }
}

#[test]
fn only_files_named_like_blobs_are_stale() {
    let state = State::new();
    let image = state.named(&state.sample(), &["foo/bar"]);
    let layout = state.path("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let stale = "0123456789abcdef".repeat(4);
    for name in ["notes", &stale, &stale[1..], &stale.to_uppercase()] {
        fs::write(blobs.join(name), "").unwrap();
    }
    write_cache_layout(&image, &layout, "x", StaleBlobs::Delete, &Stop::default()).unwrap();
    assert!(!blobs.join(&stale).exists());
    for name in ["notes", &stale[1..], &stale.to_uppercase()] {
        assert!(blobs.join(name).exists(), "{name}");
    }
}

/// `index.json`, `oci-layout` and blobs are replaced, not what they link to.
#[test]
fn files_of_a_layout_are_replaced_and_not_written_through() {
    let state = State::new();
    let image = state.named(&state.sample(), &["foo/bar"]);
    let layout = state.path("layout");
    let images = std::slice::from_ref(&image);
    write_layout(images, &layout, &Stop::default()).unwrap();
    let blob = format!("blobs/sha256/{}", image.root.descriptor.digest.hex());
    let precious = state.path("precious");
    for name in ["oci-layout", &blob] {
        let path = layout.join(name);
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // As long as what belongs there.
        fs::write(&precious, vec![b'x'; content.len()]).unwrap();
        symlink(&precious, &path).unwrap();
        write_layout(images, &layout, &Stop::default()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content, "{name}");
        assert!(
            fs::read(&precious)
                .unwrap()
                .iter()
                .all(|byte| *byte == b'x')
        );
    }
}

/// A pipe in the place of a file was once waited for, without an end.
#[test]
fn links_and_pipes_in_a_layout_are_not_read() {
    let state = State::new();
    let layout = state.path("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let digest = Sha256::of(b"x");
    let blob = format!("blobs/sha256/{}", digest.hex());
    for name in ["index.json", &blob] {
        let path = layout.join(name);
        let read = || match name {
            "index.json" => {
                find_in_layout(&layout, LayoutEntry::Digest(digest)).map(|_| Vec::new())
            }
            _ => read_from_layout(&layout, digest, 100),
        };
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(matches!(read(), Err(ReadLayoutError::Io { .. })), "{name}");
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert!(matches!(read(), Err(ReadLayoutError::Io { .. })), "{name}");
    }
    assert!(open_in_layout(&layout, digest).is_err());
    assert!(copy_from_layout(&layout, digest, &state.blobs).is_err());
}

#[test]
fn blob_of_the_very_limit_is_read_and_a_longer_one_refused() {
    let state = State::new();
    let named = state.named(&state.sample(), &["foo/bar"]);
    let layout = state.path("layout");
    let (digest, bytes) = (named.root.descriptor.digest, named.root.bytes.clone());
    write_layout(&[named], &layout, &Stop::default()).unwrap();
    let size = bytes.len() as u64;
    assert_eq!(read_from_layout(&layout, digest, size).unwrap(), bytes);
    let error = read_from_layout(&layout, digest, size - 1).unwrap_err();
    assert!(matches!(error, ReadLayoutError::TooLarge { .. }), "{error}");
}

/// Archives of `docker save` by older engines list in `manifest.json` what `index.json` lacks.
#[test]
fn images_of_either_listing_are_loaded() {
    let state = State::new();
    let image = state.sample();
    let other = state.image(Some(&image), &[], &["/bin/other"]);
    let images = [state.named(&image, &["one"]), state.named(&other, &["two"])];
    let layout = state.path("layout");
    write_docker_layout(&images, &layout, &Stop::default()).unwrap();
    let path = layout.join("index.json");
    let mut index: Index = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index.manifests.truncate(1);
    fs::write(&path, index.to_bytes()).unwrap();
    let receiver = State::new();
    let loaded = load(
        LoadSource::Directory(layout),
        &receiver.store,
        &receiver.blobs,
        Platforms::Only(&Platform::host()),
        UnpackLimit::default(),
    )
    .unwrap();
    let ids: Vec<_> = loaded.iter().map(|loaded| loaded.image.id()).collect();
    assert_eq!(ids, [image.id(), other.id()]);
}
