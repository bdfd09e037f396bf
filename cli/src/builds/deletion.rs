//! `mode=delete` of `--output type=local`: where stale files may be deleted.

use std::path::{Path, PathBuf};

use kiln_engine::{BuildEntitlement, Output, Stale};

use crate::failure::Failure;

/// Refuses an output that would delete files outside of the current directory, unless that is
/// allowed.
pub(crate) fn check(output: &Output, allowed: &[BuildEntitlement]) -> Result<(), Failure> {
    let Output::Local {
        directory,
        stale: Stale::Delete,
        ..
    } = output
    else {
        return Ok(());
    };
    if allowed.contains(&BuildEntitlement::LocalDelete) {
        return Ok(());
    }
    let here = std::env::current_dir()
        .and_then(|here| here.canonicalize())
        .map_err(|error| Failure::new(format!("cannot find the current directory: {error}")))?;
    if is_below(directory, &here) {
        Ok(())
    } else {
        Err(Failure::flag(format!(
            "mode=delete may delete files of {}, which is not below the current directory",
            directory.display()
        ))
        .with_hint("permit it with --allow buildx.local.delete"))
    }
}

/// Says whether a path, made or still to be made, lies below a directory.
fn is_below(path: &Path, directory: &Path) -> bool {
    let whole = directory.join(path);
    // What exists may be reached through links; what does not exist has none.
    let mut existing = whole.as_path();
    let mut missing: Vec<PathBuf> = Vec::new();
    let real = loop {
        if let Ok(real) = existing.canonicalize() {
            break real;
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            return false;
        };
        missing.push(name.into());
        existing = parent;
    };
    let real = real.join(missing.into_iter().rev().collect::<PathBuf>());
    real != directory && real.starts_with(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_dots_lead_nowhere_unseen() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(here.join("inside/deep")).unwrap();
        std::os::unix::fs::symlink("/", here.join("link")).unwrap();
        for (path, expected) in [
            ("out", true),
            ("out/not/yet", true),
            ("inside/deep", true),
            ("inside/../inside", true),
            ("./inside", true),
            (".", false),
            ("..", false),
            ("../elsewhere", false),
            ("inside/../..", false),
            ("link/tmp", false),
            ("/", false),
            ("missing/../../x", false),
        ] {
            assert_eq!(is_below(Path::new(path), &here), expected, "{path}");
        }
        assert!(is_below(&here.join("inside"), &here));
    }
}
