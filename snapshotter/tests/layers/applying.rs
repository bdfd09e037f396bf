//! Foreign layers and archives.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use kiln_files::GuestPath;
use kiln_oci::{Compression, DiffId, Sha256};
use kiln_snapshotter::{
    Layer, LayerStore, Owner, ParentView, TarOrigin, TimeClamp, UnpackError, is_archive,
    unpack_archive,
};
use tar::{EntryType, Header};

use crate::sample::{Root, everything, layer, listing, path, plain, store};

/// A tar written member by member, as nobody sane would write it.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn member(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        let mode = if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        };
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.data(content)
    }

    pub(crate) fn data(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.member(EntryType::Regular, name, "", content.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.member(EntryType::Directory, name, "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name, target, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Link, name, target, b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|n| *n == rest + n.to_string().len()).unwrap();
            write!(data, "{length} {key}=").unwrap();
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.member(EntryType::XHeader, "pax", "", &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub(crate) fn apply(store: &LayerStore, tar: &[u8]) -> Result<Layer, UnpackError> {
    store.apply(tar, None, DiffId(Sha256::of(tar)))
}

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
    let tar = sample.write_tar(&mut bytes, TimeClamp::None).unwrap();
    let layer = apply(&store_of_two, &bytes).unwrap();
    // Not only what it says: the name that kiln gives it is the same on every machine.
    assert_eq!(layer, sample);
    assert_eq!(listing(&layer), listing(&sample));
    let mut again = Vec::new();
    layer.write_tar(&mut again, TimeClamp::None).unwrap();
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

/// docs/spec/dockerfile.md 7.7.
#[test]
fn archives_of_every_compression_are_added() {
    let (_directory, store) = store();
    let tar = Tar::default().file("a", &"text ".repeat(1000)).end();
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let child = std::process::Command::new(program)
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            println!("skipped: no {program}");
            continue;
        };
        child.stdin.take().unwrap().write_all(&tar).unwrap();
        let packed = child.wait_with_output().unwrap().stdout;
        assert!(packed.len() < tar.len() / 2);
        assert!(is_archive(&*packed), "{program}");
        let twice = [&*packed, &*packed].concat();
        for stream in [&packed, &twice] {
            let builder = store.builder().unwrap();
            let view = ParentView::default();
            unpack_archive(&**stream, &builder, &view, &GuestPath::ROOT, None).unwrap();
            assert_eq!(listing(&builder.finish().unwrap()), ["a 5000"], "{program}");
        }
        let builder = store.builder().unwrap();
        let cut = &packed[..packed.len() / 2];
        let root = GuestPath::ROOT;
        unpack_archive(cut, &builder, &ParentView::default(), &root, None).unwrap_err();
    }
}

/// What GNU tar writes in its own format: base-256 numbers, long names, holes.
#[test]
fn gnu_tars_are_read() {
    let (directory, store) = store();
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    let long = "n".repeat(180);
    fs::write(source.join(&long), "long name").unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(20_000_000).unwrap();
    for number in 0..30_u64 {
        use std::os::unix::fs::FileExt as _;
        sparse.write_at(b"data", number * 600_000 + 7).unwrap();
    }
    std::os::unix::fs::symlink(&long, source.join("link")).unwrap();
    let output = std::process::Command::new("tar")
        .args([
            "--format=gnu",
            "--sparse",
            "--owner=:3000000000",
            "--numeric-owner",
        ])
        .args(["--mtime=@-5", "--sort=name", "-cf", "-", "-C"])
        .arg(&source)
        .arg(".")
        .output();
    let Ok(output) = output else {
        println!("skipped: no tar");
        return;
    };
    assert!(output.status.success());
    let layer = apply(&store, &output.stdout).unwrap();
    let expected = [
        "/".to_owned(),
        format!("link -> {long}"),
        format!("{long} 9"),
        "sparse 20000000".into(),
    ];
    assert_eq!(listing(&layer), expected);
    let tree = layer.tree().unwrap();
    let entry = tree.get(b"sparse").unwrap();
    assert_eq!((entry.uid, entry.mtime.seconds), (3_000_000_000, -5));
    let root = layer.root();
    let same = fs::read(root.join("sparse")).unwrap() == fs::read(source.join("sparse")).unwrap();
    assert!(same);
}

#[test]
fn archives_are_added_into_a_root() {
    let (_directory, store) = store();
    let base = layer(
        &store,
        &["usr/", "usr/bin/", "usr/bin/old=", "bin->usr/bin", "f="],
    );
    let view = ParentView::new(&[base]).unwrap();
    let tar = Tar::default()
        .file("bin/tool", "1")
        .file("../escape", "1")
        .file(".wh.f", "literal")
        .file("new/deep/x", "1")
        .end();
    assert!(is_archive(&*tar));
    let builder = store.builder().unwrap();
    let owner = Some(Owner { uid: 7, gid: 8 });
    unpack_archive(&*tar, &builder, &view, &GuestPath::ROOT, owner).unwrap();
    let made = builder.finish().unwrap();
    assert_eq!(
        listing(&made),
        [
            ".wh.f 7",
            "escape 1",
            "new/",
            "new/deep/",
            "new/deep/x 1",
            "usr/",
            "usr/bin/",
            "usr/bin/tool 1"
        ]
    );
    let tree = made.tree().unwrap();
    let owner = |path: &[u8]| tree.get(path).map(|entry| (entry.uid, entry.gid)).unwrap();
    assert_eq!(owner(b"new"), (7, 8));
    assert_eq!(owner(b"usr/bin/tool"), (7, 8));
    assert_eq!(owner(b"usr"), (0, 0));

    let builder = store.builder().unwrap();
    builder.add_directory(&path("srv"), &plain(0o755)).unwrap();
    unpack_archive(&*tar, &builder, &view, &path("srv"), None).unwrap();
    let made = builder.finish().unwrap();
    assert!(listing(&made).contains(&"srv/escape 1".to_owned()));
    for text in [&b""[..], b"no tar", &[0; 2048], &[b'x'; 4096]] {
        assert!(!is_archive(text));
    }
}

/// OCI-022, by chance: damaged archives are refused or unpacked, and never reach outside.
#[test]
fn damaged_archives_do_no_harm() {
    let (directory, store) = store();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let climbing = format!("{}{}/gnu\0", "../".repeat(20), outside.display());
    let sample = Tar::default()
        .pax(&[
            ("path", b"../../long/name"),
            ("SCHILY.xattr.user.x", b"1\n2"),
        ])
        .file("a", "some content")
        .symlink("out", outside.to_str().unwrap())
        .file("out/x", "1")
        .directory("d/")
        .hard_link("d/h", "long/name")
        .file("d/.wh.y", "")
        .member(EntryType::GNULongName, "l", "", climbing.as_bytes())
        .file("b", &"b".repeat(2000))
        .symlink("d/e", "..")
        .file("d/e/out/y", "")
        .end();
    apply(&store, &sample).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let (mut accepted, rounds) = (0, 300);
    for _ in 0..rounds {
        let mut tar = sample.clone();
        for _ in 0..=random(3) {
            let at = random(tar.len());
            match random(4) {
                0 => tar[at] = u8::try_from(random(256)).unwrap(),
                1 => tar[at] = b"/.0\0"[random(4)],
                2 => drop(
                    tar.drain(
                        at..(at + random(600))
                            .min(sample.len() - 1)
                            .max(at)
                            .min(tar.len()),
                    ),
                ),
                _ => {
                    let block = at / 512 * 512;
                    let copy = tar[block..(block + 512).min(tar.len())].to_vec();
                    tar.splice(block..block, copy);
                }
            }
            if tar.is_empty() {
                break;
            }
        }
        mend_checksums(&mut tar);
        if let Ok(layer) = apply(&store, &tar) {
            accepted += 1;
            layer
                .write_tar(&mut std::io::sink(), TimeClamp::None)
                .unwrap();
        }
    }
    assert!(accepted > rounds / 20, "only {accepted} were accepted");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    let expected = ["diffs", "format", "layers", "lock", "outside", "work"];
    assert_eq!(names, expected.map(std::ffi::OsString::from));
}

/// Makes what looks like a header pass for one, so that damage gets further than the checksum.
pub(crate) fn mend_checksums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            let header = Header::from_byte_slice(block);
            let mut header = header.clone();
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
}
