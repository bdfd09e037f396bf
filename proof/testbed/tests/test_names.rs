//! Tests are called `subject_condition_result`, as docs/style.md has it.

use std::fs;
use std::path::Path;

use regex::Regex;
use walkdir::WalkDir;

/// Words that say nothing about what is tested.
const VAGUE: [&str; 5] = ["what", "who", "whoever", "it", "they"];

/// Returns the names of the tests in a source file: functions of Rust's own harness, and entries of
/// tables of cases.
fn tests_in(text: &str) -> Vec<&str> {
    let function = Regex::new(r"#\[test\]\s*(?:#\[[^\]]*\]\s*)*fn (\w+)").unwrap();
    let table = Regex::new(r"cases!\s*\{([^}]*)\}").unwrap();
    let functions = function.captures_iter(text);
    let names = functions.map(|captures| captures.get(1).unwrap().as_str());
    let tables = table.captures_iter(text);
    let entries = tables.flat_map(|captures| captures.get(1).unwrap().as_str().split_whitespace());
    names.chain(entries).collect()
}

/// Says what is wrong with a name. The number of a statement in front of it names the subject.
fn fault(name: &str) -> Option<&'static str> {
    let number = Regex::new(r"^(?:df|oci)_\d+_").unwrap();
    let mut rest = name;
    while let Some(found) = number.find(rest) {
        rest = &rest[found.end()..];
    }
    if VAGUE.contains(&rest.split('_').next().unwrap_or(rest)) {
        Some("begins with a word that names no subject")
    } else if name.split('_').count() < 3 {
        Some("has fewer than three words")
    } else {
        None
    }
}

#[test]
fn names_of_tests_say_subject_and_result() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let is_source = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || name.starts_with("target"))
    };
    let mut faults = Vec::new();
    for entry in WalkDir::new(checkout.unwrap())
        .into_iter()
        .filter_entry(is_source)
    {
        let path = entry.unwrap().into_path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for name in tests_in(&text) {
            if let Some(fault) = fault(name) {
                faults.push(format!("{}: {name} {fault}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn names_without_subject_or_result_are_found() {
    assert!(fault("what_is_put_is_read").is_some());
    assert!(fault("df_107_what_is_hidden").is_some());
    assert!(fault("archives_too").is_some());
    assert!(fault("df_107_secrets").is_none());
    assert!(fault("whiteouts_hide_files").is_none());
    let text = "#[test]\n#[ignore = \"slow\"]\nfn a_b_c() {}\ncases! { d_e_f\n g_h_i }";
    assert_eq!(tests_in(text), ["a_b_c", "d_e_f", "g_h_i"]);
}
