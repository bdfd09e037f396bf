//! The canonical tar, read back by others.

use std::io::Write as _;
use std::process::{Command, Stdio};

use kiln_oci::{DiffId, Sha256};
use kiln_snapshotter::{LayerError, TarOrigin};

use crate::sample::{Root, everything, layer, store};

fn tar_of(layer: &kiln_snapshotter::Layer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = layer.write_tar(&mut bytes).unwrap();
    assert_eq!(written.diff_id, DiffId(Sha256::of(&bytes)));
    assert_eq!(written.size_bytes, bytes.len() as u64);
    assert_eq!(written.origin, TarOrigin::Canonical);
    bytes
}

/// Runs a program with `input` and returns what it prints, or none if there is no such program.
fn output_of(program: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_empty_layer_is_two_blocks() {
    let (_directory, store) = store();
    let empty = store.empty().unwrap();
    assert_eq!(tar_of(&empty), [0; 1024]);
    assert_eq!(empty.diff_id().unwrap(), DiffId::EMPTY);
}

/// A change here changes the diff id of every layer that anybody builds again.
#[test]
fn the_bytes_are_frozen() {
    let (_directory, store) = store();
    let bytes = tar_of(&everything(&store));
    assert_eq!(
        Sha256::of(&bytes).to_string(),
        "sha256:2ee453f1af22dfbea42236c62b6d85d5acb6a9242e3e07ce9384e0a359afe771"
    );
}

#[test]
fn python_reads_what_the_index_says() {
    let (_directory, store) = store();
    let bytes = tar_of(&everything(&store));
    let script = r"
import sys, tarfile
for m in tarfile.open(fileobj=sys.stdin.buffer, mode='r|'):
    kind = m.type.decode()
    x = {k: v for k, v in m.pax_headers.items() if k.startswith('SCHILY.xattr')}
    name = m.name if len(m.name) < 40 else '%s+%d' % (m.name[:5], len(m.name))
    link = m.linkname if len(m.linkname) < 40 else '%s+%d' % (m.linkname[:4], len(m.linkname))
    print(kind, name, '%o' % m.mode, m.uid, m.gid, m.size, int(m.mtime), link, m.devmajor, m.devminor, sorted(x), end=m.uname + m.gname + '\n')
";
    let Some(listing) = output_of("python3", &["-c", script], &bytes) else {
        println!("skipped: no python3");
        return;
    };
    let expected = "\
0 a 644 0 0 9 1700000000  0 0 []
5 b 755 0 0 0 1700000000  0 0 []
0 b/empty 644 0 0 0 1700000000  0 0 []
1 b/file 644 0 0 0 1700000000 a 0 0 []
5 deep 755 0 0 0 1700000000  0 0 []
5 deep/+125 755 0 0 0 1700000000  0 0 []
0 deep/+225 644 0 0 26 1700000000  0 0 []
0 deep/+326 644 0 0 18 1700000000  0 0 []
4 disk 660 0 0 0 1700000000  259 70000 []
5 fresh 755 0 0 0 1700000000  0 0 []
0 fresh/.wh..wh..opq 0 0 0 0 0  0 0 []
0 fresh/y 644 0 0 1 1700000000  0 0 []
5 gone 755 0 0 0 1700000000  0 0 []
0 gone/.wh.x 0 0 0 0 0  0 0 []
2 link 777 0 0 0 1700000000 b/file 0 0 []
2 long 777 0 0 0 1700000000 t/t/+160 0 0 []
3 null 666 0 0 0 1700000000  1 3 []
6 pipe 600 0 0 0 1700000000  0 0 []
0 special 4755 3000000000 2097152 100000 -7  0 0 ['SCHILY.xattr.security.capability', 'SCHILY.xattr.user.note']
5 tmp 1777 1000 2097151 0 8589934592  0 0 []
5 z 755 0 0 0 1700000000  0 0 []
1 z/hard 644 0 0 0 1700000000 a 0 0 []
1 z/long 644 0 0 0 1700000000 b/empty 0 0 []
";
    assert_eq!(listing, expected);
}

#[test]
fn gnu_tar_reads_what_the_index_says() {
    let (_directory, store) = store();
    let bytes = tar_of(&everything(&store));
    let Some(listing) = output_of(
        "tar",
        &["--xattrs", "--numeric-owner", "-tvvf", "-"],
        &bytes,
    ) else {
        println!("skipped: no tar");
        return;
    };
    for line in [
        "lrwxrwxrwx 0/0 0 2023-11-14 22:13 link -> b/file",
        "hrw-r--r-- 0/0 0 2023-11-14 22:13 z/hard link to a",
        "brw-rw---- 0/0 259,70000 2023-11-14 22:13 disk",
        "-rwsr-xr-x* 3000000000/2097152 100000 1969-12-31 23:59 special",
        "drwxrwxrwt 1000/2097151 0 2242-03-16 12:56 tmp/",
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            listing.lines().any(|found| words(found).starts_with(line)),
            "{line}\nis not in\n{listing}"
        );
    }
}

#[test]
fn many_files_come_in_order() {
    let (_directory, store) = store();
    let lines: Vec<String> = (0..2000)
        .map(|number| format!("{number:04}={}", "x".repeat(number * 3 % 5000)))
        .chain([format!("big={}", "y".repeat(3_000_000))])
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let bytes = tar_of(&layer(&store, &lines));
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut count = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = String::new();
        std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
        let expected = match name.as_str() {
            "big" => "y".repeat(3_000_000),
            number => "x".repeat(number.parse::<usize>().unwrap() * 3 % 5000),
        };
        assert_eq!(content, expected, "{name}");
        count += 1;
    }
    assert_eq!(count, 2001);
}

#[test]
fn diff_ids_are_remembered_and_found() {
    let (directory, store) = store();
    let made = layer(&store, &["a=1"]);
    let id = made.id();
    assert_eq!(made.facts().unwrap().diff_id(), None);
    let diff_id = made.diff_id().unwrap();
    assert_eq!(made.facts().unwrap().diff_id(), Some(diff_id));
    drop((made, store));
    let again =
        kiln_snapshotter::LayerStore::new(&kiln_cache::Store::open(directory.path()).unwrap());
    let found = again.by_diff_id(diff_id).unwrap();
    assert_eq!((found.id(), found.diff_id().unwrap()), (id, diff_id));
    assert_eq!(again.by_diff_id(DiffId::EMPTY), None);
}

#[test]
fn changed_files_are_noticed() {
    let (_directory, store) = store();
    let made = layer(&store, &["a=1"]);
    std::fs::write(made.root().join("a"), "22").unwrap();
    let error = made.diff_id().unwrap_err();
    assert!(matches!(error, LayerError::Changed { .. }), "{error}");
}

type Change = dyn Fn(&mut Vec<String>);

/// Forty files of 300 KB, each of its own content.
fn large(change: &Change) -> Vec<String> {
    let mut lines = vec!["d/".to_owned()];
    for number in 0..40 {
        let content = format!("{number} ").repeat(100_000);
        lines.push(format!("d/f{number:02}={content}"));
    }
    change(&mut lines);
    lines
}

#[test]
fn a_digest_goes_on_where_an_earlier_layer_differs() {
    let (_directory, store) = store();
    let made = |change: &Change| {
        let lines = large(change);
        layer(
            &store,
            &lines.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    };
    let mut earlier = made(&|_| ());
    let whole = earlier.canonical_tar().unwrap();
    assert_eq!(whole, earlier.write_tar(&mut std::io::sink()).unwrap());
    let changes: [&Change; 6] = [
        &|lines| lines[40] = "d/f39=other".to_owned(),
        &|lines| lines[20] = "d/f19=other".to_owned(),
        &|lines| lines[1] = "d/f00=other".to_owned(),
        &|lines| drop(lines.remove(30)),
        &|lines| lines.push("d/f25a=new".to_owned()),
        &|lines| lines.push("z hard=d/f25".to_owned()),
    ];
    for change in changes {
        let layer = made(change);
        store.note_likeness(&layer, earlier.id());
        let digest = layer.canonical_tar().unwrap();
        let expected = layer.write_tar(&mut std::io::sink());
        assert_eq!(digest, expected.unwrap());
        earlier = layer;
    }
    // What both begin with is not read again.
    let layer = made(&|lines| lines.push("zz=new".to_owned()));
    store.note_likeness(&layer, earlier.id());
    let expected = layer.write_tar(&mut std::io::sink());
    std::fs::remove_file(layer.root().join("d/f03")).unwrap();
    assert_eq!(layer.canonical_tar().unwrap(), expected.unwrap());
}

#[test]
fn states_of_another_implementation_are_not_used() {
    let (_directory, store) = store();
    let lines = large(&|_| ());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let earlier = layer(&store, &lines);
    earlier.canonical_tar().unwrap();
    let states = earlier.root().with_file_name("states");
    let text = std::fs::read_to_string(&states).unwrap();
    let (sample, rest) = text.split_once('\n').unwrap();
    assert!(rest.lines().count() > 3);
    // The right form, and the wrong states.
    let wrong = rest.replace('3', "4");
    let texts = [
        format!("0{sample}\n{wrong}"),
        rest.to_owned(),
        String::new(),
    ];
    for (number, text) in texts.into_iter().enumerate() {
        std::fs::write(&states, text).unwrap();
        let added = format!("zz={number}");
        let layer = layer(&store, &[&lines[..], &[&added]].concat());
        store.note_likeness(&layer, earlier.id());
        let expected = layer.write_tar(&mut std::io::sink());
        assert_eq!(layer.canonical_tar().unwrap(), expected.unwrap());
    }
}
