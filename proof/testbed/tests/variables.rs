//! Every variable of the environment that `cli` names is in the guide, and no other of kiln's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

/// Names that are no variables which kiln reads: of the compiler's environment, and of examples.
const OTHERS: [&str; 5] = [
    "CARGO_PKG_VERSION",
    "KILN_COMMIT",
    "FROM_ENV",
    "SOURCE_IMAGE",
    "TARGET_IMAGE",
];

fn checkout() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap().to_owned()
}

/// Returns the names of variables in the sources of `cli`: literals with an underscore between capitals,
/// and what the environment is asked for.
fn named_in_cli() -> BTreeSet<String> {
    let name = Regex::new(r#""([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)""#).unwrap();
    let asked =
        Regex::new(r#"\.(?:text|variable|path|xdg|proxy)\(\s*"([A-Z][A-Z0-9_]*)""#).unwrap();
    let mut names = BTreeSet::new();
    for entry in WalkDir::new(checkout().join("cli/src")) {
        let path = entry.unwrap().into_path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for pattern in [&name, &asked] {
            let found = pattern.captures_iter(code);
            names.extend(found.map(|captures| captures[1].to_owned()));
        }
    }
    names.retain(|name| !OTHERS.contains(&name.as_str()));
    names
}

/// Returns the names in code style that stand in the guide.
fn named_in_guide() -> BTreeSet<String> {
    let guide = checkout().join("docs/guides/configuration.md");
    let text = fs::read_to_string(guide).unwrap();
    let name = Regex::new(r"`(?:\$)?([A-Z][A-Z0-9_]*)(?:=[a-z]+)?`").unwrap();
    let found = name.captures_iter(&text);
    found.map(|captures| captures[1].to_owned()).collect()
}

#[test]
fn variables_of_cli_are_in_the_guide() {
    let (code, guide) = (named_in_cli(), named_in_guide());
    assert!(
        code.contains("KILN_ROOT") && code.contains("TERM"),
        "{code:?}"
    );
    let missing: Vec<&String> = code.difference(&guide).collect();
    assert!(missing.is_empty(), "not in the guide: {missing:?}");
    let is_ours = |name: &&String| name.starts_with("KILN_");
    let unknown: Vec<&String> = guide.difference(&code).filter(is_ours).collect();
    assert!(unknown.is_empty(), "not in cli: {unknown:?}");
}
