//! Inside a crate, files stand in floors: by paths, none uses another that uses it, over however many.
//!
//! What is looked at are the paths of `use` and of calls that begin with `crate`, `super`, `self` or
//! the name of a module below. A module that passes on names of one below it uses that; so the one
//! below takes nothing from it, but from where it is made. The root is a table of contents: a name
//! that it passes on is taken from the module that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

pub(crate) type Module = Vec<String>;
pub(crate) type Edges = BTreeMap<Module, BTreeSet<Module>>;

pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two directories down")
}

/// Returns the directories of the crates that are shipped, sorted.
pub(crate) fn crates() -> Vec<PathBuf> {
    let is_crate = |path: &PathBuf| path.join("Cargo.toml").is_file();
    let below = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).expect("it is a directory");
        entries
            .map(|entry| entry.expect("it can be listed").path())
            .filter(is_crate)
            .collect()
    };
    let mut crates = [below(checkout()), below(&checkout().join("leaves"))].concat();
    crates.sort_unstable();
    crates
}

/// Returns the modules of a crate and their files, but for those with tests alone.
fn modules(source: &Path) -> BTreeMap<Module, PathBuf> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![source.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).expect("it is a directory") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let inside = path.strip_prefix(source).expect("it lies below");
            let text = inside.to_str().expect("names of sources are text");
            let Some(name) = text.strip_suffix(".rs") else {
                continue;
            };
            let name = match name {
                "lib" | "main" => "",
                name => name.strip_suffix("/mod").unwrap_or(name),
            };
            let module: Module = name
                .split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect();
            if module.last().is_none_or(|last| last != "tests") {
                found.insert(module, path);
            }
        }
    }
    found
}

/// Splits `a::{b, c::{d, e}}` into `a::b`, `a::c::d` and `a::c::e`.
fn paths(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        return vec![path.trim().to_owned()];
    };
    let body = rest.rsplit_once('}').map_or(rest, |(body, _)| body);
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for character in body.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts
            .last_mut()
            .expect("there is one from the start")
            .push(character);
    }
    parts
        .iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| paths(part))
        .map(|path| format!("{prefix}{path}"))
        .collect()
}

/// Returns the paths that a text imports or calls by, without its tests.
fn written(text: &str) -> Vec<String> {
    let tests = r"#\[cfg\(test\)\]\n(?:pub\(\w+\) )?mod tests \{";
    let tests = Regex::new(tests).expect("it is an expression");
    let shipped = tests.split(text).next().unwrap_or("");
    let comment = Regex::new(r"(?m)//.*$").expect("it is an expression");
    let shipped = comment.replace_all(shipped, "");
    let imports = Regex::new(r"\buse\s+([^;]+);").expect("it is an expression");
    let calls = Regex::new(r"(?:^|[^\w:])([a-z_]\w*(?:::\w+)+)").expect("it is an expression");
    let mut written: Vec<String> = imports
        .captures_iter(&shipped)
        .flat_map(|found| paths(&found[1]))
        .collect();
    written.extend(
        calls
            .captures_iter(&shipped)
            .map(|found| found[1].to_owned()),
    );
    written
}

/// Names that the root passes on, and the modules that have them.
type PassedOn = BTreeMap<String, Module>;

fn passed_on(text: &str, all: &BTreeSet<&Module>) -> PassedOn {
    let mut passed_on = PassedOn::new();
    for path in written(text) {
        let mut module: Module = path.split("::").map(str::to_owned).collect();
        let name = module.pop().expect("a path has a last part");
        while !module.is_empty() && !all.contains(&module) {
            module.pop();
        }
        if !module.is_empty() {
            passed_on.insert(name, module);
        }
    }
    passed_on
}

/// Returns the modules that a text, which lies in `module`, uses.
fn used(
    text: &str,
    module: &Module,
    all: &BTreeSet<&Module>,
    passed_on: &PassedOn,
) -> BTreeSet<Module> {
    let mut modules = BTreeSet::new();
    for path in written(text) {
        let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
        let mut place: Module = match parts[0] {
            "crate" => Vec::new(),
            "super" | "self" => module.clone(),
            name => {
                let mut below = module.clone();
                below.push(name.to_owned());
                if !all.contains(&below) {
                    continue;
                }
                module.clone()
            }
        };
        if ["crate", "self"].contains(&parts[0]) {
            parts.remove(0);
        }
        while parts.first() == Some(&"super") {
            parts.remove(0);
            place.pop();
        }
        if place.is_empty()
            && let Some(module) = parts.first().and_then(|name| passed_on.get(*name))
        {
            place.clone_from(module);
            parts.clear();
        }
        for part in parts {
            place.push(part.to_owned());
            if !all.contains(&place) {
                place.pop();
                break;
            }
        }
        if place != *module {
            modules.insert(place);
        }
    }
    modules
}

/// Returns a way from a module back to itself, if there is one.
fn circle(edges: &Edges) -> Option<Vec<Module>> {
    for start in edges.keys() {
        let mut came_from: BTreeMap<&Module, &Module> = BTreeMap::new();
        let mut waiting = vec![start];
        while let Some(module) = waiting.pop() {
            for next in edges.get(module).into_iter().flatten() {
                if next == start {
                    let mut way = vec![start.clone(), module.clone()];
                    let mut back = module;
                    while let Some(before) = came_from.get(back) {
                        back = before;
                        way.push(back.clone());
                    }
                    way.reverse();
                    return Some(way);
                }
                if !came_from.contains_key(next) {
                    came_from.insert(next, module);
                    waiting.push(next);
                }
            }
        }
    }
    None
}

/// Returns what each module of a crate uses, the root left out.
pub(crate) fn edges(crate_directory: &Path) -> Edges {
    let files = modules(&crate_directory.join("src"));
    let all: BTreeSet<&Module> = files.keys().collect();
    let read = |path: &PathBuf| fs::read_to_string(path).expect("a source file is text");
    let passed_on = passed_on(&read(&files[&Module::new()]), &all);
    files
        .iter()
        .filter(|(module, _)| !module.is_empty())
        .map(|(module, path)| {
            let used = used(&read(path), module, &all, &passed_on);
            (module.clone(), used)
        })
        .collect()
}

#[test]
fn modules_of_a_crate_form_no_circle() {
    let mut found = Vec::new();
    let mut looked_at = 0;
    for directory in crates() {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let edges = edges(&directory);
        looked_at += edges.len();
        if let Some(way) = circle(&edges) {
            let way: Vec<String> = way.iter().map(|module| module.join("::")).collect();
            found.push(format!("{name}: {}", way.join(" uses ")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(looked_at > 300, "{looked_at} files");
}

#[test]
fn circles_are_seen() {
    let module = |text: &str| -> Module { text.split("::").map(str::to_owned).collect() };
    let modules = ["a", "a::b", "c", "d"].map(module);
    let all: BTreeSet<&Module> = modules.iter().collect();
    let passed_on = passed_on("pub use d::{D, E};", &all);
    let text = "use crate::{c::X, D};\nuse super::super::c::{Y as Z, z};\n// use crate::a;\n";
    assert_eq!(
        used(text, &module("a::b"), &all, &passed_on),
        BTreeSet::from(["c", "d"].map(module))
    );
    let text = "mod b;\npub use b::B;\nfn f() { crate::d::g() }";
    let edges = Edges::from([
        (module("a"), used(text, &module("a"), &all, &passed_on)),
        (module("a::b"), BTreeSet::from([module("c")])),
        (module("c"), BTreeSet::new()),
    ]);
    assert_eq!(
        edges[&module("a")],
        BTreeSet::from(["a::b", "d"].map(module))
    );
    assert_eq!(circle(&edges), None);
    let text = "mod b;\nfn f() { b::g(crate::c::h) }\n#[cfg(test)]\npub(super) mod tests { use super::*; }";
    assert_eq!(
        used(text, &module("a"), &all, &passed_on),
        BTreeSet::from(["a::b", "c"].map(module))
    );
    let way = [(module("c"), BTreeSet::from([module("a")]))];
    let circled = edges.into_iter().chain(way).collect();
    assert_eq!(
        circle(&circled),
        Some(["a", "a::b", "c", "a"].map(module).to_vec())
    );
}
