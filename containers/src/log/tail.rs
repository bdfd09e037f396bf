//! Where the last records of a log begin, found from its end.

use std::fs::File;
use std::io::{self, ErrorKind, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::files;

/// How much is read at a time. Bytes.
const BLOCK: usize = 64 << 10;

/// Opens the file in which the last `count` records begin, at the first of them; none if nothing was
/// written. Reads what they take and no more. A record that is cut off, because its writer was
/// killed, counts too.
///
/// # Errors
/// Those of reading.
pub(super) fn open_at_last(directory: &Path, count: usize) -> io::Result<Option<File>> {
    loop {
        let numbers = files::numbers(directory)?;
        let full = numbers.iter().rev();
        let full = full.map(|&number| files::numbered(directory, number));
        let mut missing = count;
        let mut begins_in = None;
        for path in std::iter::once(files::current(directory)).chain(full) {
            let mut file = match File::open(&path) {
                Ok(file) => file,
                // The current one is made by the first record; an old one was too old to be kept.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let (start, found) = last_records(&file, missing)?;
            file.seek(SeekFrom::Start(start))?;
            begins_in = Some(file);
            missing -= found;
            if missing == 0 {
                break;
            }
        }
        // If the writer began another file in between, one may have been counted twice or not at all.
        if files::numbers(directory)? == numbers {
            return Ok(begins_in);
        }
    }
}

/// Returns where the last records of a file begin, at most so many, and how many they are.
fn last_records(file: &File, most: usize) -> io::Result<(u64, usize)> {
    let mut buffer = vec![0; BLOCK];
    let mut found = 0;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let begin = end.saturating_sub(BLOCK as u64);
        let length = usize::try_from(end - begin).map_err(io::Error::other)?;
        let block = &mut buffer[..length];
        file.read_exact_at(block, begin)?;
        for (position, _) in block.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            if found == most {
                return Ok((begin + position as u64 + 1, found));
            }
            found += 1;
        }
        end = begin;
    }
    Ok((0, found))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;

    use super::*;

    /// Returns what is left to be read when a log of these files, oldest first, is opened.
    fn left(texts: &[&str], count: usize) -> Option<String> {
        let scratch = kiln_testbed::Scratch::new();
        let (current, full) = texts.split_last().unwrap();
        for (number, text) in (1..).zip(full) {
            fs::write(files::numbered(scratch.path(), number), text).unwrap();
        }
        fs::write(files::current(scratch.path()), current).unwrap();
        let file = open_at_last(scratch.path(), count).unwrap();
        file.map(|file| io::read_to_string(file).unwrap())
    }

    #[test]
    fn last_records_are_found_across_files() {
        let log = ["a\nb\n", "c\nd\n", "e\nf\n"];
        for (count, expected) in [
            (0, ""),
            (1, "f\n"),
            (2, "e\nf\n"),
            (3, "d\n"),
            (5, "b\n"),
            (6, "a\nb\n"),
            (7, "a\nb\n"),
            (usize::MAX, "a\nb\n"),
        ] {
            assert_eq!(left(&log, count).unwrap(), expected, "{count}");
        }
        // What is being written comes after all records.
        assert_eq!(left(&["a\nb\nc"], 0).unwrap(), "c");
        assert_eq!(left(&["a\nb\nc"], 1).unwrap(), "b\nc");
        assert_eq!(left(&["a\n", ""], 1).unwrap(), "a\n");
        let scratch = kiln_testbed::Scratch::new();
        assert!(open_at_last(scratch.path(), 3).unwrap().is_none());
    }

    #[test]
    fn last_records_are_found_without_reading_the_others() {
        /// Returns how many bytes this thread has read.
        fn bytes_read() -> u64 {
            let text = fs::read_to_string("/proc/thread-self/io").unwrap();
            let first = text.lines().find_map(|line| line.strip_prefix("rchar: "));
            first.unwrap().parse().unwrap()
        }
        let scratch = kiln_testbed::Scratch::new();
        let text = "x".repeat(99) + "\n";
        fs::write(files::numbered(scratch.path(), 1), text.repeat(100_000)).unwrap();
        fs::write(files::current(scratch.path()), text.repeat(100_000)).unwrap();
        let before = bytes_read();
        let mut file = open_at_last(scratch.path(), 10).unwrap().unwrap();
        let read = bytes_read() - before;
        assert!(read < 2 * BLOCK as u64, "{read} bytes were read");
        let mut left = String::new();
        file.read_to_string(&mut left).unwrap();
        assert_eq!(left, text.repeat(10));
    }
}
