//! What becomes of the layers of an image on its way out: packed, kept, packed otherwise, or left.

use std::collections::BTreeMap;
use std::fs;

use kiln_exporter::{
    ExistingLayers, ExportError, ImageOptions, LayerSource, LoadSource, MediaFamily, Missing,
    NamedImage, Platforms, ResolveError, load, resolve_for_export, write_docker_archive,
    write_oci_archive,
};
use kiln_oci::{Compression, Descriptor, DiffId, Image, Platform, Sha256, media_type};
use kiln_snapshotter::{FileContent, Level, Packing, UnpackLimit};
use serde_json::{Value, json};

use crate::sample::{State, path, plain};

fn kinds(image: &NamedImage) -> Vec<&str> {
    let mut kinds = vec![
        image.root.descriptor.media_type.as_str(),
        image.manifests[0].config.descriptor.media_type.as_str(),
    ];
    let layers = image.manifests[0].layers.iter();
    kinds.extend(layers.map(|layer| layer.descriptor.media_type.as_str()));
    kinds
}

fn options(compression: Compression, media_types: Option<MediaFamily>) -> ImageOptions {
    ImageOptions {
        packing: Packing::new(compression),
        media_types,
        ..ImageOptions::default()
    }
}

/// OCI-026.
#[test]
fn compression_and_media_types_are_as_asked_for() {
    let state = State::new();
    let image = state.sample();
    for (compression, media_types, manifest, config, layer) in [
        (
            Compression::Gzip,
            None,
            media_type::OCI_MANIFEST,
            media_type::OCI_CONFIG,
            media_type::OCI_LAYER_GZIP,
        ),
        (
            Compression::Gzip,
            Some(MediaFamily::Docker),
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_CONFIG,
            media_type::DOCKER_LAYER_GZIP,
        ),
        (
            Compression::Zstd,
            Some(MediaFamily::Oci),
            media_type::OCI_MANIFEST,
            media_type::OCI_CONFIG,
            media_type::OCI_LAYER_ZSTD,
        ),
        (
            Compression::None,
            Some(MediaFamily::Docker),
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_CONFIG,
            media_type::DOCKER_LAYER,
        ),
    ] {
        let exportable = state.resolve_for_export(&image, &options(compression, media_types));
        let named = NamedImage::single(exportable, Vec::new());
        assert_eq!(kinds(&named), [manifest, config, layer, layer]);
        let mut archive = Vec::new();
        write_oci_archive(&[named], &mut archive).unwrap();
        let other = State::new();
        let platform = Platform::host();
        let mut stream = archive.as_slice();
        let source = LoadSource::Stream(&mut stream);
        let loaded = load(
            source,
            &other.store,
            &other.blobs,
            Platforms::Only(&platform),
            UnpackLimit::default(),
        )
        .unwrap();
        assert_eq!(loaded[0].image.id(), image.id());
    }
    let zstd = options(Compression::Zstd, Some(MediaFamily::Docker));
    let error = resolve_for_export(
        &image,
        &state.layers,
        &state.blobs,
        &zstd,
        Missing::Leave,
        &|_| (),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\""
    );
}

#[test]
fn annotations_go_where_they_belong() {
    let state = State::new();
    let image = state.sample();
    let annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let mut options = ImageOptions {
        annotations: annotations.clone(),
        descriptor_annotations: BTreeMap::from([("d".to_owned(), "w".to_owned())]),
        ..ImageOptions::default()
    };
    let exportable = state.resolve_for_export(&image, &options);
    let manifest: Value = serde_json::from_slice(&exportable.manifest.bytes).unwrap();
    assert_eq!(manifest["annotations"], json!({"k": "v"}));
    assert_eq!(exportable.manifest.descriptor.annotations["d"], "w");
    options.media_types = Some(MediaFamily::Docker);
    let exportable = state.resolve_for_export(&image, &options);
    let manifest: Value = serde_json::from_slice(&exportable.manifest.bytes).unwrap();
    assert_eq!(manifest.get("annotations"), None);
}

/// Returns an image as if pulled: Docker types, a layer blob that another compressor made.
fn pulled(state: &State, annotation: Option<&str>) -> Image {
    let sample = state.sample();
    let zstd = options(Compression::Zstd, Some(MediaFamily::Oci));
    let exportable = state.resolve_for_export(&sample, &zstd);
    let mut manifest: Value = serde_json::from_slice(&exportable.manifest.bytes).unwrap();
    manifest["layers"][0]["mediaType"] = media_type::DOCKER_LAYER_ZSTD.into();
    manifest["layers"][1]["mediaType"] = media_type::DOCKER_LAYER_ZSTD.into();
    manifest["config"]["mediaType"] = media_type::DOCKER_CONFIG.into();
    manifest["mediaType"] = media_type::DOCKER_MANIFEST.into();
    if let Some(annotation) = annotation {
        manifest["layers"][0]["annotations"] = json!({annotation: "x", "kept": "y"});
    }
    // Nobody serialises like this; it has to survive all the same.
    let bytes = format!("{manifest:#}\n\n");
    let digest = state.blobs.put(bytes.as_bytes()).unwrap();
    kiln_cache::read_image(&state.blobs, digest).unwrap()
}

#[test]
fn an_image_of_which_nothing_changes_keeps_its_manifest() {
    let state = State::new();
    let image = pulled(&state, Some("containerd.io/uncompressed"));
    let exportable = state.resolve_for_export(&image, &ImageOptions::default());
    assert_eq!(
        exportable.manifest.bytes,
        state.blobs.read(image.descriptor.digest).unwrap()
    );
    assert_eq!(
        exportable.manifest.descriptor.digest,
        image.descriptor.digest
    );
}

/// What came as bare tars, even tars like our own, goes out as bare tars.
#[test]
fn a_loaded_image_of_bare_tars_keeps_its_manifest() {
    let state = State::new();
    let image = state.sample();
    let bare = state.resolve_for_export(&image, &options(Compression::None, None));
    let digest = bare.manifest.descriptor.digest;
    let mut archive = Vec::new();
    write_docker_archive(&[NamedImage::single(bare, Vec::new())], &mut archive).unwrap();
    let (mut stream, platform) = (archive.as_slice(), Platform::host());
    let source = LoadSource::Stream(&mut stream);
    let loaded = load(
        source,
        &state.store,
        &state.blobs,
        Platforms::Only(&platform),
        UnpackLimit::default(),
    )
    .unwrap();
    let again = state.resolve_for_export(&loaded[0].image, &ImageOptions::default());
    assert_eq!(again.manifest.descriptor.digest, digest);
}

#[test]
fn layers_of_the_base_go_out_as_they_came_unless_forced() {
    let state = State::new();
    let base = pulled(&state, Some("buildkit/createdat"));
    let new = state.layer(|builder| {
        let content = FileContent::Bytes(b"new");
        builder
            .add_file(&path("new"), &plain(0o644), content)
            .unwrap();
    });
    let image = state.image(Some(&base), &[new], &["x"]);
    assert_eq!(image.config.history[..2], base.config.history);
    let named = NamedImage::single(
        state.resolve_for_export(&image, &ImageOptions::default()),
        Vec::new(),
    );
    let zstd = media_type::OCI_LAYER_ZSTD;
    assert_eq!(
        kinds(&named),
        [
            media_type::OCI_MANIFEST,
            media_type::OCI_CONFIG,
            zstd,
            zstd,
            media_type::OCI_LAYER_GZIP
        ]
    );
    let layers = &named.manifests[0].layers;
    for (layer, base) in layers.iter().zip(&base.manifest.layers) {
        assert_eq!(layer.descriptor.digest, base.digest);
    }
    let annotations = &layers[0].descriptor.annotations;
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["kept"]);

    let forced = ImageOptions {
        existing_layers: ExistingLayers::Repack,
        packing: Packing {
            compression: Compression::Gzip,
            level: Level::Exactly(1),
        },
        ..ImageOptions::default()
    };
    let named = NamedImage::single(state.resolve_for_export(&image, &forced), Vec::new());
    assert_eq!(kinds(&named)[2..], [media_type::OCI_LAYER_GZIP; 3]);
    let mut archive = Vec::new();
    write_oci_archive(&[named], &mut archive).unwrap();
    let other = State::new();
    let (mut stream, platform) = (archive.as_slice(), Platform::host());
    let source = LoadSource::Stream(&mut stream);
    let loaded = load(
        source,
        &other.store,
        &other.blobs,
        Platforms::Only(&platform),
        UnpackLimit::default(),
    )
    .unwrap();
    assert_eq!(loaded[0].image.id(), image.id());
}

/// What another compressor, or another level, made is not the same bytes, but the wanted kind.
#[test]
fn layers_of_the_wanted_compression_are_not_repacked() {
    let state = State::new();
    let image = pulled(&state, None);
    let forced = ImageOptions {
        existing_layers: ExistingLayers::Repack,
        packing: Packing {
            compression: Compression::Zstd,
            level: Level::Exactly(19),
        },
        ..ImageOptions::default()
    };
    let exportable = state.resolve_for_export(&image, &forced);
    for (layer, base) in exportable.layers.iter().zip(&image.manifest.layers) {
        assert_eq!(layer.descriptor.digest, base.digest);
    }
}

/// A layer that came from another program is known by that program's tar and by kiln's own. An image
/// that asks for kiln's gets it packed; one that asks for the other's, which is not here, does not get
/// kiln's instead: its digest differs.
#[test]
fn layer_of_two_tars_goes_out_as_the_image_names_it() {
    let state = State::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", &b"x"[..]).unwrap();
    let mut bytes = tar.into_inner().unwrap();
    // GNU tar fills its records up to ten kilobytes.
    bytes.resize(10_240, 0);
    let foreign = DiffId(Sha256::of(&bytes));
    let layer = state.layers.apply(&*bytes, None, foreign).unwrap();
    let own = layer.canonical_tar().unwrap().diff_id;
    assert_ne!(own, foreign);
    let image = state.image(None, &[layer], &["/file"]);
    assert_eq!(image.config.rootfs.diff_ids, [own]);
    let exportable = state.resolve_for_export(&image, &ImageOptions::default());
    assert!(matches!(
        exportable.layers[0].source,
        LayerSource::Stored(_)
    ));

    let mut config = image.config.clone();
    config.rootfs.diff_ids = vec![foreign];
    state.blobs.put(&config.to_bytes()).unwrap();
    let mut manifest = image.manifest.clone();
    manifest.config = Descriptor::of(media_type::OCI_CONFIG, &config.to_bytes());
    manifest.layers = vec![Descriptor::of(media_type::OCI_LAYER, &bytes)];
    let digest = state.blobs.put(&manifest.to_bytes()).unwrap();
    let image = kiln_cache::read_image(&state.blobs, digest).unwrap();
    let exportable = state.resolve_for_export(&image, &ImageOptions::default());
    assert_eq!(exportable.layers[0].descriptor.digest, foreign.0);
    assert!(matches!(exportable.layers[0].source, LayerSource::Absent));
}

#[test]
fn absent_blobs_are_fetched_or_left_out() {
    let state = State::new();
    let image = pulled(&state, None);
    let absent: Vec<Descriptor> = image.manifest.layers.clone();
    let away = state.path("away");
    fs::create_dir(&away).unwrap();
    for layer in &absent {
        fs::rename(
            state.blobs.path(layer.digest),
            away.join(layer.digest.hex()),
        )
        .unwrap();
    }
    let plain = ImageOptions::default();
    let exportable = state.resolve_for_export(&image, &plain);
    let mut archive = Vec::new();
    let named = NamedImage::single(exportable, Vec::new());
    let error = write_oci_archive(&[named], &mut archive).unwrap_err();
    assert!(matches!(error, ExportError::Absent(_)), "{error}");
    let refuse = |_: &[Descriptor]| Err("no network".into());
    let result = resolve_for_export(
        &image,
        &state.layers,
        &state.blobs,
        &plain,
        Missing::Fetch(&refuse),
        &|_| (),
    );
    assert!(matches!(result, Err(ResolveError::Fetch(_))));
    let fetch = |wanted: &[Descriptor]| {
        assert_eq!(wanted, absent);
        for layer in wanted {
            let bytes = fs::read(away.join(layer.digest.hex()))?;
            state.blobs.put(&bytes)?;
        }
        Ok(())
    };
    let exportable = resolve_for_export(
        &image,
        &state.layers,
        &state.blobs,
        &plain,
        Missing::Fetch(&fetch),
        &|_| (),
    )
    .unwrap();
    write_oci_archive(&[NamedImage::single(exportable, Vec::new())], &mut archive).unwrap();
}

/// Several layers without entries are one layer, packed once.
#[test]
fn equal_layers_are_packed_once() {
    let state = State::new();
    let empty = state.layers.empty().unwrap();
    let layers = [empty.clone(), empty.clone(), empty];
    let image = state.image(None, &layers, &["x"]);
    assert_eq!(image.config.rootfs.diff_ids, [DiffId::EMPTY; 3]);
    let exportable = state.resolve_for_export(&image, &ImageOptions::default());
    let first = &exportable.layers[0].descriptor;
    assert!(
        exportable
            .layers
            .iter()
            .all(|layer| layer.descriptor == *first)
    );
}
