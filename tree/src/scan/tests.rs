use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use std::path::PathBuf;

use super::*;
use crate::Blake3;
use crate::tree::NodeKind;

struct Fixture {
    directory: tempfile::TempDir,
    index: StatIndex,
    now: i64,
}

impl Fixture {
    fn new(files: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        Self {
            directory,
            index: StatIndex::default(),
            // Far enough in the future for everything to be settled.
            now: Timestamp::now().seconds + 1000,
        }
    }

    fn scan(&mut self, wanted: &[&str]) -> Scan {
        self.scan_filtered(wanted, &Everything)
    }

    fn scan_filtered<F: Filter>(&mut self, wanted: &[&str], filter: &F) -> Scan {
        let wanted: Vec<GuestPath> = wanted.iter().map(GuestPath::new).collect();
        let now = Timestamp::from_seconds(self.now);
        let previous = self.index.clone();
        let scan = scan(
            self.directory.path(),
            &wanted,
            filter,
            previous,
            now,
            &Stop::default(),
        )
        .unwrap();
        if let Some(index) = &scan.index {
            self.index = index.clone();
        }
        scan
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}

fn paths(scan: &Scan) -> Vec<String> {
    scan.tree
        .iter()
        .map(|entry| String::from_utf8_lossy(entry.path).into_owned())
        .collect()
}

#[test]
fn a_second_scan_reads_nothing() {
    let mut fixture = Fixture::new(&["a", "b/c", "b/d/e"]);
    let first = fixture.scan(&["/"]);
    assert_eq!(paths(&first), ["a", "b", "b/c", "b/d", "b/d/e"]);
    assert!(first.index.is_some());
    let second = fixture.scan(&["/"]);
    assert_eq!((second.files_read, second.index.is_none()), (0, true));
    assert_eq!(second.tree, first.tree);
}

#[test]
fn a_change_of_the_same_size_and_time_is_seen() {
    let mut fixture = Fixture::new(&["a", "b"]);
    let first = fixture.scan(&["/"]);
    let modified = fs::metadata(fixture.path("a")).unwrap().modified().unwrap();
    fs::write(fixture.path("a"), "x").unwrap();
    File::options()
        .write(true)
        .open(fixture.path("a"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let second = fixture.scan(&["/"]);
    assert_eq!(second.files_read, 1);
    assert_ne!(
        first.tree.get(b"a").unwrap().kind,
        second.tree.get(b"a").unwrap().kind
    );
}

#[test]
fn young_files_are_not_trusted() {
    let mut fixture = Fixture::new(&["a"]);
    fixture.now = Timestamp::now().seconds;
    fixture.scan(&["/"]);
    assert_eq!(fixture.scan(&["/"]).files_read, 1);
    fixture.now += 1000;
    assert_eq!(fixture.scan(&["/"]).files_read, 1);
    assert_eq!(fixture.scan(&["/"]).files_read, 0);
}

#[test]
fn only_the_wanted_parts_are_walked_and_the_rest_is_remembered() {
    let mut fixture = Fixture::new(&["a/x", "a/y", "b/z", "c"]);
    fixture.scan(&["/"]);
    fs::write(fixture.path("b/z"), "changed").unwrap();
    let part = fixture.scan(&["a/x", "c", "missing/file"]);
    assert_eq!(paths(&part), ["a", "a/x", "c"]);
    assert_eq!(part.files_read, 0);
    let whole = fixture.scan(&["/"]);
    assert_eq!(whole.files_read, 1);
}

#[test]
fn links_on_the_way_are_followed_inside_the_root() {
    let mut fixture = Fixture::new(&["real/deep/file", "other"]);
    symlink("/real/deep", fixture.path("link")).unwrap();
    symlink("../../../link", fixture.path("up")).unwrap();
    symlink("loop", fixture.path("loop")).unwrap();
    let scan = fixture.scan(&["up/file", "loop/x"]);
    assert_eq!(
        paths(&scan),
        ["link", "loop", "real", "real/deep", "real/deep/file", "up"]
    );
}

#[test]
fn a_link_in_a_directory_leads_from_there_or_from_the_root() {
    let mut fixture = Fixture::new(&["real/file", "sub/near/file", "sub/x"]);
    symlink("near", fixture.path("sub/relative")).unwrap();
    symlink("/real", fixture.path("sub/absolute")).unwrap();
    assert_eq!(
        paths(&fixture.scan(&["sub/relative/file"])),
        ["sub", "sub/near", "sub/near/file", "sub/relative"]
    );
    assert_eq!(
        paths(&fixture.scan(&["sub/absolute/file"])),
        ["real", "real/file", "sub", "sub/absolute"]
    );
}

#[test]
fn forty_links_in_a_row_are_followed() {
    let mut fixture = Fixture::new(&["file"]);
    symlink("file", fixture.path("40")).unwrap();
    for link in 0..40 {
        symlink(format!("{}", link + 1), fixture.path(&link.to_string())).unwrap();
    }
    let follows = |from: &str, fixture: &mut Fixture| {
        paths(&fixture.scan(&[from])).contains(&"file".to_owned())
    };
    assert!(follows("1", &mut fixture));
    assert!(!follows("0", &mut fixture));
}

#[test]
fn hard_links_point_at_the_first_name() {
    let mut fixture = Fixture::new(&["b"]);
    fs::hard_link(fixture.path("b"), fixture.path("a")).unwrap();
    let scan = fixture.scan(&["/"]);
    assert!(matches!(
        scan.tree.get(b"a").unwrap().kind,
        NodeKind::File { size: 1, .. }
    ));
    assert_eq!(
        scan.tree.get(b"b").unwrap().kind,
        NodeKind::HardLink { target: b"a" }
    );
}

struct NoLogs;

impl Filter for NoLogs {
    type State = ();
    fn root(&self) {}
    fn child(&self, (): &(), path: &[u8], _: bool) -> Visit<()> {
        match path {
            b"gone" => Visit::Skip,
            b"maybe" | b"empty" => Visit::Enter(()),
            path if path.ends_with(b".log") => Visit::Skip,
            _ => Visit::Take(()),
        }
    }
}

#[test]
fn filters_prune_and_include_again() {
    let mut fixture = Fixture::new(&["a.log", "dir/b.log", "gone/x", "maybe/keep", "empty/c.log"]);
    let scan = fixture.scan_filtered(&["/"], &NoLogs);
    assert_eq!(paths(&scan), ["dir", "maybe", "maybe/keep"]);
}

#[test]
fn mode_changes_are_seen_without_reading_the_rest() {
    let mut fixture = Fixture::new(&["a", "b"]);
    fixture.scan(&["/"]);
    fs::set_permissions(fixture.path("b"), fs::Permissions::from_mode(0o755)).unwrap();
    let scan = fixture.scan(&["/"]);
    assert_eq!(
        (scan.files_read, scan.tree.get(b"b").unwrap().mode),
        (1, 0o755)
    );
}

/// The walk takes its turns on threads and hands the previous index on where nothing changed;
/// whatever it does, a scan with an index says what one without says.
#[test]
fn a_scan_with_an_index_equals_one_without() {
    let names: Vec<String> = (0..2000)
        .map(|n| format!("d{}/e{}/f{n}", n % 7, n % 31))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut fixture = Fixture::new(&names);
    symlink("d1/e1", fixture.path("link")).unwrap();
    fs::hard_link(fixture.path("d2/e2/f2"), fixture.path("a")).unwrap();
    for step in 0..8 {
        match step {
            1 => fs::write(fixture.path("d3/e3/f3"), "changed").unwrap(),
            2 => fs::remove_file(fixture.path("d6/e6/f6")).unwrap(),
            3 => fs::rename(fixture.path("d5"), fixture.path("d9")).unwrap(),
            4 => fs::write(fixture.path("d0/new"), "new").unwrap(),
            5 => fs::hard_link(fixture.path("d2/e2/f2"), fixture.path("Z")).unwrap(),
            6 => fs::remove_file(fixture.path("a")).unwrap(),
            _ => {}
        }
        for wanted in [&["/"][..], &["d1", "d2/e2", "d3"], &["d9/e5/f5", "link/x"]] {
            let with = fixture.scan(wanted);
            let index = std::mem::take(&mut fixture.index);
            let without = fixture.scan(wanted);
            fixture.index = index;
            assert_eq!(with.tree, without.tree, "step {step}, {wanted:?}");
            assert_eq!(
                fixture.scan(wanted).files_read,
                0,
                "step {step}, {wanted:?}"
            );
        }
        // Which of several names of a file is the first depends on what is wanted.
        fixture.scan(&["/"]);
        assert!(fixture.scan(&["/"]).index.is_none(), "step {step}");
    }
}

/// Exchanges two directories as soon as the walk has left the first one.
struct Exchanging {
    one: PathBuf,
    other: PathBuf,
}

impl Filter for Exchanging {
    type State = ();

    fn root(&self) {}

    fn child(&self, (): &(), path: &[u8], _: bool) -> Visit<()> {
        if path == b"z" {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            let here = rustix::fs::CWD;
            rustix::fs::renameat_with(here, &self.one, here, &self.other, flags).unwrap();
        }
        Visit::Take(())
    }
}

/// Its change time does not tell that another file was at the path.
#[test]
fn an_index_entry_of_an_exchanged_file_is_not_relied_on() {
    let mut fixture = Fixture::new(&["a/f", "z"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("a");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("f"), "xyz").unwrap();
    let filter = Exchanging {
        one: fixture.path("a"),
        other: other.clone(),
    };
    fixture.scan_filtered(&["/"], &filter);
    assert_eq!(fs::read(fixture.path("a/f")).unwrap(), b"xyz");
    fs::rename(fixture.path("a"), elsewhere.path().join("b")).unwrap();
    fs::rename(&other, fixture.path("a")).unwrap();
    let scan = fixture.scan(&["/"]);
    let NodeKind::File { hash, .. } = scan.tree.get(b"a/f").unwrap().kind else {
        panic!("{scan:?}");
    };
    assert_eq!(hash, Blake3::of(b"a/f"));
}

#[test]
fn records_of_many_files_are_put_together_in_order() {
    // In one directory, and in several next to each other, more than a thread keeps for itself.
    let name = |number: usize| match number {
        ..700 => format!("file{number:04}"),
        _ => format!("d{}/file{number:04}", number % 4),
    };
    let mut expected: Vec<String> = (0..2800).map(name).collect();
    let files: Vec<&str> = expected.iter().map(String::as_str).collect();
    let mut fixture = Fixture::new(&files);
    expected.extend((0..4).map(|number| format!("d{number}")));
    expected.sort_by(|a, b| kiln_files::compare_paths(a.as_bytes(), b.as_bytes()));
    let first = fixture.scan(&["/"]);
    assert_eq!(paths(&first), expected);
    assert_eq!(first.files_read, expected.len());
    // Half of them again, among those that are known.
    fixture.now += 1000;
    for number in (0..2800).step_by(2) {
        fs::write(fixture.path(&name(number)), "another content").unwrap();
    }
    let second = fixture.scan(&["/"]);
    assert_eq!(paths(&second), expected);
    assert_eq!(second.files_read, 1400);
    assert_ne!(second.tree, first.tree);
}
