//! Tells the compiler which commit kiln is made from, for `kiln --version`.
//!
//! A packager without a repository says it in `KILN_COMMIT`. Otherwise git is asked, and again only
//! after `HEAD` moved. Without either, the version is said alone. No time enters the program: two
//! builds of one commit are equal.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo's way of telling a build script"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// As many digits as a commit is shown with; enough for any repository of today.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=KILN_COMMIT");
    let given = std::env::var("KILN_COMMIT").ok();
    let commit = given.or_else(commit_of_checkout).unwrap_or_default();
    let commit: String = commit.chars().take(DIGITS).collect();
    println!("cargo::rustc-env=KILN_COMMIT={commit}");
}

/// Asks git, unless these sources lie in the repository of something else.
fn commit_of_checkout() -> Option<String> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let top = git(checkout, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top) != checkout.canonicalize().ok()? {
        return None;
    }
    // The branch's name, the branch, and where git may have packed it: one of them changes.
    let mut moving = vec!["HEAD".to_owned(), "packed-refs".to_owned()];
    moving.extend(git(checkout, &["symbolic-ref", "--quiet", "HEAD"]));
    for name in moving {
        let place = git(checkout, &["rev-parse", "--git-path", &name])?;
        let place: PathBuf = checkout.join(place);
        // A file that is not there would count as changed each time.
        if place.exists() {
            println!("cargo::rerun-if-changed={}", place.display());
        }
    }
    git(checkout, &["rev-parse", "HEAD"])
}

fn git(checkout: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(checkout)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
