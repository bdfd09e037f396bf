//! OCI layouts and docker archives, member by member.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use kiln_exporter::{
    ExportError, LoadSource, Platforms, load, write_docker_archive, write_docker_layout,
    write_layout, write_oci_archive,
};
use kiln_oci::{Descriptor, Index, Platform, Sha256};
use kiln_snapshotter::{TooMuch, UnpackLimit};
use kiln_testbed::{Tool, need, run_and_read};
use kiln_threads::Stop;
use serde_json::{Value, json};

use crate::sample::State;

/// Returns path, mode, type flag and content of each member, and checks what all have in common.
fn members(archive: &[u8]) -> Vec<(String, u32, u8, Vec<u8>)> {
    let mut reader = tar::Archive::new(archive);
    let members = reader.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!(header.mtime().unwrap(), 0);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert!(header.as_ustar().is_some());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let path = String::from_utf8(entry.path_bytes().to_vec()).unwrap();
        let kind = header.entry_type().as_byte();
        (path, header.mode().unwrap(), kind, bytes)
    });
    let members: Vec<_> = members.collect();
    let content: usize = members
        .iter()
        .map(|(_, _, _, bytes)| 512 + bytes.len().next_multiple_of(512))
        .sum();
    assert_eq!(archive.len(), content + 1024, "two zero blocks end it");
    members
}

pub(crate) fn document(archive: &[u8], name: &str) -> Value {
    let members = members(archive);
    let member = members.iter().find(|(path, ..)| path == name);
    serde_json::from_slice(&member.unwrap().3).unwrap()
}

/// OCI-024, OCI-025.
#[test]
fn a_layout_in_a_tar_has_the_members_that_buildkit_writes() {
    let state = State::new();
    let named = state.named(&state.sample(), &["foo/bar:v1", "h:5000/x"]);
    let mut archive = Vec::new();
    write_oci_archive(std::slice::from_ref(&named), &mut archive).unwrap();
    let members = members(&archive);
    let mut digests: Vec<String> = vec![
        named.root.descriptor.digest.hex(),
        named.manifests[0].config.descriptor.digest.hex(),
    ];
    let layers = &named.manifests[0].layers;
    digests.extend(layers.iter().map(|layer| layer.descriptor.digest.hex()));
    digests.sort();
    let mut expected = vec![
        ("blobs/".to_owned(), 0o755, b'5'),
        ("blobs/sha256/".to_owned(), 0o755, b'5'),
    ];
    expected.extend(
        digests
            .iter()
            .map(|hex| (format!("blobs/sha256/{hex}"), 0o444, b'0')),
    );
    expected.push(("index.json".to_owned(), 0o644, b'0'));
    expected.push(("oci-layout".to_owned(), 0o444, b'0'));
    let found: Vec<_> = members
        .iter()
        .map(|(path, mode, kind, _)| (path.clone(), *mode, *kind))
        .collect();
    assert_eq!(found, expected);
    for (path, _, _, bytes) in &members {
        if let Some(hex) = path
            .strip_prefix("blobs/sha256/")
            .filter(|hex| !hex.is_empty())
        {
            assert_eq!(Sha256::of(bytes).hex(), hex);
        }
    }
    assert_eq!(
        members.last().unwrap().3,
        br#"{"imageLayoutVersion":"1.0.0"}"#
    );
    let host = Platform::host();
    let entry = |name: &str, tag: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": named.root.descriptor.digest.to_string(),
            "size": named.root.descriptor.size_bytes,
            "annotations": {
                "io.containerd.image.name": name,
                "org.opencontainers.image.created": "2023-11-14T22:13:21Z",
                "org.opencontainers.image.ref.name": tag,
            },
            "platform": {"os": host.os, "architecture": host.architecture},
        })
    };
    assert_eq!(
        document(&archive, "index.json"),
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry("docker.io/foo/bar:v1", "v1"), entry("h:5000/x:latest", "latest")],
        })
    );
    // Two spaces, no newline at the end: as BuildKit has it.
    let manifest = String::from_utf8(named.root.bytes.clone()).unwrap();
    assert!(manifest.starts_with("{\n  \"schemaVersion\": 2,\n  \"mediaType\": "));
    assert!(manifest.ends_with('}'));
}

#[test]
fn a_docker_archive_is_a_layout_and_more() {
    let state = State::new();
    let image = state.sample();
    let other = state.image(Some(&image), &[], &["/bin/other"]);
    let images = [
        state.named(&image, &["foo/bar:v1"]),
        state.named(&other, &[]),
        state.named(&image, &["alpine"]),
    ];
    let mut archive = Vec::new();
    write_docker_archive(&images, &mut archive).unwrap();
    let blob = |descriptor: &Descriptor| format!("blobs/sha256/{}", descriptor.digest.hex());
    let layers: Vec<String> = images[0].manifests[0]
        .layers
        .iter()
        .map(|layer| blob(&layer.descriptor))
        .collect();
    assert_eq!(
        document(&archive, "manifest.json"),
        json!([
            {
                "Config": blob(&image.manifest.config),
                "RepoTags": ["foo/bar:v1", "alpine:latest"],
                "Layers": layers,
            },
            {"Config": blob(&other.manifest.config), "RepoTags": null, "Layers": layers},
        ])
    );
    let names: Vec<String> = members(&archive)
        .into_iter()
        .map(|(path, ..)| path)
        .collect();
    assert_eq!(
        names[names.len() - 3..],
        ["index.json", "manifest.json", "oci-layout"]
    );
    let unpacked = state.path("unpacked");
    write_docker_layout(&images, &unpacked, &Stop::default()).unwrap();
    for name in &names[names.len() - 3..] {
        let (file, member) = (
            fs::read(unpacked.join(name)).unwrap(),
            document(&archive, name),
        );
        assert_eq!(serde_json::from_slice::<Value>(&file).unwrap(), member);
    }
    // The layers are the same two blobs: three manifests and configs less one pair, two layers.
    assert_eq!(names.len(), 2 + 4 + 2 + 3);
    // Other programs list it too.
    let file = state.path("archive.tar");
    fs::write(&file, &archive).unwrap();
    let tar = need!(Tool::find("tar"));
    let listed = run_and_read(tar.command().arg("tf").arg(&file));
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
}

#[test]
fn the_same_image_gives_the_same_bytes_in_any_store() {
    let archives = [State::new(), State::new()].map(|state| {
        let image = state.sample();
        let mut twice = [Vec::new(), Vec::new()];
        for archive in &mut twice {
            let named = state.named(&image, &["foo/bar:v1"]);
            write_docker_archive(&[named], archive).unwrap();
        }
        assert_eq!(twice[0], twice[1]);
        twice[0].clone()
    });
    assert_eq!(archives[0], archives[1]);
}

#[test]
fn an_archive_loads_into_another_store_as_the_same_image() {
    let state = State::new();
    let image = state.sample();
    let named = [state.named(&image, &["foo/bar:v1", "foo/bar:v2"])];
    let mut archives = [Vec::new(), Vec::new()];
    write_oci_archive(&named, &mut archives[0]).unwrap();
    write_docker_archive(&named, &mut archives[1]).unwrap();
    let layout = state.path("layout");
    write_layout(&named, &layout, &Stop::default()).unwrap();
    let platform = Platform::host();
    let check = |source: LoadSource<'_>| {
        let other = State::new();
        let loaded = load(
            source,
            &other.store,
            &other.blobs,
            Platforms::Only(&platform),
            UnpackLimit::default(),
        )
        .unwrap();
        assert_eq!(loaded.len(), 1);
        let names: Vec<String> = loaded[0].names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["docker.io/foo/bar:v1", "docker.io/foo/bar:v2"]);
        let loaded = &loaded[0].image;
        assert_eq!(loaded.descriptor.digest, named[0].root.descriptor.digest);
        assert_eq!(loaded.config, image.config);
        for (diff_id, layer) in loaded.layers() {
            let blob = other.blobs.open(layer.digest).unwrap();
            other.layers.apply(blob, None, diff_id).unwrap();
        }
        // And out again, unchanged, though by now the layers are unpacked.
        let again = other.named(loaded, &["foo/bar:v1"]);
        assert_eq!(again.root.bytes, named[0].root.bytes);
    };
    check(LoadSource::Directory(layout));
    for archive in &archives {
        check(LoadSource::Stream(&mut archive.as_slice()));
        // A pipe that has a name: `load -i /dev/stdin`, `load -i <(…)`.
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(archive).unwrap());
            check(LoadSource::File(OwnedFd::from(reader).into()));
        });
    }
}

#[test]
fn an_archive_may_not_unpack_to_too_much() {
    let state = State::new();
    let image = state.sample();
    let mut archive = Vec::new();
    write_oci_archive(&[state.named(&image, &["foo/bar:v1"])], &mut archive).unwrap();
    let limit = UnpackLimit { bytes: 9, ratio: 1 };
    let other = State::new();
    let mut stream = archive.as_slice();
    // The archive itself is not packed, but its layers are.
    let source = LoadSource::Stream(&mut stream);
    let error = load(source, &other.store, &other.blobs, Platforms::All, limit).unwrap_err();
    let found = TooMuch::among(&error).unwrap_or_else(|| panic!("{error}"));
    assert_eq!(found.limit, limit);
}

#[test]
fn a_layout_keeps_images_of_other_names() {
    let state = State::new();
    let image = state.sample();
    let other = state.image(Some(&image), &[], &["/bin/other"]);
    let layout = state.path("layout");
    let names = || {
        let bytes = fs::read(layout.join("index.json")).unwrap();
        let index: Index = serde_json::from_slice(&bytes).unwrap();
        let entries = index.manifests.into_iter().map(|descriptor| {
            let name = descriptor.annotations.get("io.containerd.image.name");
            (name.cloned().unwrap_or_default(), descriptor.digest)
        });
        entries.collect::<Vec<_>>()
    };
    write_layout(
        &[state.named(&image, &["a:1", "a:2"])],
        &layout,
        &Stop::default(),
    )
    .unwrap();
    write_layout(
        &[state.named(&other, &["a:2"]), state.named(&other, &[])],
        &layout,
        &Stop::default(),
    )
    .unwrap();
    write_layout(&[state.named(&other, &[])], &layout, &Stop::default()).unwrap();
    let old = state.named(&image, &[]).root.descriptor.digest;
    let new = state.named(&other, &[]).root.descriptor.digest;
    assert_eq!(
        names(),
        [
            ("docker.io/library/a:1".to_owned(), old),
            ("docker.io/library/a:2".to_owned(), new),
            (String::new(), new),
        ]
    );
    fs::write(layout.join("index.json"), "not ours").unwrap();
    let error = write_layout(&[state.named(&other, &[])], &layout, &Stop::default()).unwrap_err();
    assert!(matches!(error, ExportError::NotALayout { .. }), "{error}");
}
