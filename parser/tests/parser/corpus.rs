//! The inputs under `proof/fuzz/corpus/` that somebody gave a name, through the checks of the fuzzing
//! targets.

use std::fs;
use std::path::Path;

use crate::checks;

/// Runs a check on all inputs of its target. Those a fuzzer found have hashes for names.
#[expect(clippy::print_stderr, reason = "names the input that breaks something")]
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../proof/fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("each target has a corpus") {
        let path = entry.expect("the corpus is readable").path();
        let data = fs::read(&path).expect("an input is a file");
        eprintln!("{}", path.display());
        check(&data);
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn dockerfile_corpus_holds() {
    replay("dockerfile", checks::dockerfile);
}

#[test]
fn heredoc_corpus_holds() {
    replay("heredoc", checks::heredoc);
}

#[test]
fn ignore_corpus_holds() {
    replay("ignore", checks::ignore);
}

#[test]
fn reference_corpus_holds() {
    replay("reference", checks::reference);
}

#[test]
fn substitution_corpus_holds() {
    replay("substitution", checks::substitution);
}

#[test]
fn values_corpus_holds() {
    replay("values", checks::values);
}
