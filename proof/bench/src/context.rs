//! Directories to build from, the same at every run.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Files of a directory below which there is one more level, as in a source tree.
const FILES_PER_DIRECTORY: usize = 50;

/// Bytes that [`write_big`] writes at once.
const BLOCK: usize = 1 << 20;
const PAGE: usize = 4096;

/// A number that contents depend on. Other seeds give other bytes in every file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(pub(crate) u64);

/// Many files of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Files {
    /// Writes the files, making the directories they lie in.
    pub(crate) fn write(self, directory: &Path, seed: Seed) -> Result<(), Error> {
        for number in 0..self.count {
            let path = directory.join(file_name(number));
            if number % FILES_PER_DIRECTORY == 0 {
                let parent = path.parent().expect("the name has two components");
                fs::create_dir_all(parent).map_err(Error::at(parent))?;
            }
            self.write_one(directory, number, seed)?;
        }
        Ok(())
    }

    /// Writes one of the files again, and returns its path.
    pub(crate) fn write_one(
        self,
        directory: &Path,
        number: usize,
        seed: Seed,
    ) -> Result<PathBuf, Error> {
        let path = directory.join(file_name(number));
        let seed = Seed(seed.0 ^ (number as u64).rotate_left(32));
        fs::write(&path, text(seed, self.bytes)).map_err(Error::at(&path))?;
        Ok(path)
    }
}

/// Makes a directory with one file of a size. No two of its blocks are alike, nor are those of
/// files with other seeds.
pub(crate) fn write_big(directory: &Path, bytes: u64, seed: Seed) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(Error::at(directory))?;
    let path = directory.join("big");
    let fill = || -> io::Result<()> {
        let mut file = fs::File::create(&path)?;
        let mut block = text(seed, BLOCK);
        let mut left = bytes;
        while left > 0 {
            let length = left.min(BLOCK as u64);
            // Making new text throughout would take longer than everything that is measured.
            for page in block.chunks_exact_mut(PAGE) {
                page[..8].copy_from_slice(&(left ^ seed.0.rotate_left(40)).to_le_bytes());
            }
            file.write_all(&block[..usize::try_from(length).expect("at most a block")])?;
            left -= length;
        }
        Ok(())
    };
    fill().map_err(Error::at(&path))
}

/// Copies a tree of directories, files and links, every file with a line of its own at the end,
/// and returns how many bytes it has.
pub(crate) fn copy_varied(from: &Path, to: &Path, seed: Seed) -> Result<u64, Error> {
    fs::create_dir(to).map_err(Error::at(to))?;
    let mut total = 0;
    for entry in fs::read_dir(from).map_err(Error::at(from))? {
        let entry = entry.map_err(Error::at(from))?;
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::at(&source))?;
        if kind.is_dir() {
            total += copy_varied(&source, &copy, seed)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&source).map_err(Error::at(&source))?;
            symlink(target, &copy).map_err(Error::at(&copy))?;
        } else if kind.is_file() {
            let mut content = fs::read(&source).map_err(Error::at(&source))?;
            content.extend(format!("\n{}\n", seed.0).into_bytes());
            fs::write(&copy, &content).map_err(Error::at(&copy))?;
            total += content.len() as u64;
        }
    }
    Ok(total)
}

/// Writes a Dockerfile.
pub(crate) fn write_dockerfile(directory: &Path, text: &str) -> Result<(), Error> {
    let path = directory.join("Dockerfile");
    fs::write(&path, text).map_err(Error::at(&path))
}

fn file_name(number: usize) -> String {
    format!(
        "part-{:04}/module-{number:06}.js",
        number / FILES_PER_DIRECTORY
    )
}

/// Returns lines that look different everywhere and compress about as well as source text.
fn text(seed: Seed, bytes: usize) -> Vec<u8> {
    let mut state = seed.0;
    let mut text = Vec::with_capacity(bytes + 64);
    while text.len() < bytes {
        // splitmix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators".
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        text.extend_from_slice(format!("exports.value = () => {word:#018x};\n").as_bytes());
    }
    text.truncate(bytes);
    text
}

#[cfg(test)]
mod tests {
    use kiln_testbed::{Scratch, list_directory};

    use super::*;
    use crate::stat_walk::stat_walk;

    #[test]
    fn a_context_has_all_its_files_and_comes_out_the_same() {
        let files = Files {
            count: 120,
            bytes: 100,
        };
        let scratch = Scratch::new();
        let [first, again, other] = ["first", "again", "other"].map(|name| scratch.join(name));
        files.write(&first, Seed(1)).unwrap();
        files.write(&again, Seed(1)).unwrap();
        files.write(&other, Seed(2)).unwrap();
        assert_eq!(stat_walk(&first).unwrap(), 120 * 100);
        let lines = list_directory(&first);
        assert_eq!(lines.len(), 1 + 3 + 120);
        assert_eq!(lines, list_directory(&again));
        let same = list_directory(&other)
            .iter()
            .filter(|line| line.contains(".js") && lines.contains(line))
            .count();
        assert_eq!(same, 0);
    }

    #[test]
    fn a_big_file_has_its_size_and_no_block_twice() {
        let scratch = Scratch::new();
        let size = 2 * BLOCK + 5000;
        write_big(scratch.path(), size as u64, Seed(3)).unwrap();
        let content = fs::read(scratch.join("big")).unwrap();
        assert_eq!(content.len(), size);
        let pages: std::collections::HashSet<_> = content.chunks(PAGE).collect();
        assert_eq!(pages.len(), size.div_ceil(PAGE));
        write_big(scratch.path(), size as u64, Seed(4)).unwrap();
        let other = fs::read(scratch.join("big")).unwrap();
        assert!(other.chunks_exact(PAGE).all(|page| !pages.contains(page)));
    }

    #[test]
    fn varied_copies_have_the_same_names_and_other_content() {
        let scratch = Scratch::new();
        let from = scratch.join("from");
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::write(from.join("bin/program"), "code").unwrap();
        symlink("program", from.join("bin/link")).unwrap();
        let [first, second] = [7, 8].map(|seed| {
            let to = scratch.join(format!("to-{seed}"));
            assert_eq!(copy_varied(&from, &to, Seed(seed)).unwrap(), 7);
            to
        });
        let read = |directory: PathBuf| fs::read_to_string(directory.join("bin/link")).unwrap();
        assert_eq!(read(first), "code\n7\n");
        assert_eq!(read(second), "code\n8\n");
    }

    #[test]
    fn one_file_changes_alone() {
        let files = Files {
            count: 10,
            bytes: 100,
        };
        let scratch = Scratch::new();
        files.write(scratch.path(), Seed(1)).unwrap();
        let before = list_directory(scratch.path());
        let changed = files.write_one(scratch.path(), 7, Seed(2)).unwrap();
        assert!(changed.ends_with("part-0000/module-000007.js"));
        let after = list_directory(scratch.path());
        let differing = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 1);
    }
}
