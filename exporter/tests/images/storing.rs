//! What the store keeps of an image: written once, found again, never damaged on its way out.

use std::collections::BTreeMap;
use std::fs;

use kiln_cache::BlobError;
use kiln_exporter::{
    ExportError, ImageOptions, LoadError, LoadSource, Loaded, MediaFamily, Missing, NamedImage,
    OptionError, Platforms, ResolveError, clamp_times, load, resolve_for_export, store_index,
    write_archive, write_docker_archive, write_layout, write_oci_archive,
};
use kiln_oci::{
    Compression, Descriptor, History, MediaKind, Platform, Sha256, Timestamp, media_type,
};
use kiln_snapshotter::{FileContent, Level, Packing, UnpackLimit};
use kiln_threads::Stop;

use crate::exports::document;
use crate::sample::{State, path, plain};

#[test]
fn a_damaged_blob_does_not_leave_the_store() {
    let state = State::new();
    let image = state.sample();
    let named = state.named(&image, &[]);
    let layer = named.manifests[0].layers[0].descriptor.digest;
    let file = state.blobs.path(layer);
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    let target = state.path("layout");
    let error = write_layout(&[named], &target, &Stop::default()).unwrap_err();
    assert!(matches!(error, ExportError::Damaged { expected, .. } if expected == layer));
    assert!(!target.join("index.json").exists());
    assert!(!target.join("blobs/sha256").join(layer.hex()).exists());
}

/// Loads an archive into a store of its own.
fn load_into(
    state: &State,
    mut archive: &[u8],
    platforms: Platforms<'_>,
) -> Result<Vec<Loaded>, LoadError> {
    load(
        LoadSource::Stream(&mut archive),
        &state.store,
        &state.blobs,
        platforms,
        UnpackLimit::default(),
    )
}

#[test]
fn several_platforms_become_an_index() {
    let state = State::new();
    let image = state.sample();
    let images: Vec<_> = ["linux/amd64", "linux/arm64"]
        .map(|text| {
            let mut config = image.config.clone();
            let platform: Platform = text.parse().unwrap();
            config.architecture = platform.architecture;
            config.variant = platform.variant;
            let config = Descriptor::of(media_type::OCI_CONFIG, &{
                state.blobs.put(&config.to_bytes()).unwrap();
                config.to_bytes()
            });
            let mut manifest = image.manifest.clone();
            manifest.config = config;
            let digest = state.blobs.put(&manifest.to_bytes()).unwrap();
            let image = kiln_cache::read_image(&state.blobs, digest).unwrap();
            state.resolve_for_export(&image, &ImageOptions::default())
        })
        .into();
    let digests: Vec<Sha256> = images
        .iter()
        .map(|image| image.manifest.descriptor.digest)
        .collect();
    let names = vec!["foo/bar:v1".parse().unwrap()];
    let named = NamedImage::index(images, names, MediaFamily::Oci, BTreeMap::new());
    assert!(named.is_index());
    let refused = write_docker_archive(std::slice::from_ref(&named), &mut Vec::new());
    assert_eq!(
        refused.unwrap_err().to_string(),
        "docker exporter does not currently support exporting manifest lists"
    );
    let index = named.root.descriptor.clone();
    // An archive of everything has the image for one platform in docker's list.
    let mut both = Vec::new();
    let arm = Platform::new("linux", "arm64", "");
    write_archive(std::slice::from_ref(&named), &arm, &mut both).unwrap();
    let listed = &document(&both, "manifest.json")[0];
    let config = named.manifests[1].config.descriptor.digest;
    assert_eq!(
        listed["Config"],
        format!("blobs/sha256/{}", config.hex()).as_str()
    );
    let loaded = load_into(&state, &both, Platforms::All).unwrap();
    assert_eq!((loaded.len(), loaded[0].names.len()), (1, 1));
    let mut archive = Vec::new();
    write_oci_archive(&[named], &mut archive).unwrap();
    for (text, digest) in [("linux/amd64", digests[0]), ("linux/arm64/v8", digests[1])] {
        let other = State::new();
        let platform: Platform = text.parse().unwrap();
        let loaded = load_into(&other, &archive, Platforms::Only(&platform)).unwrap();
        assert_eq!(loaded[0].image.descriptor.digest, digest);
        assert_eq!(loaded[0].names[0].to_string(), "docker.io/foo/bar:v1");
    }
    // Whole, it is the same index in the other store.
    let other = State::new();
    let loaded = load_into(&other, &archive, Platforms::All).unwrap();
    assert_eq!(loaded.len(), 1);
    let whole = loaded[0].index.as_ref().unwrap();
    assert_eq!(whole.descriptor, index);
    assert_eq!(loaded[0].image.descriptor.digest, digests[0]);
    for digest in [index.digest, digests[0], digests[1]] {
        assert!(other.blobs.contains(digest));
    }
    let other = State::new();
    let platform = Platform::new("linux", "riscv64", "");
    let error = load_into(&other, &archive, Platforms::Only(&platform)).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("no match for platform"), "{message}");
}

#[test]
fn storing_an_image_again_writes_nothing() {
    let state = State::new();
    let image = state.sample();
    let changed = |digest| {
        let metadata = fs::metadata(state.blobs.path(digest)).unwrap();
        metadata.modified().unwrap()
    };
    let digests = [image.descriptor.digest, image.manifest.config.digest];
    let before = digests.map(changed);
    let again = state.sample();
    assert_eq!(again.descriptor, image.descriptor);
    assert_eq!(digests.map(changed), before);
    for (diff_id, layer) in image.layers() {
        assert_eq!(layer.digest, diff_id.0);
        assert_eq!(
            MediaKind::of(&layer.media_type),
            MediaKind::Layer(Compression::None)
        );
        assert!(
            !state.blobs.contains(layer.digest),
            "its tar is not written"
        );
        let missing = state.blobs.open(layer.digest).unwrap_err();
        assert!(matches!(missing, BlobError::Missing(_)));
    }
}

/// OCI-027, for one machine.
#[test]
fn clamped_layers_have_no_later_times_and_are_found_again() {
    let state = State::new();
    let latest = Timestamp::from_seconds(1_500_000_000);
    let layer = state.layer(|builder| {
        crate::sample::add_files(builder);
        let content = FileContent::Bytes(b"old");
        let metadata = kiln_snapshotter::Metadata::root_owned(0o644, Timestamp::EPOCH);
        builder.add_file(&path("old"), &metadata, content).unwrap();
        builder.add_whiteout(&path("gone")).unwrap();
    });
    let clamped = clamp_times(&state.layers, &layer, latest).unwrap();
    assert_ne!(clamped, layer);
    let (before, after) = (layer.tree().unwrap(), clamped.tree().unwrap());
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(after.iter()) {
        assert_eq!(after.mtime, before.mtime.min(latest));
        assert_eq!((after.path, after.kind), (before.path, before.kind));
        assert_eq!((after.mode, after.xattrs), (before.mode, before.xattrs));
    }
    // Its files are what its index says: the tar can be made.
    let image = state.image(None, std::slice::from_ref(&clamped), &["x"]);
    state.resolve_for_export(&image, &ImageOptions::default());
    assert_eq!(clamp_times(&state.layers, &layer, latest).unwrap(), clamped);
    assert_eq!(
        clamp_times(&state.layers, &clamped, latest).unwrap(),
        clamped
    );
}

#[test]
fn layer_of_which_everything_is_later_is_clamped() {
    let state = State::new();
    let layer = state.layer(|builder| {
        builder.add_directory(&path("etc"), &plain(0o755)).unwrap();
    });
    let latest = Timestamp::from_seconds(1_500_000_000);
    let clamped = clamp_times(&state.layers, &layer, latest).unwrap();
    let times: Vec<Timestamp> = clamped.tree().unwrap().iter().map(|e| e.mtime).collect();
    assert_eq!(times, [latest]);
}

/// Docker's lists have no annotations.
#[test]
fn index_has_annotations_only_as_oci() {
    let state = State::new();
    let image = state.sample();
    let annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    for (family, expected) in [
        (MediaFamily::Oci, annotations.clone()),
        (MediaFamily::Docker, BTreeMap::new()),
    ] {
        let images = std::slice::from_ref(&image);
        let (descriptor, index) =
            store_index(&state.blobs, images, family, annotations.clone()).unwrap();
        assert_eq!(descriptor.media_type, family.index());
        assert_eq!(index.annotations, expected);
        assert_eq!(
            state.blobs.read(descriptor.digest).unwrap(),
            index.to_bytes()
        );
    }
}

#[test]
fn config_and_layers_have_to_agree() {
    let state = State::new();
    let image = state.sample();
    let mut config = image.config.clone();
    config.history.push(History::default());
    let result = kiln_exporter::store_image(&state.blobs, config, None, &[], BTreeMap::new());
    let error = result.unwrap_err();
    assert!(matches!(
        error,
        kiln_exporter::StoreImageError::Layers { .. }
    ));
    let wrong = ImageOptions {
        packing: Packing {
            compression: Compression::Gzip,
            level: Level::Exactly(12),
        },
        ..ImageOptions::default()
    };
    let error = resolve_for_export(
        &image,
        &state.layers,
        &state.blobs,
        &wrong,
        Missing::Leave,
        &|_| (),
    )
    .unwrap_err();
    assert!(matches!(
        error,
        ResolveError::Options(OptionError::Level { .. })
    ));
}

/// A build that was killed knew the digest of a layer, but could not be found by it: exports of
/// later builds missed the layer.
#[test]
fn layers_are_found_after_a_kill_between_two_files() {
    let state = State::new();
    let layer = state.layer(|builder| {
        let content = FileContent::Bytes(b"x");
        builder
            .add_file(&path("file"), &plain(0o644), content)
            .unwrap();
    });
    let diff_id = layer.canonical_tar().unwrap().diff_id;
    let name = state.store.path("diffs").join(diff_id.0.hex());
    fs::remove_file(name).unwrap();
    let image = state.image(None, &[layer], &["/file"]);
    let exportable = state.resolve_for_export(&image, &ImageOptions::default());
    assert!(matches!(
        exportable.layers[0].source,
        kiln_exporter::LayerSource::Stored(_)
    ));
}
