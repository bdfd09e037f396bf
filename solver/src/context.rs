//! The build context: a directory of the host, seen through its ignore file.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use kiln_cache::Store;
use kiln_files::{GuestPath, Links, open_scoped};
use kiln_oci::Timestamp;
use kiln_parser::{IgnoreRules, SourcePattern, Verdict, WalkState};
use kiln_tree::{Entry, Filter, Owners, Scan, ScanError, StatIndex, Tree, Visit, scan};
use rustix::fs::{Dir, FileType, Mode, OFlags};

use crate::buildkit_transfer;
use crate::copy::Argument;
use crate::files::Files;
use crate::graph::{ContextId, CopyLayout, FileSource, Graph, Op, Wildcards};

/// A build context that has not been looked at yet.
#[derive(Clone, Debug)]
pub struct Context {
    /// The directory on the host.
    pub directory: PathBuf,
    /// The ignore file: what it matches does not exist for the build.
    pub ignore: IgnoreRules,
    /// Who owns the files of the context in the image.
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

/// A source argument of a step that reads a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRead {
    argument: String,
    layout: CopyLayout,
    wildcards: Wildcards,
}

/// The parts of a context that a build reads.
#[derive(Debug)]
pub struct ScannedContext {
    /// The directory; none if there are no files.
    root: Option<OwnedFd>,
    tree: Arc<Tree>,
    ignore: IgnoreRules,
    reads: Vec<PathRead>,
    /// Bytes of files that were read because they changed or are new.
    pub bytes_read: u64,
}

impl Context {
    /// Looks at the parts of the context that are read; what did not change since the last build
    /// is not.
    ///
    /// # Errors
    /// When something in it cannot be read.
    pub fn scan(
        &self,
        store: &Store,
        reads: &[PathRead],
        now: Timestamp,
    ) -> Result<ScannedContext, ScanError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(&self.directory, flags, Mode::empty()).map_err(|error| ScanError {
                path: self.directory.clone(),
                source: error.into(),
            })?;
        let mut wanted = Vec::new();
        for read in reads {
            // An argument that cannot be parsed is reported when the copy selects its files.
            if let Ok(argument) = read.parse() {
                wanted.push(argument.beginning());
                matching_links(root.as_fd(), &argument.source, &mut wanted);
            }
        }
        let previous = match self.lifetime {
            Lifetime::Lasting => kiln_cache::load_stat_index(store, &self.directory),
            Lifetime::Build => StatIndex::default(),
        };
        let Scan {
            tree,
            index,
            bytes_read,
            ..
        } = scan(
            &self.directory,
            &wanted,
            &Rules {
                ignore: &self.ignore,
                owners: self.owners,
            },
            previous,
            now,
            store.stop(),
        )?;
        if let (Some(index), Lifetime::Lasting) = (index, self.lifetime) {
            // If the stat index cannot be written, the next build reads every file again; this
            // build goes on.
            let _ = kiln_cache::save_stat_index(store, &self.directory, &index);
        }
        Ok(ScannedContext {
            root: Some(root),
            tree,
            ignore: self.ignore.clone(),
            reads: reads.to_vec(),
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
            ignore: IgnoreRules::default(),
            reads: Vec::new(),
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

    fn unread_names(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        let Some(root) = &self.root else {
            return Vec::new();
        };
        let directory = GuestPath::new(directory);
        let names = names_in(root.as_fd(), &directory).into_iter();
        names
            .filter(|name| {
                let path = directory.join(name);
                !self
                    .ignore
                    .is_ignored(&path.as_relative().to_string_lossy())
            })
            .collect()
    }

    fn is_ignored(&self, path: &GuestPath) -> bool {
        let (Some(root), Some(parent)) = (&self.root, path.parent()) else {
            return false;
        };
        self.ignore
            .is_ignored(&path.as_relative().to_string_lossy())
            && names_in(root.as_fd(), &parent).contains(&path.name().to_vec())
    }

    fn open(&self, path: &[u8]) -> io::Result<File> {
        // Paths of the tree have no symbolic links in front of the last component; one put there
        // meanwhile must not lead outside, and a pipe must not block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let root = self.root.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let file = open_scoped(root, path, flags, Links::None)?;
        Ok(File::from(file))
    }

    fn is_sent(&self, path: &GuestPath) -> bool {
        let arguments = self.reads.iter().map(|read| read.argument.as_str());
        buildkit_transfer::is_sent(self, arguments, path)
    }
}

impl PathRead {
    fn parse(&self) -> Result<Argument, crate::CopySelectError> {
        Argument::parse(&self.argument, self.layout, self.wildcards)
    }
}

/// Returns the names in a directory of the host, sorted; none if it cannot be read.
fn names_in(root: BorrowedFd<'_>, directory: &GuestPath) -> Vec<Vec<u8>> {
    let entries = open_directory(root, directory).and_then(|found| Dir::read_from(&found));
    let entries = entries.into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_bytes().to_vec());
    let mut names: Vec<_> = names
        .filter(|name| *name != b"." && *name != b"..")
        .collect();
    names.sort_unstable();
    names
}

fn open_directory(root: BorrowedFd<'_>, path: &GuestPath) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    open_scoped(root, path.as_relative(), flags, Links::FromRoot)
}

/// Adds the links that a wildcard matches: what they lead to is read too, wherever it is.
fn matching_links(root: BorrowedFd<'_>, pattern: &SourcePattern, found: &mut Vec<GuestPath>) {
    if pattern.depth() == 0 {
        return;
    }
    let base = GuestPath::new(pattern.base());
    // The walk reports what cannot be read.
    if let Ok(directory) = open_directory(root, &base) {
        matching_links_in(&directory, &base, pattern, 0, found);
    }
}

fn matching_links_in(
    directory: &OwnedFd,
    path: &GuestPath,
    pattern: &SourcePattern,
    depth: usize,
    found: &mut Vec<GuestPath>,
) {
    let Ok(entries) = Dir::read_from(directory) else {
        return;
    };
    let is_last = depth + 1 == pattern.depth();
    for entry in entries.flatten() {
        let name = entry.file_name().to_bytes();
        let is_itself = matches!(name, b"." | b"..");
        let may_be = match entry.file_type() {
            FileType::Unknown => true,
            FileType::Symlink => is_last,
            FileType::Directory => !is_last,
            _ => false,
        };
        if is_itself || !may_be || !pattern.matches_at(depth, &String::from_utf8_lossy(name)) {
            continue;
        }
        let path = path.join(name);
        if is_last {
            found.push(path);
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if let Ok(inner) = rustix::fs::openat(directory, name, flags, Mode::empty()) {
            matching_links_in(&inner, &path, pattern, depth + 1, found);
        }
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

/// Returns what a graph reads of a context.
#[must_use]
pub fn context_reads(graph: &Graph, context: ContextId) -> Vec<PathRead> {
    let mut reads = Vec::new();
    for (_, step) in graph.steps() {
        let Op::Copy(copy) = &step.op else {
            continue;
        };
        for part in &copy.parts {
            if part.source != FileSource::Context(context) {
                continue;
            }
            reads.extend(part.paths.iter().map(|argument| PathRead {
                argument: argument.clone(),
                layout: copy.layout,
                wildcards: part.wildcards,
            }));
        }
    }
    reads
}
