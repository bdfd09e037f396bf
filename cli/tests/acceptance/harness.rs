//! What these stories share.

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::Kiln;

/// A directory of `testdata`.
pub(crate) fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(name)
}

/// Copies a context, so that it can be changed.
pub(crate) fn copy_of(kiln: &Kiln, context: &Path, name: &str) -> PathBuf {
    let copy = kiln.scratch.join(name);
    let status = Command::new("cp")
        .args(["-a", "--"])
        .arg(context)
        .arg(&copy)
        .status()
        .unwrap();
    assert!(status.success());
    copy
}

/// Says whether the step whose name ends in `name` was taken from the cache, according to plain
/// progress.
#[track_caller]
pub(crate) fn is_cached(progress: &str, name: &str) -> bool {
    let number = progress
        .lines()
        .find(|line| line.ends_with(name))
        .and_then(|line| line.split(' ').next())
        .unwrap_or_else(|| panic!("no step {name:?} in\n{progress}"));
    progress
        .lines()
        .any(|line| line.strip_prefix(number) == Some(" CACHED"))
}
