//! What stories of commands share.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use kiln_testbed::Kiln;
use regex::Regex;

/// Replaces what differs from run to run in something that kiln said.
pub(crate) fn masked(kiln: &Kiln, text: &str) -> String {
    let mut text = text.replace(&kiln.scratch.path().display().to_string(), "[DIR]");
    for (pattern, name) in [
        (r"sha256:[0-9a-f]{64}", "[DIGEST]"),
        (r"\b\d+\.\d{3}\b", "[TIME]"),
        (r"\b\d+\.\ds\b", "[TIME]"),
        (r"\b\d+(\.\d+)?[kMG]B\b", "[SIZE]"),
    ] {
        let pattern = Regex::new(pattern).unwrap();
        text = pattern.replace_all(&text, name).into_owned();
    }
    text
}

/// Returns the names of the files below a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Asks a kiln to stop, as Ctrl-C does.
pub(crate) fn interrupt(child: &Child) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success());
}
