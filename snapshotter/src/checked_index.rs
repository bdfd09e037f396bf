//! A note beside a long index that every entry of it was looked at.
//!
//! What reads an index looks at all its entries first, so that damage shows there and then. Of a
//! million files that takes a tenth of a second, for a command that asks for three paths. So who
//! looked at a long index notes which file that was, and as long as it is this file, unchanged, no
//! command looks again; `kiln cache verify` does, and so does who comes after a power failure.
//!
//! ```text
//! layers/<2 hex>/<layer id>/checked   text: inode, length, times of change, implied directories
//! ```

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kiln_cache::Store;
use kiln_files::FileBytes;
use kiln_tree::{InvalidTree, Tree};

/// Bytes from which on an index gets a note: a shorter one is looked at as fast as the note is read.
const LONG: u64 = 1 << 20;

/// What a note begins with: what is looked at in an index may change.
const FORMAT: &str = "kiln.checked.1";

/// Why an index could not be read.
pub(crate) enum IndexError {
    Io(io::Error),
    Invalid(InvalidTree),
}

/// Reads the index in the directory of a layer. Of one that is known to be right no entry is looked at.
pub(crate) fn read(store: &Store, layer: &Path) -> Result<Tree, IndexError> {
    let (metadata, bytes) = open(layer).map_err(IndexError::Io)?;
    let is_long = metadata.len() >= LONG;
    if is_long {
        let noted = fs::read_to_string(layer.join("checked")).unwrap_or_default();
        let is_noted = |has_implied: &bool| noted == text(&metadata, *has_implied);
        if let Some(has_implied) = [false, true].into_iter().find(is_noted) {
            return Tree::of_checked_bytes(bytes, has_implied).map_err(IndexError::Invalid);
        }
    }
    let tree = Tree::from_bytes(bytes).map_err(IndexError::Invalid)?;
    if is_long {
        // Without the note the next command looks at all entries again.
        let _ = write(store, layer, &text(&metadata, tree.has_implied()));
    }
    Ok(tree)
}

/// Reads the index in the directory of a layer, and looks at every entry, whoever did before.
pub(crate) fn look(layer: &Path) -> Result<Tree, IndexError> {
    let (_, bytes) = open(layer).map_err(IndexError::Io)?;
    Tree::from_bytes(bytes).map_err(IndexError::Invalid)
}

/// Returns what the index is and what is in it, both of one file.
fn open(layer: &Path) -> io::Result<(Metadata, FileBytes)> {
    let file = File::open(layer.join("index"))?;
    Ok((file.metadata()?, FileBytes::of_file(file)?))
}

/// Notes that the index in a directory is the one that was written there, if it is long.
pub(crate) fn note(store: &Store, layer: &Path, tree: &Tree) -> io::Result<()> {
    if !is_noted(tree) {
        return Ok(());
    }
    let metadata = fs::metadata(layer.join("index"))?;
    write(store, layer, &text(&metadata, tree.has_implied()))
}

/// Says whether an index gets a note.
pub(crate) fn is_noted(tree: &Tree) -> bool {
    tree.file_length() >= LONG
}

/// Writes a note, unless the directory is gone.
fn write(store: &Store, layer: &Path, text: &str) -> io::Result<()> {
    let temporary = store.work_file()?;
    fs::write(&temporary, text)?;
    fs::rename(&temporary, layer.join("checked"))
}

fn text(index: &Metadata, has_implied: bool) -> String {
    format!(
        "{FORMAT} {} {} {}.{:09} {}.{:09} {has_implied}\n",
        index.ino(),
        index.len(),
        index.mtime(),
        index.mtime_nsec(),
        index.ctime(),
        index.ctime_nsec(),
    )
}

#[cfg(test)]
mod tests {
    use kiln_files::GuestPath;
    use kiln_oci::Timestamp;
    use kiln_tree::{NodeKind, TreeBuilder};

    use super::*;
    use crate::metadata;

    /// Writes an index of many entries, and whether there is a note of it.
    fn fixture(has_implied: bool) -> (tempfile::TempDir, Store, Tree) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state")).unwrap();
        let mut builder = TreeBuilder::new();
        let metadata = metadata::Metadata::root_owned(0o755, Timestamp::EPOCH);
        for number in 0..30_000 {
            let path = GuestPath::new(format!("directory{number:07}"));
            let kind = NodeKind::Directory {
                opaque: false,
                implied: has_implied && number == 7,
            };
            builder.push(&metadata.entry(&path, kind));
        }
        let tree = builder.finish();
        assert_eq!(tree.has_implied(), has_implied);
        let mut file = File::create(directory.path().join("index")).unwrap();
        tree.write(&mut file).unwrap();
        (directory, store, tree)
    }

    fn is_right(store: &Store, layer: &Path, tree: &Tree) -> bool {
        read(store, layer).is_ok_and(|read| read == *tree)
    }

    #[test]
    fn an_index_is_looked_at_once_and_again_when_it_changed() {
        for has_implied in [false, true] {
            let (directory, store, tree) = fixture(has_implied);
            let (layer, index) = (directory.path(), directory.path().join("index"));
            assert!(is_right(&store, layer, &tree));
            let noted = fs::read_to_string(layer.join("checked")).unwrap();
            assert!(is_right(&store, layer, &tree));
            // What stands in the note is believed.
            let other = noted.replace(&has_implied.to_string(), &(!has_implied).to_string());
            fs::write(layer.join("checked"), other).unwrap();
            assert!(!is_right(&store, layer, &tree));
            // A note that is none, or of another file, is not.
            for damaged in [
                "",
                "x",
                &noted[1..],
                &noted.replace(FORMAT, "kiln.checked.0"),
            ] {
                fs::write(layer.join("checked"), damaged).unwrap();
                assert!(is_right(&store, layer, &tree));
                assert_eq!(fs::read_to_string(layer.join("checked")).unwrap(), noted);
            }
            let mut bytes = fs::read(&index).unwrap();
            // The path of the second entry is not after that of the first.
            let second = bytes
                .windows(16)
                .position(|part| part == b"directory0000001")
                .unwrap();
            bytes[second + 15] = b'0';
            fs::write(&index, bytes).unwrap();
            assert!(matches!(read(&store, layer), Err(IndexError::Invalid(_))));
        }
    }

    #[test]
    fn a_note_of_what_was_written_is_the_one_of_who_reads_it() {
        let (directory, store, tree) = fixture(true);
        note(&store, directory.path(), &tree).unwrap();
        let noted = fs::read_to_string(directory.path().join("checked")).unwrap();
        fs::remove_file(directory.path().join("checked")).unwrap();
        assert!(is_right(&store, directory.path(), &tree));
        assert_eq!(
            fs::read_to_string(directory.path().join("checked")).unwrap(),
            noted
        );
        // A directory that is gone stays gone.
        let gone = directory.path().join("gone");
        assert!(write(&store, &gone, "x").is_err() && !gone.exists());
    }
}
