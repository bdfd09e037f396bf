//! Bytes by digest: manifests, configs and compressed layers.
//!
//! A blob is written in `work/` while its SHA-256 is computed, and renamed to its name once the
//! digest is known to be the expected one. So a blob that exists is whole. Blobs are never changed.
//!
//! Disks damage files all the same: a blob that turns out to be damaged is deleted at once, because
//! it would only keep the right one from being written. Small blobs are compared with their digest
//! whenever they are read; of large ones, the length is checked, and an export or push compares the
//! digest on the way.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::PathBuf;

use crate::{DiskUsage, Store, Unsettled};
use kiln_oci::{Descriptor, Sha256, Sha256Reader, Sha256Writer};

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are not those that were asked for.
    #[error("content does not match its digest: expected {expected}, got {actual}")]
    Mismatch {
        /// The digest that was asked for.
        expected: Sha256,
        /// The digest of the bytes that came.
        actual: Sha256,
    },
    /// The content has another length than announced.
    #[error("content of {digest} has {actual} bytes instead of {expected}")]
    Size {
        /// The digest that was asked for.
        digest: Sha256,
        /// The announced length in bytes.
        expected: u64,
        /// The length that came.
        actual: u64,
    },
    /// The blob is not in the store.
    #[error("blob {0} is not in the store")]
    Missing(Sha256),
    /// The blob was damaged, and is not in the store any more.
    #[error("blob {0} was damaged and has been discarded")]
    Damaged(Sha256),
    /// A file operation failed.
    #[error("blob store: {path}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// The blobs of a state directory.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Store,
}

impl Blobs {
    /// Returns the state directory that they are in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the blobs of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    /// Returns where the blob is kept, or would be.
    #[must_use]
    pub fn path(&self, digest: Sha256) -> PathBuf {
        let hex = digest.hex();
        self.store.path(format!("blobs/sha256/{}/{hex}", &hex[..2]))
    }

    /// Returns the blob's length in bytes, or none if it is not here.
    #[must_use]
    pub fn size(&self, digest: Sha256) -> Option<u64> {
        self.store.hold(Unsettled::Blob(digest));
        fs::metadata(self.path(digest)).ok().map(|m| m.len())
    }

    /// Says whether the blob is here.
    #[must_use]
    pub fn contains(&self, digest: Sha256) -> bool {
        self.size(digest).is_some()
    }

    /// Says whether the blob of a descriptor is here. One of another length is damaged, and not here
    /// any more then, unless it is the descriptor that is wrong.
    #[must_use]
    pub fn has(&self, descriptor: &Descriptor) -> bool {
        match self.size(descriptor.digest) {
            Some(size_bytes) if size_bytes == descriptor.size_bytes => true,
            Some(_) => {
                // Anybody can write a descriptor.
                if self
                    .damage(descriptor.digest)
                    .is_ok_and(|damage| damage.is_some())
                {
                    self.discard_damaged(descriptor.digest);
                }
                false
            }
            None => false,
        }
    }

    /// Reads a blob whole and returns the digest of its content if that is not its name; none if it
    /// is whole or not here.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn damage(&self, digest: Sha256) -> io::Result<Option<Sha256>> {
        let file = match File::open(self.path(digest)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut reader = Sha256Reader::new(BufReader::with_capacity(1 << 17, file));
        io::copy(&mut reader, &mut io::sink())?;
        let (_, actual, _) = reader.finish();
        Ok((actual != digest).then_some(actual))
    }

    /// Deletes a blob that is damaged: now it can be made or fetched again.
    pub fn discard_damaged(&self, digest: Sha256) {
        // One that stays is found again.
        let _ = fs::remove_file(self.path(digest));
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if it is not here.
    pub fn open(&self, digest: Sha256) -> Result<File, BlobError> {
        self.store.hold(Unsettled::Blob(digest));
        let path = self.path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => BlobError::Missing(digest),
            _ => BlobError::Io { path, source },
        })
    }

    /// Reads a small blob (a manifest or config) whole.
    ///
    /// # Errors
    /// As [`Blobs::open`], and [`BlobError::Damaged`].
    pub fn read(&self, digest: Sha256) -> Result<Vec<u8>, BlobError> {
        let mut bytes = Vec::new();
        self.open(digest)?
            .read_to_end(&mut bytes)
            .map_err(|source| BlobError::Io {
                path: self.path(digest),
                source,
            })?;
        if Sha256::of(&bytes) != digest {
            self.discard_damaged(digest);
            return Err(BlobError::Damaged(digest));
        }
        Ok(bytes)
    }

    /// Stores `bytes` and returns their digest. Writes nothing if they are here already.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Sha256, BlobError> {
        let digest = Sha256::of(bytes);
        if self.contains(digest) {
            return Ok(digest);
        }
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(|source| BlobError::Io {
            path: self.path(digest),
            source,
        })?;
        writer.finish(Some(digest))?;
        Ok(digest)
    }

    /// Starts a blob whose digest is not known or not verified yet.
    ///
    /// # Errors
    /// When no file can be made.
    pub fn writer(&self) -> Result<BlobWriter, BlobError> {
        self.store.admit_collection();
        let path = self.store.work_file().map_err(|source| BlobError::Io {
            path: self.store.path("work"),
            source,
        })?;
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| BlobError::Io {
                path: path.clone(),
                source,
            })?;
        Ok(BlobWriter {
            blobs: self.clone(),
            temporary: Some(path),
            inner: Some(Sha256Writer::new(BufWriter::with_capacity(1 << 17, file))),
        })
    }
}

/// A blob being written. Dropped without [`BlobWriter::finish`], it leaves nothing. It takes no more
/// bytes once kiln is asked to stop.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    temporary: Option<PathBuf>,
    inner: Option<Sha256Writer<BufWriter<File>>>,
}

impl BlobWriter {
    /// Makes the blob visible and returns its digest and length in bytes.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] if the bytes are not those `expected`; nothing is stored then.
    pub fn finish(mut self, expected: Option<Sha256>) -> Result<(Sha256, u64), BlobError> {
        let temporary = self.temporary.clone().expect("finish consumes the writer");
        let failed = |source| BlobError::Io {
            path: temporary.clone(),
            source,
        };
        let inner = self.inner.take().expect("finish consumes the writer");
        let (buffer, actual, size_bytes) = inner.finish();
        drop(buffer.into_inner().map_err(|e| failed(e.into_error()))?);
        if let Some(expected) = expected
            && expected != actual
        {
            return Err(BlobError::Mismatch { expected, actual });
        }
        let path = self.blobs.path(actual);
        let store = &self.blobs.store;
        store.hold(Unsettled::Blob(actual));
        let _announced = store.announce(Unsettled::Blob(actual)).map_err(failed)?;
        match fs::rename(&temporary, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parent = path.parent().expect("blobs lie below the root");
                fs::create_dir_all(parent).map_err(failed)?;
                fs::rename(&temporary, &path).map_err(failed)?;
            }
            other => other.map_err(failed)?,
        }
        self.temporary = None;
        store.grow(DiskUsage::of_lengths([size_bytes]));
        Ok((actual, size_bytes))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.blobs.store.stop().check()?;
        self.inner
            .as_mut()
            .expect("finish consumes the writer")
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner
            .as_mut()
            .expect("finish consumes the writer")
            .flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            // What cannot be deleted now goes with the rest of `work/`.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(&Store::open(directory.path()).unwrap());
        (directory, blobs)
    }

    #[test]
    fn a_blob_reads_as_it_was_put() {
        let (_directory, blobs) = blobs();
        let digest = blobs.put(b"hello").unwrap();
        assert_eq!(digest, Sha256::of(b"hello"));
        assert_eq!(blobs.read(digest).unwrap(), b"hello");
        assert_eq!(blobs.size(digest), Some(5));
        assert!(blobs.contains(digest));
        assert!(!blobs.contains(Sha256::of(b"other")));
    }

    #[test]
    fn a_damaged_blob_is_found_and_can_be_stored_again() {
        let (_directory, blobs) = blobs();
        let digest = blobs.put(b"hello").unwrap();
        for damage in [&b""[..], b"hel", b"hullo"] {
            fs::write(blobs.path(digest), damage).unwrap();
            let error = blobs.read(digest).unwrap_err();
            assert!(matches!(error, BlobError::Damaged(found) if found == digest));
            assert!(!blobs.contains(digest));
            blobs.put(b"hello").unwrap();
            assert_eq!(blobs.read(digest).unwrap(), b"hello");
        }
    }

    #[test]
    fn descriptor_that_lies_takes_no_whole_blob_away() {
        let (_directory, blobs) = blobs();
        let digest = blobs.put(b"hello").unwrap();
        let lying = Descriptor::new("text/plain", digest, 7);
        assert!(!blobs.has(&lying));
        assert_eq!(blobs.read(digest).unwrap(), b"hello");
    }

    #[test]
    fn a_blob_of_another_length_than_its_descriptor_is_not_here() {
        let (_directory, blobs) = blobs();
        let descriptor = Descriptor::of("text/plain", b"hello");
        assert!(!blobs.has(&descriptor));
        blobs.put(b"hello").unwrap();
        assert!(blobs.has(&descriptor));
        fs::write(blobs.path(descriptor.digest), "hell").unwrap();
        assert!(!blobs.has(&descriptor));
        assert!(!blobs.contains(descriptor.digest), "it is made again");
    }

    #[test]
    fn a_missing_blob_is_told_from_an_unreadable_one() {
        let (_directory, blobs) = blobs();
        let digest = Sha256::of(b"hello");
        assert!(matches!(blobs.open(digest), Err(BlobError::Missing(found)) if found == digest));
        let path = blobs.path(digest);
        fs::create_dir_all(path.parent().unwrap().parent().unwrap()).unwrap();
        fs::write(path.parent().unwrap(), "no directory").unwrap();
        assert!(matches!(blobs.open(digest), Err(BlobError::Io { .. })));
    }

    /// OCI-005.
    #[test]
    fn wrong_bytes_are_refused_and_leave_nothing() {
        let (directory, blobs) = blobs();
        let expected = Sha256::of(b"good");
        let mut writer = blobs.writer().unwrap();
        writer.write_all(b"bad").unwrap();
        let error = writer.finish(Some(expected)).unwrap_err();
        assert!(matches!(error, BlobError::Mismatch { .. }));
        assert!(!blobs.contains(expected));
        let left = walkdir::WalkDir::new(directory.path().join("work"))
            .into_iter()
            .filter(|entry| entry.as_ref().unwrap().file_type().is_file())
            .count();
        assert_eq!(left, 0);
    }
}
