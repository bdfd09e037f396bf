//! Directories that are no layers, packed and unpacked as layers are.
//!
//! The content of a cache mount goes to other machines so: read like the changes of a step, written
//! as the canonical tar, and packed in the same way. There is nothing below such a directory, so
//! names and devices that mark what a layer hides are files like any other here. What overlayfs
//! notes on files, and sockets, stay behind.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_cache::Blobs;
use kiln_oci::{Compression, DiffId, Sha256Reader, Sha256Writer};
use kiln_threads::{Stop, Stopping};
use kiln_tree::{Device, LayerId, Tree};

use crate::build_error::BuildError;
use crate::commit;
use crate::decompress;
use crate::disk::Root;
use crate::error::LayerError;
use crate::facts::{KnownBlob, LayerFacts, TarFacts, TarOrigin};
use crate::layer::LayerStore;
use crate::layer_files::LayerFiles;
use crate::pack::{self, Packing};
use crate::scan::{self, ScannedKind};
use crate::tar::contents::{Check, OnDisk};
use crate::tar::read::{TarError, TarReader};
use crate::tar::write::write_tree;
use crate::unpack::{UnpackError, Unpacker};

/// A directory that no process changes as long as this value is used.
#[derive(Debug)]
pub struct PlainDirectory {
    path: PathBuf,
    tree: Tree,
}

impl PlainDirectory {
    /// Reads what is in a directory, itself included.
    ///
    /// # Errors
    /// When something in it cannot be read, or `stop` is asked for.
    pub fn read(path: &Path, stop: &Stop) -> Result<Self, LayerError> {
        let root = Root::open(path).map_err(LayerError::at(path))?;
        let mut nodes = vec![scan::scan_root(&root).map_err(LayerError::at(path))?];
        nodes.extend(scan::scan(&root, stop)?);
        for node in &mut nodes {
            match node.kind {
                ScannedKind::Whiteout => node.kind = ScannedKind::CharDevice(NO_DEVICE),
                ScannedKind::Directory { .. } => {
                    node.kind = ScannedKind::Directory { opaque: false }
                }
                _ => {}
            }
        }
        Ok(Self {
            path: path.to_owned(),
            tree: commit::index(nodes.iter()),
        })
    }

    /// Returns the name that a layer with this content would have.
    #[must_use]
    pub fn id(&self) -> LayerId {
        self.tree.layer_id()
    }

    /// Returns a blob of the directory that is in `blobs`, packing one if `facts`, what is known of
    /// the same content, names none. What is learned on the way is added to them.
    ///
    /// # Errors
    /// When the files cannot be read, were changed meanwhile, or the blob cannot be written.
    pub fn pack(
        &self,
        facts: &mut LayerFacts,
        blobs: &Blobs,
        packing: Packing,
    ) -> Result<KnownBlob, LayerError> {
        if let Some(blob) = pack::packed(facts, facts.diff_id(), blobs, packing) {
            return Ok(blob.clone());
        }
        let (blob, tar) = pack::pack(blobs, packing, |output| {
            let files = LayerFiles::in_one(self.path.clone());
            let contents = OnDisk::open(
                self.id(),
                Some(files),
                Check::Length,
                &self.tree,
                0,
                blobs.store().stop(),
            )?;
            let mut hashing = Sha256Writer::new(output);
            write_tree(&contents, &self.tree, 0, &mut hashing, |_, _| ())?;
            let (_, digest, size_bytes) = hashing.finish();
            Ok(TarFacts {
                diff_id: DiffId(digest),
                size_bytes,
                origin: TarOrigin::Canonical,
            })
        })?;
        facts.learn_tar(tar);
        facts.learn_blob(blob.clone());
        Ok(blob)
    }
}

/// The device number that overlayfs takes for a whiteout where it stacks directories.
const NO_DEVICE: Device = Device { major: 0, minor: 0 };

impl LayerStore {
    /// Makes the directory `to` of a blob that holds a packed one, and checks that its tar has the
    /// digest that is expected.
    ///
    /// # Errors
    /// When the blob does not hold that, or the directory cannot be made; there is none then.
    pub fn unpack_plain(
        &self,
        blob: impl Read + Send,
        compression: Compression,
        expected: DiffId,
        to: &Path,
    ) -> Result<(), UnpackError> {
        let builder = self.builder().map_err(BuildError::from)?;
        let meter = self.meter();
        let blob = Stopping::new(self.store().stop(), blob);
        let tar = decompress::reader(blob, Some(compression), &meter).map_err(TarError::Read)?;
        let mut tar = Sha256Reader::new(tar);
        decompress::read_on_thread(&mut tar, |stream| -> Result<(), UnpackError> {
            let mut archive = TarReader::new(stream, &meter);
            Unpacker::of_directory(&builder).unpack(&mut archive)?;
            archive.drain()?;
            Ok(())
        })?;
        let (_, digest, _) = tar.finish();
        let actual = DiffId(digest);
        if actual != expected {
            let error = LayerError::WrongDiffId { expected, actual };
            return Err(BuildError::from(error).into());
        }
        let (directory, _, _work) = builder.into_directory()?;
        fs::rename(&directory, to).map_err(|error| BuildError::from(LayerError::at(to)(error)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use kiln_cache::Store;
    use rustix::fs::XattrFlags;

    use super::*;

    /// Returns a line for each file below a directory: metadata and content.
    fn listing(root: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        let mut pending = vec![root.to_owned()];
        while let Some(path) = pending.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let (mode, owner) = (metadata.mode(), (metadata.uid(), metadata.gid()));
            let content = match () {
                () if metadata.is_dir() => {
                    let entries = fs::read_dir(&path).unwrap();
                    pending.extend(entries.map(|entry| entry.unwrap().path()));
                    String::new()
                }
                () if metadata.is_file() => fs::read_to_string(&path).unwrap(),
                () if metadata.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                () => String::new(),
            };
            let mut note = [0; 16];
            let length = rustix::fs::lgetxattr(&path, "user.note", &mut note).unwrap_or(0);
            let name = path.strip_prefix(root).unwrap().display();
            let time = metadata.mtime();
            let names = metadata.nlink();
            let note = String::from_utf8_lossy(&note[..length]).into_owned();
            lines.push(format!(
                "{name} {mode:o} {owner:?} {time} {names} {content} {note}"
            ));
        }
        lines.sort();
        lines
    }

    fn sample(root: &Path) {
        fs::create_dir(root).unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/file"), "content").unwrap();
        fs::hard_link(root.join("sub/file"), root.join("again")).unwrap();
        fs::write(root.join(".wh.file"), "a name like any other").unwrap();
        fs::write(root.join("large"), "0123456789".repeat(40_000)).unwrap();
        symlink("sub/file", root.join("link")).unwrap();
        // Where the file system has them.
        let _ = rustix::fs::setxattr(
            root.join("sub/file"),
            "user.note",
            b"kept",
            XattrFlags::empty(),
        );
        fs::set_permissions(root.join("sub/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(root.join("sub"), fs::Permissions::from_mode(0o1700)).unwrap();
        fs::set_permissions(root, fs::Permissions::from_mode(0o711)).unwrap();
    }

    #[test]
    fn a_directory_comes_back_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state")).unwrap();
        let (layers, blobs) = (LayerStore::new(&store), Blobs::new(&store));
        let (original, copy) = (directory.path().join("a"), directory.path().join("b"));
        sample(&original);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let plain = PlainDirectory::read(&original, store.stop()).unwrap();
            let mut facts = LayerFacts::default();
            let packing = Packing::new(compression);
            let blob = plain.pack(&mut facts, &blobs, packing).unwrap();
            let open = || blobs.open(blob.descriptor.digest).unwrap();
            let wrong = DiffId::EMPTY;
            assert!(
                layers
                    .unpack_plain(open(), compression, wrong, &copy)
                    .is_err()
            );
            assert!(!copy.exists());
            layers
                .unpack_plain(open(), compression, blob.diff_id, &copy)
                .unwrap();
            assert_eq!(listing(&copy), listing(&original));
            assert_eq!(
                PlainDirectory::read(&copy, store.stop()).unwrap().id(),
                plain.id()
            );
            fs::remove_dir_all(&copy).unwrap();
        }
    }

    #[test]
    fn a_known_blob_is_not_packed_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state")).unwrap();
        let blobs = Blobs::new(&store);
        let original = directory.path().join("a");
        sample(&original);
        let plain = PlainDirectory::read(&original, store.stop()).unwrap();
        let mut facts = LayerFacts::default();
        let gzip = Packing::new(Compression::Gzip);
        let blob = plain.pack(&mut facts, &blobs, gzip).unwrap();
        // Nothing is left to be packed.
        fs::remove_file(original.join("large")).unwrap();
        assert_eq!(plain.pack(&mut facts, &blobs, gzip).unwrap(), blob);
        let zstd = Packing::new(Compression::Zstd);
        assert!(plain.pack(&mut facts, &blobs, zstd).is_err());
        let other = PlainDirectory::read(&original, store.stop()).unwrap();
        assert_ne!(other.id(), plain.id());
    }
}
