//! The crates use each other as docs/architecture.md draws and says, and async stays where it
//! belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::run;
use serde_json::Value;

type Edges = BTreeMap<String, BTreeSet<String>>;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two directories down")
}

/// Runs `cargo metadata` without the network.
fn metadata(options: &[&str]) -> Value {
    let output = run(Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(options)
        .current_dir(checkout()));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo documents this as a string")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("cargo documents this as an array")
}

/// Returns a part of docs/architecture.md, between two marks.
fn part(name: &str) -> String {
    let document =
        fs::read_to_string(checkout().join("docs/architecture.md")).expect("the document is there");
    let (_, rest) = document
        .split_once(&format!("<!-- {name}: begin -->"))
        .expect("the part begins");
    let (part, _) = rest
        .split_once(&format!("<!-- {name}: end -->"))
        .expect("the part ends");
    part.to_owned()
}

/// Returns the floor of each crate in the drawing: of `5  solver  containers | what they do`.
fn drawn() -> BTreeMap<String, u32> {
    let drawing = part("drawing");
    let floors = drawing.lines().filter_map(|line| {
        let (names, _) = line.split_once('|')?;
        let (floor, names) = names.trim().split_once(' ')?;
        Some((floor.parse().ok()?, names))
    });
    floors
        .flat_map(|(floor, names): (u32, &str)| {
            let names = names.split_whitespace();
            names.map(move |name| (format!("kiln-{name}"), floor))
        })
        .collect()
}

/// Returns the table: each crate in the order of its rows, and what it uses.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    part("crates")
        .lines()
        .filter(|line| line.starts_with("| kiln-"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let uses = cells[2]
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            (cells[1].to_owned(), uses.map(str::to_owned).collect())
        })
        .collect()
}

/// Returns the normal dependencies among the crates of the workspace, as the manifests have them.
fn actual() -> Edges {
    let metadata = metadata(&["--no-deps"]);
    let packages = array(&metadata["packages"]);
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|package| text(&package["name"]))
        .collect();
    packages
        .iter()
        .map(|package| {
            let uses = array(&package["dependencies"])
                .iter()
                // Build and dev dependencies have a kind; normal ones have none.
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(&dependency["name"]))
                .filter(|name| ours.contains(name))
                .map(str::to_owned)
                .collect();
            (text(&package["name"]).to_owned(), uses)
        })
        .collect()
}

#[test]
fn manifests_and_document_agree() {
    let documented = Edges::from_iter(documented());
    let actual = actual();
    let names = |edges: &Edges| edges.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&actual),
        names(&documented),
        "crates in the workspace and in the table"
    );
    for (name, uses) in &actual {
        assert_eq!(
            uses, &documented[name],
            "what {name} uses: manifest and table"
        );
    }
}

#[test]
fn no_crate_uses_a_later_row() {
    let mut earlier = BTreeSet::new();
    for (name, uses) in documented() {
        let later: Vec<_> = uses.difference(&earlier).collect();
        assert!(
            later.is_empty(),
            "{name} uses {later:?}, which come later or not at all"
        );
        earlier.insert(name);
    }
}

#[test]
fn the_drawing_has_each_crate_above_those_that_it_uses() {
    let drawn = drawn();
    for (name, uses) in documented() {
        if name == "kiln-testbed" || PROGRAMS.contains(&name.as_str()) {
            continue;
        }
        let floor = drawn
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not drawn"));
        // No higher than it has to be: so a floor says what a crate stands on.
        let below = uses.iter().map(|used| drawn[used] + 1).max().unwrap_or(0);
        assert_eq!(*floor, below, "the floor of {name}");
    }
    let table = Edges::from_iter(documented());
    let unknown: Vec<_> = drawn
        .keys()
        .filter(|name| !table.contains_key(*name))
        .collect();
    assert!(
        unknown.is_empty(),
        "drawn, and not in the table: {unknown:?}"
    );
}

/// What tries and measures kiln.
const PROGRAMS: [&str; 3] = ["kiln-bench", "kiln-conformance", "kiln-faults"];

#[test]
fn nothing_ships_what_is_for_tests_only() {
    for (name, mut uses) in actual() {
        for program in PROGRAMS {
            assert!(!uses.contains(program), "{name} ships {program}");
        }
        // Programs of their own, which are not installed.
        let allowed = PROGRAMS.contains(&name.as_str()) && uses.remove("kiln-testbed");
        assert!(
            allowed || !uses.contains("kiln-testbed"),
            "{name} ships the test bed"
        );
    }
}

/// Async is reached through the registry crate alone, directly or through others.
#[test]
fn tokio_is_reached_only_through_the_registry_crate() {
    let version = run(Command::new("rustc").arg("-vV"));
    let version = String::from_utf8_lossy(&version.stdout);
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host");
    // Other platforms' packages need not be on this machine.
    let metadata = metadata(&["--filter-platform", host]);

    let names: BTreeMap<&str, &str> = array(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let edges: BTreeMap<&str, Vec<&str>> = array(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let uses = array(&node["deps"])
                .iter()
                .filter(|dependency| {
                    array(&dependency["dep_kinds"])
                        .iter()
                        .any(|kind| kind["kind"].is_null())
                })
                .map(|dependency| text(&dependency["pkg"]))
                .collect();
            (text(&node["id"]), uses)
        })
        .collect();

    let reaches_tokio = |start: &str, around: &str| {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![start];
        while let Some(package) = waiting.pop() {
            if names[package] == "tokio" {
                return true;
            }
            if names[package] != around && seen.insert(package) {
                waiting.extend(&edges[package]);
            }
        }
        false
    };
    let members: Vec<&str> = array(&metadata["workspace_members"])
        .iter()
        .map(text)
        .collect();
    for member in &members {
        assert!(
            !reaches_tokio(member, "kiln-registry"),
            "{} reaches tokio around kiln-registry",
            names[member]
        );
    }
    // The search itself works: without a detour the registry crate does reach it.
    assert!(
        members
            .iter()
            .any(|member| { names[member] == "kiln-registry" && reaches_tokio(member, "") })
    );
}

/// A limit on processes refuses threads; `kiln_threads`'s `spawn_or_run`, `spawn_or_skip`,
/// `spawn_or_fail` and `prepare_pool` handle that, while the functions of `std` and rayon end the
/// program.
#[test]
fn no_crate_counts_on_threads() {
    let mut looked_at = 0;
    for package in array(&metadata(&["--no-deps"])["packages"]) {
        let manifest = Path::new(text(&package["manifest_path"]));
        if manifest.starts_with(checkout().join("proof")) {
            continue;
        }
        for path in sources(&manifest.with_file_name("src")) {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
            let path = path.display();
            for call in ["thread::spawn(", "scope.spawn("] {
                assert!(!shipped.contains(call), "{path} calls {call}");
            }
            let is_parallel = ["par_iter", "par_chunks", "rayon::join", "rayon::scope"]
                .iter()
                .any(|call| shipped.contains(call));
            assert!(
                !is_parallel || shipped.contains("prepare_pool()"),
                "{path} uses rayon's pool without prepare_pool()"
            );
            looked_at += 1;
        }
    }
    assert!(looked_at > 300, "{looked_at} files");
}

/// Returns the source files below a directory, but for those with tests alone.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("it is a directory");
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            found.push(path);
        }
    }
    found
}
