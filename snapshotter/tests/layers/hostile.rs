//! Archives that want something else than to be unpacked.

use std::error::Error as _;
use std::io::Write as _;

use kiln_cache::Store;
use kiln_files::GuestPath;
use kiln_oci::{DiffId, Sha256};
use kiln_snapshotter::{
    LayerStore, ParentView, TooMuch, UnpackError, UnpackLimit, is_archive, unpack_archive,
};
use tar::EntryType;

use crate::odd_tars::{Tar, apply};
use crate::sample::{Root, layer, listing, path, store};

/// Unpacks an archive into a directory of a root, and returns what is in the new layer.
fn add(base: &[&str], destination: &str, tar: &[u8]) -> Result<Vec<String>, UnpackError> {
    let (_directory, store) = store();
    let view = ParentView::new(&[layer(&store, base)]).unwrap();
    let builder = store.builder().unwrap();
    let destination = path(destination);
    for around in destination.ancestors().iter().chain([&destination]) {
        let metadata = kiln_snapshotter::Metadata::of(&view.get(around).unwrap());
        builder.add_directory(around, &metadata).unwrap();
    }
    unpack_archive(tar, &builder, &view, &destination, None)?;
    Ok(listing(&builder.finish().unwrap()))
}

/// What is added to a directory stays in it, whatever links say. A link of the archive once led to
/// the image's own `/etc/passwd`.
#[test]
fn the_destination_of_an_archive_is_its_root() {
    let base = [
        "etc/",
        "etc/passwd=image",
        "opt/",
        "opt/app/",
        "opt/app/conf->/etc",
    ];
    let tar = Tar::default()
        .symlink("out", "/etc")
        .file("out/passwd", "1")
        .symlink("up", "../../etc")
        .file("up/passwd", "22")
        .file("conf/passwd", "333")
        .file("../../../etc/passwd", "4444")
        .hard_link("name", "../../etc/passwd")
        .file("out/../../x", "5");
    let made = add(&base, "opt/app", &tar.end()).unwrap();
    assert_eq!(
        made,
        [
            "opt/",
            "opt/app/",
            "opt/app/etc/",
            "opt/app/etc/passwd 4",
            "opt/app/name == opt/app/etc/passwd",
            "opt/app/out -> /etc",
            "opt/app/up -> ../../etc",
            "opt/app/x 1",
        ]
    );
    let tar = Tar::default().hard_link("name", "/etc/passwd").end();
    let error = add(&base, "opt/app", &tar).unwrap_err().to_string();
    assert!(
        error.contains("/opt/app/etc/passwd, which is not in the layer"),
        "{error}"
    );
}

/// A directory that files are added to stays what it is; what is called like it and is no directory
/// is nothing.
#[test]
fn an_archives_own_directory_is_not_its_destination() {
    let (_directory, store) = store();
    let builder = store.builder().unwrap();
    let own = kiln_snapshotter::Metadata::root_owned(0o700, kiln_oci::Timestamp::from_seconds(7));
    builder.add_directory(&path("d"), &own).unwrap();
    let tar = Tar::default()
        .directory("./")
        .directory("")
        .file("", "nameless")
        .file(".", "no file")
        .directory("x/..")
        .symlink("", "nowhere")
        .file("a", "1");
    let tar = tar.end();
    assert!(is_archive(&*tar));
    let view = ParentView::default();
    unpack_archive(&*tar, &builder, &view, &path("d"), None).unwrap();
    let made = builder.finish().unwrap();
    assert_eq!(listing(&made), ["d/", "d/a 1"]);
    let tree = made.tree().unwrap();
    let entry = tree.get(b"d").unwrap();
    assert_eq!((entry.mode, entry.mtime.seconds), (0o700, 7));
    // A layer's own root is the root's, in a layer.
    let layer = apply(&store, &tar).unwrap();
    assert_eq!(listing(&layer), ["/", "a 1"]);
}

/// A directory that takes the place of what took the place of the image's is a new one.
#[test]
fn replaced_twice_is_replaced() {
    let tar = Tar::default()
        .file("d", "")
        .directory("d")
        .file("d/new", "");
    let made = add(&["d/", "d/old="], "", &tar.end()).unwrap();
    assert_eq!(made, ["/", "d/!", "d/new 0"]);
    let tar = Tar::default().file("d", "").directory("d").end();
    assert_eq!(add(&["e/"], "", &tar).unwrap(), ["/", "d/"]);
}

#[test]
fn the_last_member_may_lack_its_padding() {
    let (_directory, store) = store();
    let mut tar = Tar::default().file("a", "1").file("b", "22").end();
    tar.truncate(tar.len() - 1024 - 510);
    assert_eq!(listing(&apply(&store, &tar).unwrap()), ["a 1", "b 2"]);
    // Without a byte of its content it is cut off.
    tar.pop();
    assert!(apply(&store, &tar).is_err());
}

#[test]
fn sizes_that_wrap_are_refused() {
    let (_directory, store) = store();
    for size in [
        u64::MAX,
        u64::MAX - 511,
        1 << 63,
        i64::MAX.unsigned_abs(),
        1 << 40,
    ] {
        let text = size.to_string();
        let pax = Tar::default()
            .pax(&[("size", text.as_bytes())])
            .file("a", "1");
        let skipped = Tar::default()
            .pax(&[("size", text.as_bytes())])
            .member(EntryType::new(b'V'), "volume", "", b"")
            .file("a", "1");
        let mut base_256 = Tar::default().file("a", "1").end();
        base_256[124..128].copy_from_slice(&[0x80, 0, 0, 0]);
        base_256[128..136].copy_from_slice(&size.to_be_bytes());
        crate::odd_tars::repair_checksums(&mut base_256);
        for tar in [pax.end(), skipped.end(), base_256] {
            let error = apply(&store, &tar).unwrap_err();
            assert!(
                matches!(error, UnpackError::Tar(_) | UnpackError::Build(_)),
                "{size}: {error}"
            );
        }
    }
}

fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    match program {
        "gzip" => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::encode_all(bytes, 3).unwrap(),
    }
}

fn too_much(error: &UnpackError) -> TooMuch {
    TooMuch::among(error).unwrap_or_else(|| panic!("{error}: {:?}", error.source()))
}

/// Much of little is refused before it is on the disk, and what is only much is not.
#[test]
fn bombs_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let limit = UnpackLimit {
        bytes: 1_000_000,
        ratio: 20,
    };
    let store = Store::open(directory.path()).unwrap();
    let limited = LayerStore::with_limit(&store, limit);
    let zeros = "\0".repeat(3_000_000);
    let kinds = [
        ("a file", Tar::default().file("a", &zeros).end()),
        (
            "what follows",
            [Tar::default().end(), vec![0; 3_000_000]].concat(),
        ),
        (
            "what is skipped",
            Tar::default()
                .member(EntryType::new(b'V'), "v", "", zeros.as_bytes())
                .end(),
        ),
    ];
    for (what, tar) in &kinds {
        for program in ["gzip", "zstd"] {
            let blob = packed(program, tar);
            let diff_id = DiffId(Sha256::of(tar));
            let error = limited.apply(&*blob, None, diff_id).unwrap_err();
            let found = too_much(&error);
            assert_eq!(found.limit, limit, "{what} {program}");
            assert!(
                found.unpacked > 1_000_000 && found.unpacked < 2_500_000,
                "{found}"
            );
            let builder = limited.builder().unwrap();
            let (view, root) = (ParentView::default(), GuestPath::ROOT);
            let error = unpack_archive(&*blob, &builder, &view, &root, None).unwrap_err();
            assert_eq!(too_much(&error).limit, limit, "{what} {program}");
        }
        // Nothing of it remains.
        assert!(limited.list().unwrap().is_empty());
        limited
            .apply(&**tar, None, DiffId(Sha256::of(tar)))
            .unwrap();
        for id in limited.list().unwrap() {
            limited
                .discard(id, &kiln_cache::Trash::new(&store))
                .unwrap();
        }
    }
    let (_, tar) = &kinds[0];
    let unlimited = LayerStore::with_limit(&store, UnpackLimit::NONE);
    let blob = packed("gzip", tar);
    unlimited
        .apply(&*blob, None, DiffId(Sha256::of(tar)))
        .unwrap();
}

/// A name can speak of a thousand directories that no member is about.
#[test]
fn directories_that_are_only_there_for_a_name_count_as_what_they_take() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let deep = format!("{}f", "d/".repeat(1000));
    let tar = Tar::default()
        .pax(&[("path", deep.as_bytes())])
        .file("f", "x")
        .end();
    let apply = |bytes: u64| {
        let limit = UnpackLimit { bytes, ratio: 2 };
        let limited = LayerStore::with_limit(&store, limit);
        limited.apply(&*tar, None, DiffId(Sha256::of(&tar)))
    };
    assert_eq!(
        too_much(&apply(4_000_000).unwrap_err()).limit.bytes,
        4_000_000
    );
    apply(5_000_000).unwrap();
}

/// A header can speak of more than any disk holds.
#[test]
fn holes_count_before_they_are_made() {
    let (directory, store) = store();
    let petabytes = (1_u64 << 52).to_string();
    let tar = Tar::default()
        .pax(&[
            ("GNU.sparse.size", petabytes.as_bytes()),
            ("GNU.sparse.numblocks", b"1"),
            ("GNU.sparse.map", b"0,4"),
        ])
        .file("holes", "data")
        .end();
    let error = apply(&store, &tar).unwrap_err();
    assert_eq!(too_much(&error).limit, UnpackLimit::default());
    assert!(!directory.path().join("layers").exists());
}

/// OCI-022, and what else members can claim to be.
#[test]
fn members_that_no_root_can_hold() {
    let (_directory, store) = store();
    let long = "n".repeat(256);
    let value = vec![b'v'; 65_537];
    for (what, tar) in [
        (
            "a name",
            Tar::default()
                .pax(&[("path", long.as_bytes())])
                .file("a", ""),
        ),
        (
            "an attribute",
            Tar::default()
                .pax(&[("SCHILY.xattr.user.x", &value)])
                .file("a", ""),
        ),
        (
            "an attribute's name",
            Tar::default()
                .pax(&[(&format!("SCHILY.xattr.user.{long}"), b"v")])
                .file("a", ""),
        ),
        (
            "below a file",
            Tar::default().file("f", "").file("f/x/y", ""),
        ),
        (
            "below a device",
            Tar::default()
                .member(EntryType::Block, "b", "", b"")
                .file("b/x", ""),
        ),
        (
            "a link to nothing",
            Tar::default().hard_link("a", "/etc/shadow"),
        ),
        ("a link to itself", Tar::default().hard_link("a", "a")),
        (
            "a link to a directory",
            Tar::default().directory("d").hard_link("a", "d"),
        ),
        (
            "links in a ring",
            Tar::default().hard_link("a", "b").hard_link("b", "a"),
        ),
        ("a loop", Tar::default().symlink("l", "l/x").file("l/y", "")),
        ("hiding what is above", Tar::default().file("d/.wh...", "")),
        ("nothing hidden", Tar::default().file("d/.wh.", "")),
        (
            "a user that is none",
            Tar::default().pax(&[("uid", b"4294967295")]).file("a", ""),
        ),
        (
            "a group that is none",
            Tar::default().pax(&[("gid", b"4294967295")]).file("a", ""),
        ),
    ] {
        let error = apply(&store, &tar.end()).err();
        assert!(error.is_some(), "{what}");
    }
    assert!(store.list().unwrap().is_empty());
    let strange = Tar::default()
        .file(".wh..wh..opq", "")
        .file(".wh.etc", "")
        .file(".wh.etc", "")
        .file("../.wh.above", "")
        .directory("/")
        .file("d/../../.wh.x", "")
        .file("a", "1")
        .file("./a", "22")
        .file("//a", "333")
        .member(EntryType::Char, "null", "", b"")
        .directory(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", "of aufs")
        .file(".wh..wh.aufs", "")
        .symlink("link", "/");
    let layer = apply(&store, &strange.end()).unwrap();
    assert_eq!(
        listing(&layer),
        ["/!", "a 3", "-above", "-etc", "link -> /", "-null", "-x"]
    );
    assert!(layer.root().is_dir());
    // Hidden, and something in it hidden too.
    let twice = Tar::default().file(".wh.d", "").file("d/.wh.x", "");
    let layer = apply(&store, &twice.end()).unwrap();
    assert_eq!(listing(&layer), ["d/!?", "-d/x"]);
}

/// Overlayfs takes a character device 0:0 for a mark that hides a file. What is added to a layer as a
/// device was once one in the index and none in a RUN.
#[test]
fn a_device_that_looks_like_a_whiteout_is_not_added() {
    let tar = Tar::default().member(EntryType::Char, "etc/passwd", "", b"");
    let error = add(&["etc/", "etc/passwd=image"], "", &tar.end()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("etc/passwd is a character device 0:0"),
        "{error}"
    );
}

/// A window is taken into memory whole, though a few bytes ask for it.
#[test]
fn windows_have_a_limit() {
    let (_directory, store) = store();
    let tar = Tar::default().file("a", "1").end();
    let packed = |log: u8| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(&tar).unwrap();
        let mut packed = encoder.finish().unwrap();
        // RFC 8878, section 3.1.1.1: no single segment, so a window descriptor follows.
        assert_eq!(packed[4] & 0x20, 0);
        packed[5] = (log - 10) << 3;
        packed
    };
    let apply = |log: u8| store.apply(&*packed(log), None, DiffId(Sha256::of(&tar)));
    for log in [28, 31, 41] {
        let error = apply(log).unwrap_err();
        let mut causes = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        let causes = causes.join(": ");
        assert!(causes.contains("more than 128 MiB"), "{log}: {causes}");
    }
    apply(27).unwrap();
}
