//! Archives and layouts that others write, some of them with bad intentions.

use std::fs::{self, File};
use std::io::Write as _;

use kiln_exporter::{LoadError, LoadSource, Loaded, Platforms, load};
use kiln_oci::{Compression, DiffId, MediaKind, Platform, Sha256};
use kiln_snapshotter::UnpackLimit;
use kiln_testbed::{Tool, need, run};
use tar::{Builder, EntryType, Header};

use crate::sample::State;

/// A member of an archive: a name, and bytes or where it points.
enum Member<'a> {
    Bytes(&'a str, &'a [u8]),
    Symlink(&'a str, &'a str),
}

fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for member in members {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        let (name, bytes) = match member {
            Member::Bytes(name, bytes) => {
                header.set_entry_type(EntryType::Regular);
                (name, *bytes)
            }
            Member::Symlink(name, target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_link_name(target).unwrap();
                (name, &b""[..])
            }
        };
        // Past the crate's own checks, as an attacker would.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn layer(text: &str) -> Vec<u8> {
    archive(&[Member::Bytes("file", text.as_bytes())])
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| format!("\"{}\"", Sha256::of(layer)))
        .collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["x"]}},"container":"legacy","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    )
    .into_bytes()
}

fn load_bytes(state: &State, mut bytes: &[u8]) -> Result<Vec<Loaded>, LoadError> {
    let platform = Platform::new("linux", "amd64", "");
    let source = LoadSource::Stream(&mut bytes);
    load(
        source,
        &state.store,
        &state.blobs,
        Platforms::Only(&platform),
        UnpackLimit::default(),
    )
}

/// An archive of `docker save` before version 25, with a layer that occurs twice.
fn old_docker_archive() -> Vec<u8> {
    let (one, two) = (layer("one"), layer("two"));
    let config = config(&[&one, &two, &one]);
    let name = format!("{}.json", Sha256::of(&config).hex());
    let manifest = format!(
        r#"[{{"Config":"{name}","RepoTags":["foo/bar:v1","h:5000/x:y"],"Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}},
            {{"Config":"{name}","RepoTags":null,"Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}}]"#
    );
    // Links and lists may stand in front of what they point to.
    archive(&[
        Member::Symlink("c/layer.tar", "../a/layer.tar"),
        Member::Bytes("manifest.json", manifest.as_bytes()),
        Member::Bytes("repositories", b"{}"),
        Member::Bytes("a/layer.tar", &one),
        Member::Bytes("b/layer.tar", &two),
        Member::Bytes("b/VERSION", b"1.0"),
        Member::Bytes(&name, &config),
    ])
}

fn check_old_docker_archive(state: &State, loaded: &[Loaded]) {
    let [loaded] = loaded else {
        panic!("one image, not {}", loaded.len());
    };
    let names: Vec<String> = loaded.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["docker.io/foo/bar:v1", "h:5000/x:y"]);
    let digests: Vec<Sha256> = loaded
        .image
        .layers()
        .map(|(_, layer)| layer.digest)
        .collect();
    assert_eq!(
        digests,
        [layer("one"), layer("two"), layer("one")].map(|l| Sha256::of(&l))
    );
    assert_eq!(state.blobs.read(digests[1]).unwrap(), layer("two"));
    let config = config(&[&layer("one"), &layer("two"), &layer("one")]);
    assert_eq!(loaded.image.id().0, Sha256::of(&config));
}

#[test]
fn old_docker_archives_load_whatever_they_are_packed_with() {
    let state = State::new();
    let bytes = old_docker_archive();
    check_old_docker_archive(&state, &load_bytes(&state, &bytes).unwrap());
    let path = state.path("archive.tar");
    fs::write(&path, bytes).unwrap();
    let platform = Platform::host();
    for tool in ["gzip", "bzip2", "xz", "zstd"] {
        let tool = need!(Tool::find(tool));
        let state = State::new();
        let packed = run(tool.command().arg("-c").arg(&path)).stdout;
        check_old_docker_archive(&state, &load_bytes(&state, &packed).unwrap());
        let packed_path = state.path("packed");
        fs::write(&packed_path, packed).unwrap();
        let source = LoadSource::File(File::open(&packed_path).unwrap());
        let loaded = load(
            source,
            &state.store,
            &state.blobs,
            Platforms::Only(&platform),
            UnpackLimit::default(),
        )
        .unwrap();
        check_old_docker_archive(&state, &loaded);
    }
    let source = LoadSource::File(File::open(&path).unwrap());
    let loaded = load(
        source,
        &state.store,
        &state.blobs,
        Platforms::Only(&platform),
        UnpackLimit::default(),
    )
    .unwrap();
    check_old_docker_archive(&state, &loaded);
}

#[test]
fn layers_may_be_packed_in_any_way() {
    let tar = layer("one");
    let config = config(&[&tar]);
    let manifest = br#"[{"Config":"c.json","Layers":["l"]}]"#;
    for (tool, expected) in [
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
        ("xz", Compression::None),
        ("bzip2", Compression::None),
    ] {
        let state = State::new();
        let path = state.path("layer");
        fs::write(&path, &tar).unwrap();
        let packed = run(need!(Tool::find(tool)).command().arg("-c").arg(&path)).stdout;
        let bytes = archive(&[
            Member::Bytes("l", &packed),
            Member::Bytes("c.json", &config),
            Member::Bytes("manifest.json", manifest),
        ]);
        let loaded = load_bytes(&state, &bytes).unwrap();
        assert_eq!(loaded[0].names, []);
        let layer = &loaded[0].image.manifest.layers[0];
        assert_eq!(MediaKind::of(&layer.media_type), MediaKind::Layer(expected));
        let stored = state.blobs.read(layer.digest).unwrap();
        match expected {
            Compression::None => assert_eq!(stored, tar),
            _ => assert_eq!(stored, packed),
        }
    }
}

/// Docker writes null for no names and for no layers, and leaves out what it does not know.
/// containerd exports images so that were pulled by digest.
#[test]
fn an_image_named_by_digest_loads_without_a_tag() {
    let digest = Sha256::of(b"x");
    let empty =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = format!(
        r#"[{{"Config":"c.json","RepoTags":["x@{digest}","x:y@{digest}","x:z"],"Layers":[]}}]"#
    );
    let state = State::new();
    let bytes = archive(&[
        Member::Bytes("c.json", empty),
        Member::Bytes("manifest.json", manifest.as_bytes()),
    ]);
    let loaded = load_bytes(&state, &bytes).unwrap();
    let names: Vec<String> = loaded[0].names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["docker.io/library/x:z"]);
}

#[test]
fn null_members_count_as_absent() {
    let empty = br#"{"architecture":"amd64","os":"linux","config":null,"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
    for manifest in [
        &br#"[{"Config":"c.json","RepoTags":null,"Layers":null}]"#[..],
        br#"[{"Config":"c.json","RepoTags":["x:y"],"Layers":null,"Parent":null,"LayerSources":null}]"#,
        br#"[{"Config":"c.json"}]"#,
    ] {
        let state = State::new();
        let bytes = archive(&[
            Member::Bytes("c.json", empty),
            Member::Bytes("manifest.json", manifest),
        ]);
        let loaded = load_bytes(&state, &bytes).unwrap();
        assert_eq!(loaded[0].image.manifest.layers, []);
        assert_eq!(loaded[0].image.id().0, Sha256::of(empty));
    }
}

#[test]
fn damaged_and_hostile_archives_are_refused() {
    let tar = layer("one");
    let good = config(&[&tar]);
    let wrong = config(&[b"other"]);
    let two = config(&[&tar, &tar]);
    let manifest = br#"[{"Config":"c.json","Layers":["l"]}]"#.as_slice();
    let m = |manifest| Member::Bytes("manifest.json", manifest);
    let (l, c) = (Member::Bytes("l", &tar), |c| Member::Bytes("c.json", c));
    for (members, problem) in [
        (vec![], "the archive holds no images"),
        (vec![l], "the archive holds no images"),
        (vec![m(manifest)], "c.json is missing"),
        (vec![m(manifest), c(&good)], "l is missing"),
        (vec![m(b"{"), c(&good)], "manifest.json is not valid"),
        (vec![m(b"null"), c(&good)], "manifest.json is not valid"),
        (
            vec![m(br#"[{"Config":null,"Layers":null}]"#), c(&good)],
            "manifest.json is not valid",
        ),
        (
            vec![m(manifest), c(b"[]"), Member::Bytes("l", &tar)],
            "c.json is not valid",
        ),
        (
            vec![m(manifest), c(&two), Member::Bytes("l", &tar)],
            "c.json lists 2 diff ids for 1 layers",
        ),
        (
            vec![m(manifest), c(&wrong), Member::Bytes("l", &tar)],
            "layer l has diff id",
        ),
        (
            vec![m(manifest), c(&good), Member::Symlink("l", "l")],
            "l is a link that leads nowhere",
        ),
        (
            vec![m(manifest), c(&good), Member::Symlink("l", "/etc/passwd")],
            "l is a link that leads nowhere",
        ),
        (
            vec![
                m(br#"[{"Config":"c.json","RepoTags":["UPPER:x"],"Layers":[]}]"#),
                c(&good),
            ],
            "image name \"UPPER:x\"",
        ),
        (
            vec![m(
                br#"[{"Config":"../../../../../etc/passwd","Layers":[]}]"#,
            )],
            "../../../../../etc/passwd is missing",
        ),
    ] {
        let state = State::new();
        let error = load_bytes(&state, &archive(&members)).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with(problem),
            "{message} instead of {problem}"
        );
        assert!(!state.blobs.contains(Sha256::of(&tar)), "{problem}");
    }
    let state = State::new();
    let error = load_bytes(&state, &[b'x'; 2000]).unwrap_err();
    assert!(matches!(error, LoadError::Tar(_)), "{error}");
    let packed = [&[0x1f, 0x8b, 8, 0][..], &[0; 60]].concat();
    assert!(load_bytes(&state, &packed).is_err());
}

/// Names that climb are looked up, not opened; nothing is ever written by a member's name.
#[test]
fn names_that_climb_stay_inside() {
    let state = State::new();
    let tar = layer("one");
    let bytes = archive(&[
        Member::Bytes("../../l", &tar),
        Member::Bytes("/c.json", &config(&[&tar])),
        Member::Bytes(
            "./manifest.json",
            br#"[{"Config":"c.json","Layers":["../l"]}]"#,
        ),
    ]);
    let loaded = load_bytes(&state, &bytes).unwrap();
    assert_eq!(
        loaded[0].image.config.rootfs.diff_ids,
        [DiffId(Sha256::of(&tar))]
    );
}

#[test]
fn a_layout_with_a_wrong_blob_is_refused() {
    let state = State::new();
    let layout = state.path("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Sha256::of(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        digest
    };
    let tar = layer("one");
    let config_text = config(&[&tar]);
    let (layer, config) = (put(&tar), put(&config_text));
    let manifest_of = |config_size: u64, layer_size: u64| {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{config_size}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{layer_size}}}]}}"#
        );
        put(text.as_bytes())
    };
    let (config_size, layer_size) = (config_text.len() as u64, tar.len() as u64);
    let manifest = manifest_of(config_size, layer_size);
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let entry = |platform: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{manifest}","size":1,"annotations":{{"org.opencontainers.image.ref.name":"v1"}}{platform}}}"#
        )
    };
    let attestation = entry(r#","platform":{"os":"unknown","architecture":"unknown"}"#);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{attestation},{},{{"mediaType":"application/x","digest":"sha512:{}","size":1}}]}}"#,
        entry(""),
        "0".repeat(128),
    );
    fs::write(layout.join("index.json"), index).unwrap();
    let platform = Platform::host();
    let source = || LoadSource::Directory(layout.clone());
    let load = |state: &State| {
        load(
            source(),
            &state.store,
            &state.blobs,
            Platforms::Only(&platform),
            UnpackLimit::default(),
        )
    };

    let loaded = load(&state).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].names, [], "a mere tag is no name");
    assert_eq!(loaded[0].image.descriptor.digest, manifest);

    for digest in [layer, config, manifest] {
        let path = layout.join("blobs/sha256").join(digest.hex());
        let good = fs::read(&path).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b" ").unwrap();
        let state = State::new();
        let error = load(&state).unwrap_err();
        let mismatch = matches!(
            error,
            LoadError::Blob(kiln_cache::BlobError::Mismatch { .. }) | LoadError::WrongDiffId { .. }
        );
        assert!(mismatch, "{error}");
        assert!(!state.blobs.contains(digest));
        fs::write(&path, good).unwrap();
    }
    // Nor one whose descriptors say another size than the bytes have.
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    for (config_size, layer_size) in [
        (config_size + 1, layer_size),
        (config_size, 0),
        (config_size, u64::MAX),
    ] {
        let lying = manifest_of(config_size, layer_size);
        let text = index.replace(&manifest.to_string(), &lying.to_string());
        fs::write(layout.join("index.json"), text).unwrap();
        let state = State::new();
        let error = load(&state).unwrap_err();
        assert!(matches!(error, LoadError::WrongSize { .. }), "{error}");
        assert!(!state.blobs.contains(lying));
    }
    fs::write(layout.join("index.json"), index).unwrap();
    // A layout never leads out of its directory.
    let path = layout.join("blobs/sha256").join(layer.hex());
    fs::remove_file(&path).unwrap();
    fs::write(state.path("outside"), &tar).unwrap();
    std::os::unix::fs::symlink(state.path("outside"), &path).unwrap();
    let state = State::new();
    assert!(load(&state).is_err());
}

/// Bytes that a disk or network lost or changed give an error or the very image, never a panic.
#[test]
fn archives_cut_short_or_changed_do_no_harm() {
    let state = State::new();
    let bytes = old_docker_archive();
    // The last thing that matters is the config, in front of two zero blocks.
    let needed = bytes.len() - 1024 - 512;
    for cut in (0..needed).step_by(211) {
        assert!(load_bytes(&state, &bytes[..cut]).is_err(), "cut at {cut}");
    }
    for position in (0..bytes.len()).step_by(53) {
        let mut changed = bytes.clone();
        changed[position] ^= 0x41;
        let Ok(loaded) = load_bytes(&state, &changed) else {
            continue;
        };
        for (diff_id, layer) in loaded.iter().flat_map(|loaded| loaded.image.layers()) {
            let blob = state.blobs.read(layer.digest).unwrap();
            assert_eq!(DiffId(Sha256::of(&blob)), diff_id);
        }
    }
}
