//! Every statement about Dockerfiles is shown by a test, and `docs/statements.md` says by which.
//!
//! A test cites a statement in its name (`df_107_…`), in a comment of its file (`DF-107`) or, for
//! the conformance cases, in `statements` of its `case.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

/// What the statements say, in a few words: the n-th line is statement n.
const SAID: &str = include_str!("statements.txt");
/// The table for people.
const TABLE: &str = "docs/statements.md";
/// How the table is written anew.
const COMMAND: &str = "KILN_UPDATE=1 cargo test -p kiln-testbed --test checks statements::";

/// A test, or a file with tests.
type Citation = String;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}

#[test]
fn every_statement_has_a_test() {
    let cited = citations();
    let missing: Vec<String> = (1..=SAID.lines().count())
        .filter(|number| !cited.contains_key(number))
        .map(|number| format!("DF-{number:03}"))
        .collect();
    assert!(missing.is_empty(), "no test cites {}", missing.join(" "));
    let last = SAID.lines().count();
    let unknown: Vec<_> = cited
        .keys()
        .filter(|number| **number > last || **number == 0)
        .collect();
    assert!(unknown.is_empty(), "there are no statements {unknown:?}");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other way to be asked for this"
)]
fn the_table_is_up_to_date() {
    let table = table(&citations());
    let path = checkout().join(TABLE);
    if std::env::var_os("KILN_UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, table).unwrap();
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == table,
        "{TABLE} is not up to date; write it anew with: {COMMAND}"
    );
}

fn table(cited: &BTreeMap<usize, BTreeSet<Citation>>) -> String {
    let mut text = format!(
        "# What kiln promises about Dockerfiles\n\n\
         Each statement and the tests that show it. Written by `{COMMAND}`.\n\n\
         | | statement | tests |\n|---|---|---|\n"
    );
    for (index, said) in SAID.lines().enumerate() {
        let number = index + 1;
        let tests: Vec<String> = cited
            .get(&number)
            .into_iter()
            .flatten()
            .map(|test| format!("`{test}`"))
            .collect();
        let said = said.replace('|', "\\|");
        text.push_str(&format!(
            "| DF-{number:03} | {said} | {} |\n",
            tests.join("<br>")
        ));
    }
    text
}

/// Returns the tests that cite each statement.
fn citations() -> BTreeMap<usize, BTreeSet<Citation>> {
    let mut cited: BTreeMap<usize, BTreeSet<Citation>> = BTreeMap::new();
    for path in tests_and_cases() {
        let shown = path.strip_prefix(checkout()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let found = if path.ends_with("case.toml") {
            in_case(&text, &shown)
        } else {
            in_source(&text, &shown)
        };
        for (number, citation) in found {
            cited.entry(number).or_default().insert(citation);
        }
    }
    cited
}

/// Returns the Rust files of all crates, and the conformance cases.
fn tests_and_cases() -> Vec<PathBuf> {
    let is_wanted = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let is_hidden = entry.depth() > 0 && name.starts_with('.');
        !is_hidden && !(entry.depth() == 1 && (name.starts_with("target") || name == "docs"))
    };
    let own = Path::new(file!()).file_name();
    let mut paths: Vec<PathBuf> = WalkDir::new(checkout())
        .sort_by_file_name()
        .into_iter()
        .filter_entry(is_wanted)
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.is_file() && path.file_name() != own)
        .filter(|path| {
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            is_rust || path.ends_with("case.toml")
        })
        .collect();
    paths.sort();
    paths
}

fn in_case(text: &str, shown: &str) -> Vec<(usize, Citation)> {
    let case = Path::new(shown).parent().unwrap().display().to_string();
    let list = Regex::new(r"(?ms)^statements\s*=\s*\[(.*?)\]").unwrap();
    let list = list
        .captures(text)
        .map_or("", |captures| captures.get(1).unwrap().as_str());
    let numbers = Regex::new(r#""DF-(\d{3})""#).unwrap();
    numbers
        .captures_iter(list)
        .map(|captures| (captures[1].parse().unwrap(), case.clone()))
        .collect()
}

/// Finds statements in the names of tests, and in comments: those belong to the test that the
/// comment is in or stands above, else to the file.
///
/// Only full numbers count: the beginning of a range does not, nor does its end.
fn in_source(text: &str, shown: &str) -> Vec<(usize, Citation)> {
    // Comments of code that is no test say why, not that it works.
    let is_test_file = text.contains("#[test]") || shown.contains("/tests");
    if !is_test_file {
        return Vec::new();
    }
    let function = Regex::new(r"^\s*(?:pub(?:\([a-z]+\))? )?(?:async )?fn (\w+)").unwrap();
    let in_name = Regex::new(r"df_(\d{3})").unwrap();
    let in_comment = Regex::new(r"DF-(\d{3})(\.\.)?").unwrap();
    let mut found = Vec::new();
    let mut waiting: Vec<usize> = Vec::new();
    let mut test: Option<String> = None;
    let mut is_test = false;
    for line in text.lines() {
        let line_number = |captures: regex::Captures<'_>| captures[1].parse::<usize>().unwrap();
        if line.trim() == "#[test]" {
            is_test = true;
        }
        if let Some(captures) = function.captures(line) {
            let name = captures[1].to_owned();
            // Tests with a harness of their own have no attribute but a name.
            let is_named = in_name.is_match(&name);
            let citation = format!("{shown}: {name}");
            found.extend(
                in_name
                    .captures_iter(&name)
                    .map(|c| (line_number(c), citation.clone())),
            );
            if is_test || is_named {
                found.extend(waiting.drain(..).map(|number| (number, citation.clone())));
                test = Some(citation);
            }
            is_test = false;
        }
        let Some((_, comment)) = line.split_once("//") else {
            continue;
        };
        let full = in_comment
            .captures_iter(comment)
            .filter(|captures| captures.get(2).is_none());
        let numbers: Vec<usize> = full.map(line_number).collect();
        let is_above = line.trim_start().starts_with("//") && !line.starts_with("    ");
        match (&test, is_above && !comment.starts_with('!')) {
            (Some(test), false) => found.extend(numbers.into_iter().map(|n| (n, test.clone()))),
            (None, false) => found.extend(numbers.into_iter().map(|n| (n, shown.to_owned()))),
            (_, true) => waiting.extend(numbers),
        }
    }
    found.extend(waiting.into_iter().map(|number| (number, shown.to_owned())));
    found
}

#[test]
fn citations_are_found() {
    let source = "//! DF-001\n#[test]\nfn df_002_df_003_x() {\n    // DF-004..006 and DF-007\n    let a = \"DF-008\";\n}\n\
                  // DF-009\n#[test]\nfn y() {}\nfn df_010_z() {}\n";
    let found = in_source(source, "a/tests/b.rs");
    let mut found: Vec<String> = found
        .iter()
        .map(|(n, test)| format!("{n} {test}"))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "1 a/tests/b.rs",
            "10 a/tests/b.rs: df_010_z",
            "2 a/tests/b.rs: df_002_df_003_x",
            "3 a/tests/b.rs: df_002_df_003_x",
            "7 a/tests/b.rs: df_002_df_003_x",
            "9 a/tests/b.rs: y",
        ]
    );
    assert!(in_source("// DF-001\nfn f() {}\n", "a/src/b.rs").is_empty());
    let case = "about = \"DF-001\"\nstatements = [\n  \"DF-002\", \"DF-003\",\n]\n";
    let found = in_case(case, "testdata/conformance/c/case.toml");
    let numbers: Vec<usize> = found.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(found[0].1, "testdata/conformance/c");
}
