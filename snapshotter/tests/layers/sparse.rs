//! Files with holes, in every way that GNU tar packs them.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use kiln_files::GuestPath;
use kiln_snapshotter::{ParentView, unpack_archive};

use crate::odd_tars::{Tar, apply};
use crate::sample::{Root, listing, path, store};

/// Files with many holes, one, nothing else, and none; with a name that needs a record.
fn sample(source: &Path) -> Vec<String> {
    let long = "n".repeat(180);
    let files = [
        ("many", 30, 20_000_000),
        (&long, 1, 100_000),
        ("only", 0, 5_000_000),
    ];
    for (name, parts, length) in files {
        let file = fs::File::create(source.join(name)).unwrap();
        file.set_len(length).unwrap();
        for number in 0..parts {
            file.write_at(b"data", number * 600_000 + 7).unwrap();
        }
    }
    fs::write(source.join("plain"), "no hole").unwrap();
    let mut names = ["many", &long, "only", "plain"]
        .map(ToOwned::to_owned)
        .to_vec();
    names.sort();
    names
}

/// Returns how much room a file takes.
fn takes_bytes(file: &Path) -> u64 {
    fs::metadata(file).unwrap().blocks() * 512
}

/// A layer's tar says nothing of holes: what it spells out in zeros takes no room all the same.
#[test]
fn zeros_take_no_room() {
    let (directory, store) = store();
    let probe = fs::File::create(directory.path().join("probe")).unwrap();
    probe.set_len(1 << 20).unwrap();
    if probe.metadata().unwrap().blocks() > 0 {
        println!("skipped: the file system has no holes");
        return;
    }
    let content = format!("{}end{}", "\0".repeat(8 << 20), "\0".repeat(1 << 20));
    let tar = Tar::default().file("f", &content).end();
    let layer = apply(&store, &tar).unwrap();
    let here = layer.root().join("f");
    assert!(takes_bytes(&here) <= 256 << 10, "{}", takes_bytes(&here));
    assert!(fs::read(&here).unwrap() == content.as_bytes());
    // And comes out of it as it went in.
    let mut packed = Vec::new();
    layer.write_tar(&mut packed).unwrap();
    let again = apply(&crate::sample::store().1, &packed).unwrap();
    assert!(again.id() == layer.id());
}

#[test]
fn gnu_tar_packs_holes() {
    let (directory, store) = store();
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    let names = sample(&source);
    for format in ["gnu", "0.0", "0.1", "1.0"] {
        let mut command = Command::new("tar");
        match format {
            "gnu" => command.arg("--format=gnu"),
            version => command
                .arg("--format=posix")
                .arg(format!("--sparse-version={version}")),
        };
        command.args(["--sparse", "--hole-detection=raw", "-cf", "-", "-C"]);
        let Ok(output) = command.arg(&source).args(&names).output() else {
            println!("skipped: no tar");
            return;
        };
        assert!(output.status.success(), "{format}: {output:?}");
        assert!(
            output.stdout.len() < 1_000_000,
            "{format}: holes were packed"
        );
        let layer = apply(&store, &output.stdout).unwrap();
        let builder = store.builder().unwrap();
        builder
            .add_directory(&path("d"), &crate::sample::plain(0o755))
            .unwrap();
        let (view, destination) = (ParentView::default(), GuestPath::new("d"));
        unpack_archive(&*output.stdout, &builder, &view, &destination, None).unwrap();
        let added = builder.finish().unwrap();
        // However it was packed: most of "many" are holes, and "only" is nothing else.
        let has_holes = takes_bytes(&source.join("only")) == 0;
        for name in &names {
            let here = layer.root().join(name);
            let most = fs::metadata(source.join(name)).unwrap().len() / 4;
            if has_holes && ["many", "only"].contains(&name.as_str()) {
                assert!(takes_bytes(&here) < most, "{format} {name}");
                let added = added.root().join("d").join(name);
                assert!(takes_bytes(&added) < most, "{format} {name}");
            }
            let expected = fs::read(source.join(name)).unwrap();
            assert!(
                fs::read(layer.root().join(name)).unwrap() == expected,
                "{format} {name}"
            );
            assert!(
                fs::read(added.root().join("d").join(name)).unwrap() == expected,
                "{format} {name}"
            );
        }
        assert_eq!(layer.tree().unwrap().len(), names.len(), "{format}");
    }
}

#[test]
fn maps_have_to_fit_their_files() {
    let (_directory, store) = store();
    let pax = |records: &[(&str, &[u8])], content: &str| {
        let tar = Tar::default()
            .pax(records)
            .file("GNUSparseFile.0/f", content)
            .end();
        apply(&store, &tar).map(|layer| listing(&layer)).ok()
    };
    let old = |map: &'static str, size: &'static str| {
        [
            ("GNU.sparse.major", &b"0"[..]),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.name", b"f"),
            ("GNU.sparse.numblocks", b"1"),
            ("GNU.sparse.map", map.as_bytes()),
            ("GNU.sparse.size", size.as_bytes()),
        ]
    };
    assert_eq!(pax(&old("3,1", "9"), "x"), Some(vec!["f 9".to_owned()]));
    for (map, size, content) in [
        ("3,1", "3", "x"),
        ("3,2", "9", "x"),
        ("3,1", "9", "xy"),
        ("3", "9", "x"),
        ("3,1,4,0", "9", "x"),
        ("3,-1", "9", "x"),
        ("18446744073709551615,1", "9", "x"),
        ("3,1", "x", "x"),
    ] {
        assert_eq!(
            pax(&old(map, size), content),
            None,
            "{map} {size} {content}"
        );
    }
    let new = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"f"),
        ("GNU.sparse.realsize", b"9"),
    ];
    let map = |text: &str, data: &str| format!("{text}{}{data}", "\0".repeat(512 - text.len()));
    assert_eq!(
        pax(&new, &map("1\n3\n1\n", "x")),
        Some(vec!["f 9".to_owned()])
    );
    for content in [
        map("1\n3\n1\n", ""),
        map("1\n3\n", "x"),
        map("2\n3\n1\n3\n0\n", "x"),
        map("99999999999999999999\n", "x"),
        map("4611686018427387904\n", "x"),
        "1\n3\n1\n".to_owned(),
    ] {
        assert_eq!(pax(&new, &content), None, "{content:?}");
    }
}
