//! Archives that are added into a root.

use std::fs;
use std::io::Write as _;

use kiln_files::GuestPath;
use kiln_snapshotter::{Owner, ParentView, is_archive, unpack_archive};
use tar::EntryType;

use crate::odd_tars::{Tar, apply, repair_checksums};
use crate::sample::{Root, layer, listing, path, plain, store};

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
        repair_checksums(&mut tar);
        if let Ok(layer) = apply(&store, &tar) {
            accepted += 1;
            layer.write_tar(&mut std::io::sink()).unwrap();
        }
    }
    assert!(accepted > rounds / 20, "only {accepted} were accepted");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    let expected = [
        "diffs", "format", "layers", "leases", "lock", "outside", "work",
    ];
    assert_eq!(names, expected.map(std::ffi::OsString::from));
}
