//! What `deny.toml` says of licences, bans and sources holds, as far as that can be told without
//! cargo-deny, which `make deny` runs, and without the network.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_testbed::run;
use toml::{Table, Value};

/// The one place that packages come from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two directories down")
}

fn read(name: &str) -> Table {
    let text = fs::read_to_string(checkout().join(name)).expect("the file is there");
    text.parse().expect("the file is TOML")
}

fn texts(value: &Value) -> BTreeSet<&str> {
    let items = value.as_array().expect("it is a list");
    items.iter().filter_map(Value::as_str).collect()
}

/// A package somewhere below the binary.
struct Line {
    depth: usize,
    name: String,
    licence: String,
}

/// Returns what is linked into kiln or builds it, depth first, each package with all that is below it.
fn tree() -> Vec<Line> {
    let output = run(Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "kiln-cli"])
        .args(["--edges", "normal,build", "--no-dedupe"])
        .args(["--prefix", "depth", "--format", "|{p}|{l}"])
        .current_dir(checkout()));
    let text = String::from_utf8(output.stdout).expect("cargo prints text");
    let lines = text.lines().map(|line| {
        let cells: Vec<&str> = line.split('|').collect();
        let [depth, package, licence] = cells[..] else {
            panic!("cargo prints three cells: {line}");
        };
        Line {
            depth: depth.parse().expect("the first one is a number"),
            name: package.split(' ').next().unwrap_or_default().to_owned(),
            licence: licence.to_owned(),
        }
    });
    lines.collect()
}

/// Says whether an SPDX expression can be met with these licences. `OR` and the older `/` leave the
/// choice; `AND` and `WITH` belong together.
fn is_met(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let mut depth = 0;
    let mut split = |operator: &str| {
        let mut parts = vec![String::new()];
        for word in expression
            .replace('/', " OR ")
            .replace('(', " ( ")
            .replace(')', " ) ")
            .split(' ')
        {
            depth += match word {
                "(" => 1,
                ")" => -1,
                _ => 0,
            };
            if word == operator && depth == 0 {
                parts.push(String::new());
            } else if let Some(part) = parts.last_mut() {
                part.push_str(word);
                part.push(' ');
            }
        }
        parts
    };
    let choices = split("OR");
    if choices.len() > 1 {
        return choices.iter().any(|part| is_met(part.trim(), allowed));
    }
    let duties = split("AND");
    if duties.len() > 1 {
        return duties.iter().all(|part| is_met(part.trim(), allowed));
    }
    let text = expression.trim();
    match text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
    {
        Some(inner) => is_met(inner.trim(), allowed),
        None => allowed.contains(text),
    }
}

#[test]
fn licences_are_allowed() {
    let rules = read("deny.toml");
    let licences = &rules["licenses"];
    let allowed = texts(&licences["allow"]);
    let mut looked_at = 0;
    for Line { name, licence, .. } in tree() {
        let mut allowed = allowed.clone();
        let exceptions = licences["exceptions"].as_array().expect("it is a list");
        for exception in exceptions {
            if exception["crate"].as_str() == Some(&name) {
                allowed.extend(texts(&exception["allow"]));
            }
        }
        assert!(is_met(&licence, &allowed), "{name} is under {licence}");
        looked_at += 1;
    }
    assert!(looked_at > 100, "{looked_at} packages");
}

#[test]
fn licences_are_read_as_expressions() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "Unlicense/MIT",
        "ISC AND (GPL-2.0 OR MIT)",
        "(GPL-2.0) OR (MIT AND ISC)",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
    ] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-2.0", "(MIT OR ISC) AND GPL-2.0"] {
        assert!(!is_met(refused, &allowed), "{refused}");
    }
}

#[test]
fn banned_packages_are_reached_by_those_who_may_only() {
    let rules = read("deny.toml");
    let bans = rules["bans"]["deny"].as_array().expect("it is a list");
    let tree = tree();
    for ban in bans {
        let banned = ban["crate"].as_str().expect("a ban names its crate");
        let wrappers = ban.get("wrappers").map(texts).unwrap_or_default();
        for (place, line) in tree
            .iter()
            .enumerate()
            .filter(|(_, line)| line.name == banned)
        {
            let before = tree[..place].iter().rev();
            let user = before.into_iter().find(|user| user.depth < line.depth);
            let user = user.map_or("nobody", |user| &user.name);
            assert!(wrappers.contains(user), "{user} uses {banned}");
        }
    }
}

#[test]
fn packages_come_from_crates_io() {
    let lock = read("Cargo.lock");
    let packages = lock["package"].as_array().expect("it is a list");
    for package in packages {
        let source = package.get("source").and_then(Value::as_str);
        assert!(
            source.is_none_or(|source| source == CRATES_IO),
            "{package:?}"
        );
        assert!(
            source.is_none() || package.get("checksum").is_some(),
            "{package:?}"
        );
    }
}
