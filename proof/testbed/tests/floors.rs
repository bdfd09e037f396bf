//! The modules of each crate as a drawing: a module uses only modules of lower floors.
//!
//! The drawing is made from the code, and the words from each crate's table of contents; a test
//! compares it with what the repository shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use regex::Regex;

use super::modules::{Edges, checkout, crates, edges};

const DRAWING: &str = "docs/modules.md";
/// How the drawing is made anew.
const COMMAND: &str = "KILN_UPDATE=1 cargo test -p kiln-testbed --test checks floors::";

/// Returns the floor of each module that stands in the root, its own modules counted as part of it:
/// one above the highest that it uses.
fn floors(edges: &Edges) -> BTreeMap<String, usize> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, used) in edges {
        let of_module = uses.entry(&module[0]).or_default();
        let others = used.iter().filter_map(|used| used.first());
        of_module.extend(others.map(String::as_str).filter(|used| *used != module[0]));
    }
    let mut floors: BTreeMap<String, usize> = BTreeMap::new();
    // Each round finds at least one floor, since there is no circle.
    for _ in 0..uses.len() {
        for (module, used) in &uses {
            let below: Option<Vec<usize>> =
                used.iter().map(|used| floors.get(*used).copied()).collect();
            if let Some(below) = below {
                let floor = below.iter().max().map_or(0, |highest| highest + 1);
                floors.insert((*module).to_owned(), floor);
            }
        }
    }
    floors
}

/// Returns the word that the root of a crate has on each of its modules.
fn words(crate_directory: &Path) -> BTreeMap<String, String> {
    let source = crate_directory.join("src");
    let read = |name: &str| fs::read_to_string(source.join(name));
    let root = read("lib.rs")
        .or_else(|_| read("main.rs"))
        .expect("a crate has a root");
    let line =
        Regex::new(r"(?m)^(?:pub(?:\(\w+\))? )?mod (\w+); // (.*)$").expect("it is an expression");
    line.captures_iter(&root)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect()
}

fn drawing() -> String {
    let mut text = format!(
        "# The modules of each crate\n\n\
         Modules stand in floors: each uses only modules of lower floors. Drawn from the code by \
         `{COMMAND}`.\n"
    );
    for directory in crates() {
        let path = directory.strip_prefix(checkout()).expect("it lies below");
        let floors = floors(&edges(&directory));
        let words = words(&directory);
        let width = floors.keys().map(String::len).max().unwrap_or(0);
        write!(text, "\n## {}\n\n```text\n", path.display()).unwrap();
        let highest = floors.values().max().copied().unwrap_or(0);
        for floor in (0..=highest).rev() {
            let of_floor = floors.iter().filter(|(_, of_module)| **of_module == floor);
            for (position, (module, _)) in of_floor.enumerate() {
                let number = if position == 0 {
                    floor.to_string()
                } else {
                    String::new()
                };
                let word = words.get(module).map_or("", String::as_str);
                writeln!(text, "{number:>2}  {module:width$}  {word}").unwrap();
            }
        }
        text.push_str("```\n");
    }
    text
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other way to be asked for this"
)]
fn the_drawing_of_modules_equals_the_code() {
    let drawing = drawing();
    let path = checkout().join(DRAWING);
    if std::env::var_os("KILN_UPDATE").is_some() {
        fs::write(&path, drawing).unwrap();
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == drawing,
        "{DRAWING} is not up to date; draw it anew with: {COMMAND}"
    );
}

#[test]
fn modules_stand_on_those_that_they_use() {
    let module = |text: &str| -> Vec<String> { text.split("::").map(str::to_owned).collect() };
    let edge = |from: &str, to: &[&str]| {
        let used: BTreeSet<_> = to.iter().map(|text| module(text)).collect();
        (module(from), used)
    };
    let edges = Edges::from([
        edge("top", &["middle::inside"]),
        edge("middle", &["middle::inside"]),
        edge("middle::inside", &["bottom"]),
        edge("bottom", &[]),
        edge("alone", &[]),
    ]);
    let expected = [("alone", 0), ("bottom", 0), ("middle", 1), ("top", 2)];
    let expected = expected.map(|(name, floor)| (name.to_owned(), floor));
    assert_eq!(floors(&edges), BTreeMap::from(expected));
}
