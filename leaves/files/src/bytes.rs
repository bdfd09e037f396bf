//! The bytes of a file that is read whole: in memory of their own, or where the kernel keeps them.
//!
//! An index of a million files has a hundred megabytes, of which a command looks at a few pages. So
//! long files are mapped, and take memory that the kernel can have back at any time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

/// Bytes. Shorter files are read: a page of theirs costs as much as all of them.
const MAPPED_FROM: u64 = 1 << 20;

/// Bytes in memory or of a mapped file, or a part of such. Clones share them.
#[derive(Clone)]
pub struct FileBytes {
    whole: Arc<BytesPlace>,
    part: Range<usize>,
}

enum BytesPlace {
    Memory(Vec<u8>),
    File(Mmap),
}

impl FileBytes {
    /// Reads a file from its beginning, or maps it if it is long. It must be one that is replaced and
    /// never written to, like all in a state directory: who cuts it while it is mapped ends the
    /// process.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(mut file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        // Not every file system can map files.
        if length >= MAPPED_FROM
            && let Ok(bytes) = Self::mapped(&file)
        {
            return Ok(bytes);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    /// Maps a file as long as it is now.
    pub(crate) fn mapped(file: &File) -> io::Result<Self> {
        Ok(BytesPlace::File(map(file)?).into())
    }

    /// Returns a part of them.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn part(&self, part: Range<usize>) -> Self {
        assert!(part.start <= part.end && part.end <= self.part.len());
        Self {
            whole: Arc::clone(&self.whole),
            part: self.part.start + part.start..self.part.start + part.end,
        }
    }
}

#[expect(
    unsafe_code,
    reason = "mapped bytes are sound as long as nobody changes the file"
)]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: files of a state directory get their names when they are written, and are replaced by
    // others, never changed; nobody but the user can write there. To a file without a name only its
    // owner in this process writes, behind what is mapped.
    unsafe { Mmap::map(file) }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let whole: &[u8] = match &*self.whole {
            BytesPlace::Memory(bytes) => bytes,
            BytesPlace::File(map) => map,
        };
        &whole[self.part.clone()]
    }
}

impl From<BytesPlace> for FileBytes {
    fn from(whole: BytesPlace) -> Self {
        let length = match &whole {
            BytesPlace::Memory(bytes) => bytes.len(),
            BytesPlace::File(map) => map.len(),
        };
        Self {
            whole: Arc::new(whole),
            part: 0..length,
        }
    }
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> Self {
        BytesPlace::Memory(bytes).into()
    }
}

impl Default for FileBytes {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl PartialEq for FileBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for FileBytes {}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn bytes_are_those_of_the_file_however_long_it_is() {
        for length in [0, 1, 5000, 1 << 20, (1 << 20) + 1] {
            let content: Vec<u8> = (0..length).map(|number: u32| number as u8).collect();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&content).unwrap();
            let bytes = FileBytes::of_file(file.reopen().unwrap()).unwrap();
            assert!(*bytes == *content && bytes == content.clone().into());
            let middle = content.len() / 3..content.len() / 2;
            assert!(*bytes.part(middle.clone()) == content[middle.clone()]);
            let inner = bytes.part(middle.clone()).part(0..middle.len() / 2);
            assert!(*inner == content[middle.start..middle.start + middle.len() / 2]);
            // A file that was replaced is still there for who has it.
            drop(file);
            assert!(*bytes == *content);
        }
    }
}
