//! Places known to have a blob: repositories, from which a push may mount it instead of sending it,
//! and layouts on disk.
//!
//! `<blob>.sources` beside the blob, whether that is here or not: a repository a line, or a layout
//! as `oci-layout:<directory>`, the latest last (docs/spec/oci.md 14). It is a hint: what is lost
//! or wrong costs an upload.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_cache::{Blobs, Store, Unsettled};
use kiln_oci::{ImageRef, Sha256};

/// Places remembered for one blob; more would hardly be asked.
const MOST_SOURCES: usize = 8;

/// The prefix of a layout's directory.
const LAYOUT: &str = "oci-layout:";

/// Remembers that `repository` has a blob.
///
/// # Errors
/// When the file cannot be written.
pub fn remember_source(
    store: &Store,
    blobs: &Blobs,
    digest: Sha256,
    repository: &ImageRef,
) -> io::Result<()> {
    remember_place(store, blobs, digest, &repository.repository())
}

/// Returns how the OCI layout in `directory`, an absolute path, is written down as a place.
///
/// # Errors
/// When it cannot be.
pub fn layout_place(directory: &Path) -> io::Result<String> {
    let is_a_line = |path: &&str| !path.contains('\n');
    let path = directory.to_str().filter(is_a_line);
    let path = path.ok_or(io::ErrorKind::InvalidFilename)?;
    Ok(format!("{LAYOUT}{path}"))
}

/// Remembers that a place, a repository or a layout as written down, has a blob.
///
/// # Errors
/// When the file cannot be written.
pub fn remember_place(store: &Store, blobs: &Blobs, digest: Sha256, line: &str) -> io::Result<()> {
    let path = path(blobs, digest);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.contains(&line) {
        return Ok(());
    }
    lines.push(line);
    let kept = &lines[lines.len().saturating_sub(MOST_SOURCES)..];
    let temporary = store.work_file()?;
    fs::write(&temporary, format!("{}\n", kept.join("\n")))?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(&temporary, &path)
}

/// Returns the repositories known to have a blob, the latest first.
#[must_use]
pub fn sources(blobs: &Blobs, digest: Sha256) -> Vec<ImageRef> {
    let text = fs::read_to_string(path(blobs, digest)).unwrap_or_default();
    let lines = text.lines().rev();
    let lines = lines.filter(|line| !line.starts_with(LAYOUT));
    lines.filter_map(|line| line.parse().ok()).collect()
}

/// Returns the directories of the OCI layouts known to have a blob, the latest first.
#[must_use]
pub fn layouts(blobs: &Blobs, digest: Sha256) -> Vec<PathBuf> {
    let text = fs::read_to_string(path(blobs, digest)).unwrap_or_default();
    let lines = text.lines().rev();
    let paths = lines.filter_map(|line| line.strip_prefix(LAYOUT));
    paths.map(PathBuf::from).collect()
}

/// Returns the note about a blob, which stays from now on.
fn path(blobs: &Blobs, digest: Sha256) -> PathBuf {
    blobs.store().hold(Unsettled::Blob(digest));
    blobs.path(digest).with_extension("sources")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_sources_come_first_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let blobs = Blobs::new(&store);
        let digest = Sha256::of(b"absent");
        assert_eq!(sources(&blobs, digest), []);
        for number in [0, 1, 0, 2, 3, 4, 5, 6, 7, 8] {
            let name: ImageRef = format!("h:5000/r{number}:tag").parse().unwrap();
            remember_source(&store, &blobs, digest, &name).unwrap();
        }
        let found: Vec<String> = sources(&blobs, digest)
            .iter()
            .map(ImageRef::to_string)
            .collect();
        let expected: Vec<String> = (1..=8).rev().map(|n| format!("h:5000/r{n}")).collect();
        assert_eq!(found, expected);
        assert!(layouts(&blobs, digest).is_empty());
        let place = layout_place(Path::new("/a cache")).unwrap();
        remember_place(&store, &blobs, digest, &place).unwrap();
        assert_eq!(layouts(&blobs, digest), [PathBuf::from("/a cache")]);
        assert_eq!(sources(&blobs, digest).len(), 7);
        assert!(layout_place(Path::new("/a\nb")).is_err());
        assert!(!blobs.contains(digest));
    }
}
