//! The build context: a directory of the host, seen through its ignore file.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_cache::{
    Entry, Filter, GuestPath, LayerId, Owners, Scan, ScanError, StatIndex, Store, Timestamp, Tree,
    Visit, scan,
};
use kiln_parser::{IgnoreRules, Verdict, WalkState};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::copy;
use crate::files::Files;
use crate::graph::{ContextId, FileSource, Graph, Op};

/// A build context that has not been looked at yet.
#[derive(Clone, Debug)]
pub struct Context {
    /// The directory on the host.
    pub directory: PathBuf,
    /// What does not exist for the build.
    pub ignore: IgnoreRules,
    /// Whose its files are.
    pub owners: Owners,
    /// Whether later builds will look at it again.
    pub lifetime: Lifetime,
}

/// How long the directory of a context is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Longer than the build: what it looked like is remembered.
    Lasting,
    /// As long as the build.
    Build,
}

/// The parts of a context that a build reads.
#[derive(Debug)]
pub struct ScannedContext {
    /// The directory; none if there are no files.
    root: Option<OwnedFd>,
    tree: Arc<Tree>,
    /// Bytes of files that were read because they changed or are new.
    pub bytes_read: u64,
}

impl Context {
    /// Looks at the `wanted` parts of the context; what did not change since the last build is not
    /// read.
    ///
    /// # Errors
    /// When something in it cannot be read.
    pub fn scan(
        &self,
        store: &Store,
        wanted: &[GuestPath],
        now: Timestamp,
    ) -> Result<ScannedContext, ScanError> {
        let previous = match self.lifetime {
            Lifetime::Lasting => StatIndex::load(store, &self.directory),
            Lifetime::Build => StatIndex::default(),
        };
        let Scan {
            tree,
            index,
            bytes_read,
            ..
        } = scan(
            &self.directory,
            wanted,
            &Rules {
                ignore: &self.ignore,
                owners: self.owners,
            },
            previous,
            now,
        )?;
        if let (Some(index), Lifetime::Lasting) = (index, self.lifetime) {
            // Without an index the next build reads everything again; this one loses nothing.
            let _ = index.save(store, &self.directory);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(&self.directory, flags, Mode::empty()).map_err(|error| ScanError {
                path: self.directory.clone(),
                source: error.into(),
            })?;
        Ok(ScannedContext {
            root: Some(root),
            tree,
            bytes_read,
        })
    }
}

impl ScannedContext {
    /// Returns a context without files.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            root: None,
            tree: Arc::default(),
            bytes_read: 0,
        }
    }
}

impl Files for ScannedContext {
    fn get(&self, path: &[u8]) -> Option<Entry<'_>> {
        self.tree.get(path)
    }

    fn below(&self, directory: &[u8]) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        Box::new(
            self.tree
                .below(directory)
                .map(|position| self.tree.at(position)),
        )
    }

    fn names(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        let start = match directory {
            b"" => 0,
            _ => directory.len() + 1,
        };
        self.below(directory)
            .map(|entry| &entry.path[start..])
            .filter(|name| !name.contains(&b'/'))
            .map(<[u8]>::to_vec)
            .collect()
    }

    fn open(&self, path: &[u8]) -> io::Result<File> {
        // Paths of the tree have no symbolic links in front of the last component; one put there
        // meanwhile must not lead outside, and a pipe must not block.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let root = self.root.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let file = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?;
        Ok(File::from(file))
    }

    fn stored(&self, _: &[u8]) -> Option<(LayerId, PathBuf)> {
        None
    }
}

/// The ignore file as a filter of the walk.
struct Rules<'a> {
    ignore: &'a IgnoreRules,
    owners: Owners,
}

impl Filter for Rules<'_> {
    type State = WalkState;

    fn owners(&self) -> Owners {
        self.owners
    }

    fn root(&self) -> WalkState {
        self.ignore.state_for_root()
    }

    fn child(&self, state: &WalkState, path: &[u8], is_directory: bool) -> Visit<WalkState> {
        let start = path.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
        let name = String::from_utf8_lossy(&path[start..]);
        if !is_directory {
            return match self.ignore.verdict(state, &name) {
                Verdict::Included => Visit::Take(WalkState::default()),
                Verdict::Ignored => Visit::Skip,
            };
        }
        let (verdict, inner) = self.ignore.child(state, &name);
        match verdict {
            Verdict::Included => Visit::Take(inner),
            Verdict::Ignored if self.ignore.may_reinclude_below(&inner) => Visit::Enter(inner),
            Verdict::Ignored => Visit::Skip,
        }
    }
}

/// Returns the parts of a context that a graph reads.
#[must_use]
pub fn context_paths(graph: &Graph, context: ContextId) -> Vec<GuestPath> {
    graph
        .steps()
        .filter_map(|(_, step)| match &step.op {
            Op::Copy(copy) => Some(&copy.parts),
            _ => None,
        })
        .flatten()
        .filter(|part| part.source == FileSource::Context(context))
        .flat_map(copy::wanted)
        .collect()
}
