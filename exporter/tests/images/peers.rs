//! What other tools make of our images.

use std::fs::{self, File};

use kiln_exporter::{
    ExportRoot, ImageOptions, NamedImage, Stale, write_docker_archive, write_file, write_layout,
    write_local, write_oci_archive,
};
use kiln_oci::{Compression, Image, Platform};
use kiln_snapshotter::{Packing, ParentView, UnpackLimit};
use kiln_testbed::{
    Dockerd, Podman, Scratch, Skip, Skopeo, Umoci, assert_same_tree, busybox_rootfs,
    list_directory, need, need_root, run, run_and_read,
};
use kiln_threads::Stop;
use serde_json::Value;

use crate::sample::{State, add_files, add_host_directory, path};

/// An image that runs: busybox, and something of everything on top.
fn runnable(state: &State) -> Result<Image, Skip> {
    let rootfs = Scratch::new();
    busybox_rootfs(rootfs.path())?;
    let busybox = state.layer(|builder| add_host_directory(builder, rootfs.path(), &path("")));
    let files = state.layer(add_files);
    Ok(state.image(None, &[busybox, files], &["cat", "/usr/bin/su"]))
}

fn with(state: &State, image: &Image, compression: Compression) -> NamedImage {
    let options = ImageOptions {
        packing: Packing::new(compression),
        ..ImageOptions::default()
    };
    let names = vec!["docker.io/library/made:v1".parse().unwrap()];
    NamedImage::single(state.resolve_for_export(image, &options), names)
}

/// OCI-024, OCI-025, OCI-026.
#[test]
fn skopeo_reads_and_copies_layouts_and_archives() {
    let skopeo = need!(Skopeo::new());
    let state = State::new();
    let image = need!(runnable(&state));
    for (name, compression) in [
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
        ("none", Compression::None),
    ] {
        let named = [with(&state, &image, compression)];
        let layout = state.path(&format!("{name}-layout"));
        write_layout(&named, &layout, &Stop::default()).unwrap();
        let oci = state.path(&format!("{name}-oci.tar"));
        write_file(&oci, |output| write_oci_archive(&named, output)).unwrap();
        let docker = state.path(&format!("{name}-docker.tar"));
        write_file(&docker, |output| write_docker_archive(&named, output)).unwrap();

        let source = format!("oci:{}:v1", layout.display());
        let inspected = run_and_read(skopeo.command().args(["inspect", &source]));
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        assert_eq!(
            inspected["Digest"].as_str(),
            Some(named[0].root.descriptor.digest.to_string().as_str())
        );
        assert_eq!(inspected["Layers"].as_array().unwrap().len(), 2);
        let copy = format!("dir:{}", state.path(&format!("{name}-a")).display());
        run(skopeo.copy().args([&source, &copy]));
        let source = format!("oci-archive:{}:v1", oci.display());
        let copy = format!("dir:{}", state.path(&format!("{name}-b")).display());
        run(skopeo.copy().args([&source, &copy]));
        // Reading docker archives it unpacks the layers, and checks their diff ids.
        let source = format!("docker-archive:{}:made:v1", docker.display());
        let copy = format!("oci:{}:v1", state.path(&format!("{name}-c")).display());
        run(skopeo.command().args(["copy", "--quiet", &source, &copy]));
    }
}

#[test]
fn umoci_unpacks_what_we_export_as_files() {
    need!(need_root());
    let umoci = need!(Umoci::new());
    let state = State::new();
    let image = need!(runnable(&state));
    let layout = state.path("layout");
    write_layout(
        &[with(&state, &image, Compression::Gzip)],
        &layout,
        &Stop::default(),
    )
    .unwrap();
    let bundle = state.path("bundle");
    let unpacked = umoci.unpack(&layout, "v1", &bundle);

    let layers: Vec<_> = image
        .layers()
        .map(|(diff_id, _)| state.layers.by_diff_id(diff_id).unwrap())
        .collect();
    let local = state.path("local");
    let view = ParentView::new(&layers).unwrap();
    let root = ExportRoot::at_top(Platform::host(), &view);
    write_local(&[root], &local, Stale::Keep, None, &Stop::default()).unwrap();
    let below = |listing: Vec<String>| -> Vec<String> {
        listing
            .into_iter()
            .filter(|line| !line.starts_with(". "))
            .collect()
    };
    assert_same_tree(
        &below(list_directory(&unpacked)),
        &below(list_directory(&local)),
    );
}

#[test]
fn podman_loads_and_runs_both_archives() {
    let podman = need!(Podman::new(None));
    let state = State::new();
    let image = need!(runnable(&state));
    let named = [with(&state, &image, Compression::Gzip)];
    let archive = state.path("archive.tar");
    for docker in [true, false] {
        write_file(&archive, |output| {
            if docker {
                write_docker_archive(&named, output)
            } else {
                write_oci_archive(&named, output)
            }
        })
        .unwrap();
        run(podman
            .command()
            .args(["load", "--quiet", "--input"])
            .arg(&archive));
        let id = run_and_read(podman.command().args(["images", "--quiet", "--no-trunc"]));
        assert_eq!(id, image.id().to_string());
        let output = run_and_read(podman.command().args(["run", "--rm", &id]));
        assert_eq!(output, "not really");
        run(podman.command().args(["rmi", "--force", &id]));
    }
}

#[test]
fn docker_loads_and_runs_an_archive() {
    let docker = need!(Dockerd::start());
    let state = State::new();
    let image = need!(runnable(&state));
    let archive = state.path("archive.tar");
    let named = [with(&state, &image, Compression::Gzip)];
    write_file(&archive, |output| write_docker_archive(&named, output)).unwrap();
    let loaded = run_and_read(docker.command().args(["load", "--input"]).arg(&archive));
    assert_eq!(loaded, "Loaded image: made:v1");
    let mut run_it = docker.command();
    run_it.args(["run", "--rm", "--network", "host", "made:v1"]);
    assert_eq!(run_and_read(&mut run_it), "not really");
    // And back: what docker saves, kiln loads.
    let saved = state.path("saved.tar");
    run(docker
        .command()
        .args(["save", "--output"])
        .arg(&saved)
        .arg("made:v1"));
    let other = State::new();
    let source = kiln_exporter::LoadSource::File(File::open(&saved).unwrap());
    let platform = Platform::host();
    let loaded = kiln_exporter::load(
        source,
        &other.store,
        &other.blobs,
        kiln_exporter::Platforms::Only(&platform),
        UnpackLimit::default(),
    )
    .unwrap();
    assert_eq!(loaded[0].names[0].familiar(), "made:v1");
    assert_eq!(
        loaded[0].image.config.rootfs.diff_ids,
        image.config.rootfs.diff_ids
    );
}

/// What skopeo writes in the old form, with files named by diff id and links by layer, loads.
#[test]
fn archives_of_skopeo_load() {
    let skopeo = need!(Skopeo::new());
    let state = State::new();
    let image = need!(runnable(&state));
    let layout = state.path("layout");
    write_layout(
        &[with(&state, &image, Compression::Gzip)],
        &layout,
        &Stop::default(),
    )
    .unwrap();
    let archive = state.path("skopeo.tar");
    let from = format!("oci:{}:v1", layout.display());
    let to = format!(
        "docker-archive:{}:docker.io/library/made:v1",
        archive.display()
    );
    run(skopeo.command().args(["copy", "--quiet", &from, &to]));
    assert!(fs::metadata(&archive).unwrap().len() > 0);
    let other = State::new();
    let source = kiln_exporter::LoadSource::File(File::open(&archive).unwrap());
    let platform = Platform::host();
    let loaded = kiln_exporter::load(
        source,
        &other.store,
        &other.blobs,
        kiln_exporter::Platforms::Only(&platform),
        UnpackLimit::default(),
    )
    .unwrap();
    assert_eq!(loaded[0].names[0].familiar(), "made:v1");
    assert_eq!(
        loaded[0].image.config.rootfs.diff_ids,
        image.config.rootfs.diff_ids
    );
}
