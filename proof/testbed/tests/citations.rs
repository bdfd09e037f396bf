//! All that a comment or a document cites of this repository is there: documents and their
//! sections, numbered statements, linked files, tests and sources that documents name.
//!
//! Comments cite a section as `docs/spec/dockerfile.md 5.4`, several as `docs/spec/oci.md 5.1, 5.3`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

/// Numbers of sections behind a citation: `5.4`, `4, 5 and 6`, `4 to 8`.
const SECTIONS: &str = r"((?: \d+(?:\.\d+)?(?:(?:,| and| to) \d+(?:\.\d+)?)*)?)";

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}

/// Returns the text files of the repository, by their paths in it.
fn files() -> BTreeMap<PathBuf, String> {
    let is_wanted = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let is_hidden = entry.depth() > 0 && name.starts_with('.');
        let is_built = name.starts_with("target") && entry.file_type().is_dir();
        !is_hidden && !is_built && name != "testdata"
    };
    let paths = WalkDir::new(checkout())
        .into_iter()
        .filter_entry(is_wanted)
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.is_file());
    paths
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            Some((path.strip_prefix(checkout()).unwrap().to_owned(), text))
        })
        .collect()
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Returns the numbers of a document's sections.
fn sections(text: &str) -> BTreeSet<String> {
    let heading = Regex::new(r"(?m)^#+ (\d+(?:\.\d+)?)[. ]").unwrap();
    heading
        .captures_iter(text)
        .map(|captures| captures[1].to_owned())
        .collect()
}

/// Returns the anchors that a document's headings have.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = Regex::new(r"(?m)^#+ (.+)$").unwrap();
    let dropped = Regex::new(r"[^\w\- ]").unwrap();
    heading
        .captures_iter(text)
        .map(|captures| {
            let lower = captures[1].trim().to_lowercase();
            dropped.replace_all(&lower, "").replace(' ', "-")
        })
        .collect()
}

/// Takes code out of a document: brackets mean something else there.
fn without_code(text: &str) -> String {
    let blocks = Regex::new(r"(?s)```.*?```").unwrap();
    let spans = Regex::new(r"`[^`\n]*`").unwrap();
    spans.replace_all(&blocks.replace_all(text, ""), "").into()
}

/// Returns where a link in a document leads.
fn resolve(document: &Path, link: &str) -> PathBuf {
    let mut path = document.parent().unwrap().to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

/// Returns what `citations` (a path in the repository, and numbers of sections) name in vain.
fn missing<'a>(
    files: &BTreeMap<PathBuf, String>,
    citations: impl Iterator<Item = (PathBuf, &'a str)>,
) -> Vec<String> {
    let number = Regex::new(r"\d+(?:\.\d+)?").unwrap();
    let mut missing = Vec::new();
    for (path, numbers) in citations {
        let Some(text) = files.get(&path) else {
            missing.push(format!("{} is not there", path.display()));
            continue;
        };
        let known = sections(text);
        let numbers = number.find_iter(numbers).map(|found| found.as_str());
        missing.extend(
            numbers
                .filter(|number| !known.contains(*number))
                .map(|number| format!("{} has no section {number}", path.display())),
        );
    }
    missing
}

#[test]
fn cited_documents_and_sections_are_there() {
    let files = files();
    let cited = Regex::new(&format!(r"(?m)(?:^|[^/\w])(docs/[\w./-]+\.md){SECTIONS}")).unwrap();
    let mut wrong = Vec::new();
    for (path, text) in &files {
        let citations = cited.captures_iter(text).map(|captures| {
            let (_, [document, numbers]) = captures.extract();
            (PathBuf::from(document), numbers)
        });
        let found = missing(&files, citations);
        wrong.extend(
            found
                .iter()
                .map(|what| format!("{}: {what}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn comments_cite_the_specification_in_one_spelling() {
    let other =
        Regex::new(r"(?:^|[^/\w])(?:spec/)?(?:dockerfile|cli|oci|containers|keys|store)\.md")
            .unwrap();
    let own = Path::new(file!()).file_name();
    let mut wrong = Vec::new();
    for (path, text) in files() {
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if !is_source || path.file_name() == own {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            if other.is_match(line) {
                wrong.push(format!("{}:{}: {}", path.display(), index + 1, line.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "to be spelled as in `docs/spec/dockerfile.md 5.4`: {wrong:#?}"
    );
}

#[test]
fn links_lead_to_files_headings_and_sections() {
    let files = files();
    let link = Regex::new(&format!(r"\]\(([^)\s]+)\){SECTIONS}")).unwrap();
    let mut wrong = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| is_markdown(path)) {
        let text = without_code(text);
        let mut note = |what: String| wrong.push(format!("{}: {what}", path.display()));
        for captures in link.captures_iter(&text) {
            let (_, [target, numbers]) = captures.extract();
            if target.contains("://") {
                continue;
            }
            let (target, anchor) = target.split_once('#').unwrap_or((target, ""));
            let led = match target {
                "" => path.clone(),
                target => resolve(path, target),
            };
            if !checkout().join(&led).exists() {
                note(format!("{} is not there", led.display()));
                continue;
            }
            let Some(document) = files.get(&led).filter(|_| is_markdown(&led)) else {
                continue;
            };
            if !anchor.is_empty() && !anchors(document).contains(anchor) {
                note(format!("{} has no heading #{anchor}", led.display()));
            }
            // A number behind a link to a document without numbered sections is just a number.
            if !sections(document).is_empty() {
                missing(&files, [(led, numbers)].into_iter())
                    .into_iter()
                    .for_each(&mut note);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn documents_cite_sections_that_they_have() {
    let cited = Regex::new(r"§(\d+(?:\.\d+)?)").unwrap();
    let mut wrong = Vec::new();
    let files = files();
    let documents = files.iter().filter(|(path, _)| path.starts_with("docs"));
    for (path, text) in documents {
        let known = sections(text);
        for captures in cited.captures_iter(text) {
            if !known.contains(&captures[1]) {
                wrong.push(format!("{}: {}", path.display(), &captures[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cited_statements_are_there() {
    let files = files();
    let said = |document: &str| -> BTreeSet<String> {
        let item = Regex::new(r"(?m)^\d+\. ((?:DF|OCI)-\d{3}) ").unwrap();
        let text = &files[Path::new(document)];
        item.captures_iter(text)
            .map(|captures| captures[1].to_owned())
            .collect()
    };
    let known = &said("docs/spec/dockerfile.md") | &said("docs/spec/oci.md");
    let cited = Regex::new(r"\b(?:DF|OCI)-\d{3}\b").unwrap();
    // What those say that look at citations is made up.
    let about = ["citations.rs", "statements.rs"];
    let mut wrong = Vec::new();
    for (path, text) in &files {
        if path
            .file_name()
            .is_some_and(|name| about.iter().any(|about| name == *about))
        {
            continue;
        }
        let found = cited.find_iter(text).map(|found| found.as_str());
        wrong.extend(
            found
                .filter(|number| !known.contains(*number))
                .map(|number| format!("{}: {number}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // docs/statements.md says the same in fewer words.
    let lines = include_str!("statements.txt").lines().count();
    let dockerfile = known.iter().filter(|number| number.starts_with("DF-"));
    assert_eq!(
        dockerfile.count(),
        lines,
        "statements.txt and the specification"
    );
}

#[test]
fn sources_and_tests_that_documents_name_are_there() {
    let named = Regex::new(
        r"`((?:(?:\w+|leaves/\w+|proof/\w+)/(?:src|tests)|proof|leaves|testdata|scripts)(?:/[\w.-]+)*)`",
    )
    .unwrap();
    let mut wrong = Vec::new();
    for (path, text) in files() {
        // What is planned is not there yet.
        if !is_markdown(&path) || path.starts_with("docs/plans") {
            continue;
        }
        for captures in named.captures_iter(&text) {
            let named = Path::new(&captures[1]);
            let is_ours = named
                .iter()
                .next()
                .is_some_and(|first| checkout().join(first).exists());
            if is_ours && !checkout().join(named).exists() {
                wrong.push(format!("{}: {}", path.display(), named.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
