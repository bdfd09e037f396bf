//! The root of a crate is its table of contents: each module stands there with a comment of its
//! own.
//!
//! Sorting modules once moved comments to others, so that a line had two and another none.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Returns the roots of the crates that are shipped.
fn roots() -> Vec<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two directories down");
    let mut roots = Vec::new();
    for above in [checkout.to_owned(), checkout.join("leaves")] {
        for entry in fs::read_dir(above).expect("it is a directory") {
            let source = entry.expect("it can be listed").path().join("src");
            let root = ["lib.rs", "main.rs"].map(|name| source.join(name));
            roots.extend(root.into_iter().find(|root| root.is_file()));
        }
    }
    roots
}

/// Returns the modules of a root that have no comment on their line, or more than one. Those of
/// tests need none.
fn without_one_comment(root: &str) -> Vec<&str> {
    let module = Regex::new(r"^(?:pub(?:\(\w+\))? )?mod (\w+);(.*)$").expect("it is an expression");
    let mut found = Vec::new();
    let mut is_of_tests = false;
    for line in root.lines() {
        if let Some(captures) = module.captures(line) {
            let (_, [name, rest]) = captures.extract();
            if !is_of_tests && rest.matches(" // ").count() != 1 {
                found.push(name);
            }
        }
        is_of_tests = line == "#[cfg(test)]";
    }
    found
}

#[test]
fn each_module_of_a_root_has_one_comment() {
    let roots = roots();
    for path in &roots {
        let root = fs::read_to_string(path).expect("a source file is text");
        let found = without_one_comment(&root);
        assert!(found.is_empty(), "{}: {}", path.display(), found.join(", "));
    }
    assert!(roots.len() > 15, "{} crates", roots.len());
}

#[test]
fn missing_and_repeated_comments_are_found() {
    let root =
        "mod a; // one\npub mod b;\npub(crate) mod c; // two // three\n#[cfg(test)]\nmod tests;\n";
    assert_eq!(without_one_comment(root), ["b", "c"]);
}
