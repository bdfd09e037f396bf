use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

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
        let scan = scan(self.directory.path(), &wanted, filter, &self.index, now).unwrap();
        self.index = scan.index.clone();
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
    assert!(first.changed);
    let second = fixture.scan(&["/"]);
    assert_eq!((second.files_read, second.changed), (0, false));
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
fn hard_links_point_at_the_first_name() {
    let mut fixture = Fixture::new(&["b"]);
    fs::hard_link(fixture.path("b"), fixture.path("a")).unwrap();
    let scan = fixture.scan(&["/"]);
    assert!(matches!(
        scan.tree.get(b"a").unwrap().kind,
        Kind::File { size: 1, .. }
    ));
    assert_eq!(
        scan.tree.get(b"b").unwrap().kind,
        Kind::HardLink { target: b"a" }
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
