//! Foreign layers and archives.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use kiln_files::GuestPath;
use kiln_oci::{Compression, DiffId, Sha256};
use kiln_snapshotter::{ParentView, TarOrigin, UnpackError};
use tar::EntryType;

use crate::odd_tars::{Tar, apply};
use crate::sample::{Root, everything, listing, store};

fn check(tar: Tar, expected: &[&str]) {
    let (_directory, store) = store();
    let layer = apply(&store, &tar.end()).unwrap();
    assert_eq!(listing(&layer), expected);
}

/// OCI-020, OCI-021, and everything else of section 5: what kiln writes it reads back.
#[test]
fn kilns_own_layers_come_back_byte_for_byte() {
    let (_one, store_of_one) = store();
    let (_two, store_of_two) = store();
    let sample = everything(&store_of_one);
    let mut bytes = Vec::new();
    let tar = sample.write_tar(&mut bytes).unwrap();
    let layer = apply(&store_of_two, &bytes).unwrap();
    // Not only what it says: the name that kiln gives it is the same on every machine.
    assert_eq!(layer, sample);
    assert_eq!(listing(&layer), listing(&sample));
    let mut again = Vec::new();
    layer.write_tar(&mut again).unwrap();
    assert!(again == bytes);
    let facts = layer.facts().unwrap();
    assert_eq!(facts.diff_id(), Some(tar.diff_id));
    assert_eq!(facts.tars[0].origin, TarOrigin::Foreign);
    assert_eq!(layer.diff_id().unwrap(), tar.diff_id);
    let found = store_of_two.by_diff_id(tar.diff_id).unwrap();
    assert_eq!(found, layer);
    let special = layer.root().join("special");
    assert_eq!(fs::metadata(special).unwrap().mode() & 0o7777, 0o4755);
}

/// OCI-026, the reading part; several members and frames.
#[test]
fn compressed_layers_are_recognised() {
    let (_directory, store) = store();
    let tar = Tar::default().file("a", "1").file("b", "2").end();
    let (first, second) = tar.split_at(700);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let diff_id = DiffId(Sha256::of(&tar));
    let skippable = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &zstd(&tar)].concat();
    for (blob, compression) in [
        ([gzip(first), gzip(second)].concat(), None),
        ([zstd(first), zstd(second)].concat(), None),
        (skippable, None),
        (gzip(&tar), Some(Compression::Gzip)),
        (tar.clone(), Some(Compression::None)),
    ] {
        let layer = store.apply(&*blob, compression, diff_id).unwrap();
        assert_eq!(listing(&layer), ["a 1", "b 1"]);
        fs::remove_dir_all(layer.root()).unwrap();
    }
}

#[test]
fn other_bytes_than_promised_are_refused_and_leave_nothing() {
    let (directory, store) = store();
    let tar = Tar::default().file("a", "1").end();
    let expected = DiffId(Sha256::of(b"something else"));
    let error = store.apply(&*tar, None, expected).unwrap_err();
    assert!(error.to_string().contains("instead of"), "{error}");
    let error = store.apply(&tar[..300], None, expected).unwrap_err();
    assert!(matches!(error, UnpackError::Tar(_)), "{error}");
    assert!(!directory.path().join("layers").exists());
    // Bytes after the end belong to the stream.
    let padded = [&*tar, &[0; 8192]].concat();
    apply(&store, &padded).unwrap();
}

/// OCI-018.
#[test]
fn whiteouts_concern_the_layers_below() {
    check(
        Tar::default()
            .file("d/.wh.gone", "")
            .file("x", "new")
            .file(".wh.x", "")
            .file(".wh.y", "")
            .directory("y/")
            .file("o/before", "")
            .file("o/.wh..wh..opq", "")
            .file("o/after", "")
            .directory("o/")
            .file(".wh..wh.plnk", "")
            .file("new/dir/.wh..wh..opq", "")
            .member(EntryType::Char, "overlay", "", b""),
        &[
            "d/?",
            "-d/gone",
            "new/?",
            "new/dir/!?",
            "o/!",
            "o/after 0",
            "o/before 0",
            "-overlay",
            "x 3",
            "y/!",
        ],
    );
    check(
        Tar::default().file(".wh..wh..opq", "").file("a", ""),
        &["/!?", "a 0"],
    );
    check(
        Tar::default().file(".wh..wh..opq", "").directory("./"),
        &["/!"],
    );
    let (_directory, store) = store();
    for name in [".wh.", "d/.wh..", ".wh..."] {
        let error = apply(&store, &Tar::default().file(name, "").end()).unwrap_err();
        assert!(matches!(error, UnpackError::Name(_)), "{name}: {error}");
    }
}

/// OCI-019.
#[test]
fn later_members_replace_earlier_ones() {
    check(
        Tar::default()
            .directory("d")
            .file("d/x", "1")
            .file("d", "file")
            .file("f", "1")
            .directory("f")
            .file("f/y", "2")
            .symlink("l", "f")
            .directory("l")
            .file("twice", "1")
            .file("twice", "22"),
        &["d 4", "f/", "f/y 1", "l/", "twice 2"],
    );
}

/// OCI-021.
#[test]
fn hard_links_come_before_and_after_their_targets() {
    check(
        Tar::default()
            .hard_link("a", "z")
            .file("m", "m")
            .hard_link("/n", "./m")
            .file("z", "zz")
            .symlink("s", "m")
            .hard_link("t", "s")
            .file("m", "replaced")
            .hard_link("q", "../../m"),
        &["a 2", "m 8", "n 1", "q == m", "s -> m", "t -> m", "z == a"],
    );
    let (_directory, store) = store();
    for target in ["nothing", "/etc/passwd", "../../etc/passwd"] {
        let error = apply(&store, &Tar::default().hard_link("a", target).end()).unwrap_err();
        assert!(error.to_string().contains("not in the layer"), "{error}");
    }
}

/// OCI-022.
#[test]
fn nothing_leaves_the_root() {
    let (directory, store) = store();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let absolute = outside.to_str().unwrap();
    let tar = Tar::default()
        .file("../../up", "1")
        .file("/absolute", "1")
        .file("a/../../b", "1")
        .symlink("abs", "/")
        .file("abs/through", "1")
        .symlink("out", absolute)
        .file("out/file", "1")
        .symlink("up-link", "../../..")
        .file("up-link/etc/file", "1")
        .symlink("self", "self")
        .symlink("one", "two/x")
        .symlink("two", "/three");
    let layer = apply(&store, &tar.end()).unwrap();
    let listed = listing(&layer);
    for line in [
        "absolute 1",
        "b 1",
        "through 1",
        "up 1",
        "etc/file 1",
        &format!("{}/file 1", &absolute[1..]),
    ] {
        assert!(
            listed.iter().any(|found| found == line),
            "{line}: {listed:?}"
        );
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let looping = Tar::default().symlink("self", "self").file("self/x", "");
    let error = apply(&store, &looping.end()).unwrap_err();
    assert!(matches!(error, UnpackError::Loop(_)), "{error}");
    let through_file = Tar::default().file("f", "").file("f/x", "");
    let error = apply(&store, &through_file.end()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/f/x cannot be added: its parent is not a directory"
    );
}

#[test]
fn extension_headers_are_understood() {
    let (_directory, store) = store();
    let capability = crate::sample::CAPABILITY;
    let long = format!("dir/{}", "x".repeat(200));
    let tar = Tar::default()
        .pax(&[
            ("path", long.as_bytes()),
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.security.selinux", b"host's"),
            ("mtime", b"-3.5"),
            ("uid", b"70000"),
            ("size", b"4"),
        ])
        .member(EntryType::Regular, "short", "", b"four")
        .member(EntryType::XGlobalHeader, "g", "", b"16 path=nothing\n")
        .member(EntryType::GNULongName, "././@LongLink", "", b"from/gnu\0")
        .file("cut", "1")
        .pax(&[("linkpath", b"to/pax")])
        .symlink("link", "cut")
        // Links may claim a size, and then have no content all the same.
        .end();
    let layer = apply(&store, &tar).unwrap();
    assert_eq!(
        listing(&layer),
        [
            "dir/?".to_owned(),
            format!("{long} 4"),
            "from/?".into(),
            "from/gnu 1".into(),
            "link -> to/pax".into()
        ]
    );
    let tree = layer.tree().unwrap();
    let entry = tree.get(long.as_bytes()).unwrap();
    assert_eq!((entry.uid, entry.mtime.seconds), (70_000, -4));
    // Indexes have whole seconds, rounded towards the past.
    assert_eq!(entry.mtime.nanoseconds, 0);
    let xattrs: Vec<_> = entry.xattrs.iter().collect();
    assert_eq!(xattrs, [(&b"security.capability"[..], &capability[..])]);

    for bad in [
        Tar::default().pax(&[("uid", b"x")]).file("a", "").end(),
        Tar::default()
            .pax(&[("uid", b"5000000000")])
            .file("a", "")
            .end(),
        Tar::default().pax(&[("path", b"a\0b")]).file("a", "").end(),
        Tar::default()
            .pax(&[("path", &[b'p'; 5000])])
            .file("a", "")
            .end(),
        Tar::default()
            .pax(&[("path", &[b'p'; 300])])
            .file("a", "")
            .end(),
        Tar::default().symlink("a", "").end(),
    ] {
        assert!(apply(&store, &bad).is_err());
    }
}

#[test]
fn stargz_metadata_is_not_the_images() {
    check(
        Tar::default()
            .file(".prefetch.landmark", "1")
            .file("a", "")
            .file("stargz.index.json", "{}"),
        &["a 0"],
    );
}

#[test]
fn roots_have_metadata() {
    let (_directory, store) = store();
    let layer = apply(
        &store,
        &Tar::default().directory("./").file("./a", "").end(),
    )
    .unwrap();
    assert_eq!(listing(&layer), ["/", "a 0"]);
    let view = ParentView::new(&[layer]).unwrap();
    assert_eq!(
        view.get(&GuestPath::ROOT).unwrap().mtime.seconds,
        1_600_000_000
    );
}
