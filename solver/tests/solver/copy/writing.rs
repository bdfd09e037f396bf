//! What copied files are like: owners, modes, times, links, holes.

use std::fs;
use std::os::unix::fs::symlink;

use kiln_oci::Timestamp;

use super::bench::Bench;

/// DF-127, DF-128, DF-129, DF-130, DF-131, DF-132, DF-134.
#[test]
fn owners_and_modes_come_from_flags_or_sources() {
    let bench = Bench::new(&["f", "d/g"]);
    bench.write("etc/passwd", "root:x:0:0::/:/bin/sh\nme:x:7:8::/:/bin/sh\n");
    bench.write("etc/group", "root:x:0:\ngrp:x:9:me\n");
    let owned = |owner: &str| {
        let built = bench.build(&format!("COPY etc /etc\nCOPY --chown={owner} f /o/p"));
        built.lines[3..].join(", ")
    };
    assert_eq!(owned("5"), "o/ 755 5:5, o/p 644 5:5 \"f\"");
    assert_eq!(owned("me"), "o/ 755 7:8, o/p 644 7:8 \"f\"");
    assert_eq!(owned(":grp"), "o/ 755 0:9, o/p 644 0:9 \"f\"");
    assert_eq!(owned("me:grp"), "o/ 755 7:9, o/p 644 7:9 \"f\"");
    assert_eq!(owned("nosuch"), "o/ 755, o/p 644 \"f\"");
    // A group that is not known leaves that of the user.
    assert_eq!(owned("me:nosuch"), "o/ 755 7:8, o/p 644 7:8 \"f\"");
    assert_eq!(owned("5:nosuch"), "o/ 755 5:5, o/p 644 5:5 \"f\"");
    bench.check(
        "COPY --chmod=600 f /m/e/f",
        &["m/ 600", "m/e/ 600", "m/e/f 600 \"f\""],
    );
    bench.check("COPY --chmod=u+x,g-r f /m/f", &["m/ 755", "m/f 704 \"f\""]);
    bench.check("COPY --chmod=4755 f /f", &["f 4755"]);
    bench.mode("d", 0o700);
    bench.mode("d/g", 0o400);
    bench.check("COPY d /o", &["o/ 755", "o/g 400 \"d/g\""]);
    bench.check(
        "COPY --chmod=751 . /o\n",
        &[
            "o/ 751",
            "o/d/ 751",
            "o/d/g 751 \"d/g\"",
            "o/etc/ 751",
            "o/etc/group 751 \"root:x:0:\\ngrp:x:9:me\\n\"",
            "o/etc/passwd 751 \"root:x:0:0::/:/bin/sh\\nme:x:7:8::/:/bin/sh\\n\"",
            "o/f 751 \"f\"",
        ],
    );
}

/// DF-135.
#[test]
fn files_and_directories_do_not_replace_each_other() {
    let bench = Bench::new(&["d/x", "x/y", "f"]);
    bench.fails("COPY f /o\nCOPY d /o", "cannot copy to non-directory: /o");
    bench.fails(
        "COPY x /o/x\nCOPY d /o",
        "cannot replace to directory /o/x with file",
    );
    bench.fails("COPY f /o\nCOPY f /o/p", "cannot copy to non-directory: /o");
    bench.check("COPY f /o\nCOPY d/x /o", &["o 644 \"d/x\""]);
}

/// DF-126, DF-136, DF-160 and section 7.3.
#[test]
fn copies_between_stages_keep_owners_and_hard_links() {
    let bench = Bench::new(&["t/a"]);
    fs::hard_link(bench.path("t/a"), bench.path("t/b")).unwrap();
    fs::create_dir(bench.path("t/c")).unwrap();
    fs::hard_link(bench.path("t/a"), bench.path("t/c/d")).unwrap();
    bench.check(
        "COPY t /o",
        &[
            "o/ 755",
            "o/a 644 \"t/a\"",
            "o/b = o/a",
            "o/c/ 755",
            "o/c/d = o/a",
        ],
    );
    bench.check("COPY t/b /o", &["o 644 \"t/a\""]);
    bench.check(
        "COPY --chown=3:4 t /o\nFROM scratch\nCOPY --from=0 /o/c /n\nCOPY --from=0 /o /m",
        &[
            "m/ 755",
            "m/a 644 3:4 \"t/a\"",
            "m/b = m/a",
            "m/c/ 755 3:4",
            "m/c/d = m/a",
            "n/ 755",
            "n/d 644 3:4 \"t/a\"",
        ],
    );
}

/// Directories that had to be made in an empty root used to be of 1970, which archives such as zip
/// refuse. A copied directory has the time of its source, and what the Dockerfile holds that of the
/// build.
#[test]
fn made_directories_are_never_of_1970() {
    let bench = Bench::new(&["d/e/f"]);
    let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let set = |path: &str, seconds| {
        let file = fs::File::open(bench.path(path)).unwrap();
        file.set_modified(at(seconds)).unwrap();
    };
    set("d/e", 1_100_000_000);
    set("d", 1_200_000_000);
    let begun = Timestamp::now().seconds;
    let built = bench.build(
        "WORKDIR /w/v\nCOPY d /made/here\nCOPY d/e/f /one/two\nCOPY <<EOF /three/four\nhi\nEOF\n\
         COPY . /all\nCOPY <<EOF /made/here/five\nhi\nEOF\nADD d/e/f /added/f",
    );
    let time = |path: &str| {
        let entry = built.view.get(&kiln_files::GuestPath::new(path));
        entry.unwrap().mtime.seconds
    };
    for path in ["w", "w/v", "made", "one", "three", "all", "added"] {
        assert!(time(path) > 400_000_000, "{path} {}", time(path));
    }
    assert_eq!(time("made/here"), 1_200_000_000);
    assert_eq!(time("made/here/e"), 1_100_000_000);
    assert_eq!(time("all/d"), 1_200_000_000);
    let now = begun..=Timestamp::now().seconds;
    for path in ["three/four", "made/here/five"] {
        assert!(now.contains(&time(path)), "{path} {}", time(path));
    }
}

/// A socket that a COPY named was not found.
#[test]
fn sockets_become_empty_files() {
    let bench = Bench::new(&["d/f"]);
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("d/socket")).unwrap();
    bench.mode("d/socket", 0o700);
    bench.check("COPY d/socket /s", &["s 700 \"\""]);
    let all = ["o/ 755", "o/f 644 \"d/f\"", "o/socket 700 \"\""];
    bench.check("COPY d /o", &all);
    bench.check("COPY d /o", &all);
}

/// DF-032, DF-033, DF-035, DF-046.
#[test]
fn heredocs_are_files() {
    let bench = Bench::new(&["f"]);
    bench.check(
        "ENV V=w\nCOPY f <<one <<\"two\" /o/\na\\nb $V\none\n$V\\n\ntwo",
        &[
            "o/ 755",
            "o/f 644 \"f\"",
            "o/one 644 \"anb w\\n\"",
            "o/two 644 \"$V\\\\n\\n\"",
        ],
    );
    bench.check("COPY <<EOF /x\nhi\nEOF", &["x 644 \"hi\\n\""]);
}

/// DF-142, DF-143, DF-144, DF-145, and sources in their order around an archive.
#[test]
fn archives_are_unpacked_by_add_alone() {
    let bench = Bench::new(&["in/a", "in/b"]);
    let status = std::process::Command::new("tar")
        .args(["--owner=5", "--group=6", "-czf"])
        .arg(bench.path("archive"))
        .arg("-C")
        .arg(bench.path("in"))
        .args(["a", "b"])
        .status()
        .unwrap();
    assert!(status.success());
    bench.check(
        "ADD archive /o",
        &["o/ 755", "o/a 644 5:6 \"in/a\"", "o/b 644 5:6 \"in/b\""],
    );
    bench.check(
        "ADD --chown=1:2 --chmod=600 archive /o",
        &["o/ 600 1:2", "o/a 644 1:2 \"in/a\"", "o/b 644 1:2 \"in/b\""],
    );
    bench.write("a", "mine");
    bench.check(
        "ADD archive a /o/",
        &["o/ 755", "o/a 644 \"mine\"", "o/b 644 5:6 \"in/b\""],
    );
    bench.check(
        "ADD a archive /o/",
        &["o/ 755", "o/a 644 5:6 \"in/a\"", "o/b 644 5:6 \"in/b\""],
    );
    for instruction in ["COPY archive /o", "ADD --unpack=false archive /o"] {
        let built = bench.build(instruction);
        assert_eq!(built.lines, ["o 644"], "{instruction}");
    }
}

/// Sparse files are copied as such, whichever way they come and however large they are.
#[test]
fn holes_are_kept() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let bench = Bench::new(&[]);
    let lengths = [
        ("small", 200 << 10),
        ("medium", 4 << 20),
        ("large", 40 << 20),
    ];
    for (name, length) in lengths {
        let file = fs::File::create(bench.path(name)).unwrap();
        file.set_len(length).unwrap();
        if file.metadata().unwrap().blocks() > 0 {
            println!("skipped: the file system has no holes");
            return;
        }
        file.write_all_at(b"middle", length / 2).unwrap();
    }
    let status = std::process::Command::new("tar")
        .arg("-cf")
        .arg(bench.path("archive"))
        .arg("-C")
        .arg(bench.path(""))
        .args(lengths.map(|(name, _)| name))
        .status();
    assert!(status.unwrap().success());
    for text in [
        "COPY small medium large /",
        "COPY --chmod=600 small medium large /d/\nFROM scratch\nCOPY --from=0 --chown=7 /d /",
        "ADD small medium large /",
        "ADD archive /",
    ] {
        let built = bench.build(text);
        for (name, length) in lengths {
            let found = built.view.find(&kiln_files::GuestPath::new(name)).unwrap();
            let copied = built.view.host_path(&found).unwrap();
            let blocks = fs::metadata(&copied).unwrap().blocks();
            assert!(
                blocks * 512 <= 128 << 10,
                "{text}: {name} takes {blocks} blocks"
            );
            let mut expected = vec![0; usize::try_from(length).unwrap()];
            let middle = expected.len() / 2;
            expected[middle..middle + 6].copy_from_slice(b"middle");
            assert!(fs::read(&copied).unwrap() == expected, "{text}: {name}");
        }
    }
}

/// DF-141.
#[test]
fn linked_copies_do_not_look_below() {
    let bench = Bench::new(&["f", "l/x"]);
    symlink("/elsewhere", bench.path("l/o")).unwrap();
    bench.fails("COPY --link --chown=me f /f", "invalid user index: -1");
    bench.check("COPY --link --chown=3:4 f /f", &["f 644 3:4"]);
    let built = bench.build("COPY l /\nCOPY --link f /o/f");
    assert_eq!(built.lines, ["o/ 755", "o/f 644 \"f\"", "x 644 \"l/x\""]);
}

#[test]
fn destination_longer_than_paths_can_be_is_refused_and_the_longest_is_made() {
    let bench = Bench::new(&["f"]);
    let start = format!("/{}", "a/".repeat(29));
    let message = format!("file name too long: {start}a… has more than 4095 bytes");
    for instruction in ["WORKDIR", "COPY f"] {
        for components in [2049, 5000] {
            let path = format!("/{}", "a/".repeat(components));
            bench.fails(&format!("{instruction} {path}"), &message);
        }
    }
    let built = bench.build(&format!("COPY f /{}", "a/".repeat(2000)));
    assert_eq!(built.lines.len(), 2001);
}
