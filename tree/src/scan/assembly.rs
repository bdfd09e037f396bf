//! From what was met to the next index: what changed is read, some files at a time.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rayon::prelude::*;

use super::content::read_content;
use super::filter::{ScanError, host_path};
use super::found::FoundFile;
use super::met::Met;
use crate::StatIndex;
use crate::stat_index::StatIndexBuilder;
use kiln_threads::Stop;

/// Where files are read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) root: &'a Path,
    pub(super) directory: &'a OwnedFd,
    pub(super) stop: &'a Stop,
}

/// The next index in the making.
pub(super) struct Assembly<'a> {
    reading: Reading<'a>,
    previous: &'a StatIndex,
    index: StatIndexBuilder,
    /// What comes next, before it was read.
    waiting: Vec<Met>,
    files_read: usize,
    bytes_read: u64,
}

/// Files that wait until they are read by several threads at once.
const AT_ONCE: usize = 16 << 10;

impl<'a> Assembly<'a> {
    pub(super) fn new(reading: Reading<'a>, previous: &'a StatIndex) -> Self {
        Self {
            reading,
            previous,
            index: StatIndexBuilder::default(),
            waiting: Vec::new(),
            files_read: 0,
            bytes_read: 0,
        }
    }

    /// Adds what comes next.
    pub(super) fn add(&mut self, met: Met) -> Result<(), ScanError> {
        match met {
            Met::Known(position) if self.waiting.is_empty() => {
                self.index.copy(self.previous, position);
            }
            _ => self.waiting.push(met),
        }
        if self.waiting.len() >= AT_ONCE {
            self.flush()?;
        }
        Ok(())
    }

    /// Returns the index, how many files were read, and how many bytes they had.
    pub(super) fn finish(mut self) -> Result<(StatIndex, usize, u64), ScanError> {
        self.flush()?;
        Ok((self.index.finish(), self.files_read, self.bytes_read))
    }

    /// Reads what waits and has to be read, and adds all of it.
    fn flush(&mut self) -> Result<(), ScanError> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let (files, bytes) = self.reading.read_changed(&mut waiting)?;
        self.files_read += files;
        self.bytes_read += bytes;
        for met in &waiting {
            match met {
                Met::Known(position) => self.index.copy(self.previous, *position),
                Met::New(found) => self.index.push(&found.entry(), &found.identity),
            }
        }
        waiting.clear();
        self.waiting = waiting;
        Ok(())
    }
}

impl Reading<'_> {
    /// Reads what is new or changed, in parallel; returns how many files that were, and their bytes.
    fn read_changed(&self, met: &mut [Met]) -> Result<(usize, u64), ScanError> {
        let mut changed: Vec<&mut FoundFile> = met
            .iter_mut()
            .filter_map(|item| match item {
                Met::New(found) if found.must_be_read => Some(&mut **found),
                _ => None,
            })
            .collect();
        let read = |found: &mut &mut FoundFile| {
            let content = read_content(self.directory.as_fd(), &found.path, self.stop);
            let content = content.map_err(|source| ScanError {
                path: host_path(self.root, &found.path),
                source,
            })?;
            let bytes = content.size;
            found.fill(content);
            Ok(bytes)
        };
        let bytes: Vec<u64> = match changed.as_mut_slice() {
            // One file needs no threads.
            [] => Vec::new(),
            [only] => vec![read(only)?],
            several => {
                kiln_threads::prepare_pool();
                let all = several.par_iter_mut().map(read);
                all.collect::<Result<_, ScanError>>()?
            }
        };
        Ok((bytes.len(), bytes.iter().sum()))
    }
}
