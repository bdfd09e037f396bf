//! The files of a log, in the directory of its container.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Returns the file that is written to.
pub(super) fn current(directory: &Path) -> PathBuf {
    directory.join("log")
}

/// Returns a file that is full.
pub(super) fn numbered(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("log.{number}"))
}

/// Returns the numbers of the files that are full, the oldest first.
pub(super) fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("log."));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}
