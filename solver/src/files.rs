//! A tree of files to look things up in, wherever it comes from: a build context, or the layers
//! below a step.

use std::fs::File;
use std::io;

use kiln_files::GuestPath;
use kiln_tree::{Entry, LayerId, NodeKind};

/// Files by path. The root itself is always a directory and has no entry.
pub trait Files: Sync {
    /// Returns the entry at a clean path; symbolic links are not followed.
    fn get(&self, path: &[u8]) -> Option<Entry<'_>>;

    /// Returns everything below a directory in the order of a walk, itself left out.
    fn below(&self, directory: &[u8]) -> Box<dyn Iterator<Item = Entry<'_>> + '_>;

    /// Returns the names in a directory, sorted.
    fn names(&self, directory: &[u8]) -> Vec<Vec<u8>>;

    /// Returns the names in a directory, those included that no instruction reads.
    fn unread_names(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        self.names(directory)
    }

    /// Says whether there is something at a path that the ignore file hides.
    fn is_ignored(&self, _path: &GuestPath) -> bool {
        false
    }

    /// Opens the regular file at a clean path.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, path: &[u8]) -> io::Result<File>;

    /// Returns which layer the regular file at a clean path belongs to, if it is one of the store's
    /// own files, which never change.
    fn layer_of(&self, _path: &[u8]) -> Option<LayerId> {
        None
    }

    /// Says whether BuildKit would see something at a path. Of a context it is sent only what
    /// instructions name, and that shows where a wildcard matches nothing.
    fn is_sent(&self, _path: &GuestPath) -> bool {
        true
    }
}

/// A tree without files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoFiles;

impl Files for NoFiles {
    fn get(&self, _: &[u8]) -> Option<Entry<'_>> {
        None
    }

    fn below(&self, _: &[u8]) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        Box::new(std::iter::empty())
    }

    fn names(&self, _: &[u8]) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn open(&self, _: &[u8]) -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Links followed before a path counts as endless; the kernel's own limit (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Bytes. Paths that a Linux system call takes end here. (PATH_MAX)
const LONGEST_PATH: usize = 4095;

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnresolvedPath {
    /// It has too many symbolic links.
    #[error("too many levels of symbolic links: {0}")]
    Loop(GuestPath),
    /// It is longer than any that a file can have.
    #[error("file name too long: {start}… has more than {LONGEST_PATH} bytes")]
    TooLong {
        /// How it begins.
        start: String,
    },
}

/// Follows the symbolic links in `path`, the last component's too, never leaving the root.
///
/// Components that do not exist are kept as they are. `lookup` tells a link's target.
pub(crate) fn resolve(
    path: &GuestPath,
    mut lookup: impl FnMut(&GuestPath) -> Option<Vec<u8>>,
) -> Result<GuestPath, UnresolvedPath> {
    let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
    let mut reached = GuestPath::ROOT;
    let mut links = 0;
    while let Some(component) = rest.pop() {
        let next = reached.join(&component);
        if next.as_bytes().len() > LONGEST_PATH {
            let start = next.to_string().chars().take(60).collect();
            return Err(UnresolvedPath::TooLong { start });
        }
        let Some(target) = lookup(&next) else {
            reached = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(UnresolvedPath::Loop(path.clone()));
        }
        if target.first() == Some(&b'/') {
            reached = GuestPath::ROOT;
        }
        let components = target.split(|&b| b == b'/').rev();
        rest.extend(components.filter(|c| !c.is_empty()).map(<[u8]>::to_vec));
    }
    Ok(reached)
}

/// [`resolve`] in a tree of files.
pub(crate) fn resolve_in(files: &dyn Files, path: &GuestPath) -> Result<GuestPath, UnresolvedPath> {
    resolve(path, |path| match files.get(path.as_bytes())?.kind {
        NodeKind::Symlink { target } => Some(target.to_vec()),
        _ => None,
    })
}

/// Returns the links that a path in a tree of files leads over, and where it leads.
pub(crate) fn links_on(
    files: &dyn Files,
    path: &GuestPath,
) -> Result<(Vec<GuestPath>, GuestPath), UnresolvedPath> {
    let mut links = Vec::new();
    let reached = resolve(path, |path| match files.get(path.as_bytes())?.kind {
        NodeKind::Symlink { target } => {
            links.push(path.clone());
            Some(target.to_vec())
        }
        _ => None,
    })?;
    Ok((links, reached))
}

/// Returns the file that a further name stands for, by the name that holds its bytes.
pub(crate) fn follow_hard_link<'a>(files: &'a dyn Files, entry: Entry<'a>) -> Entry<'a> {
    match entry.kind {
        // Content, owner, mode, time and attributes are the file's, whatever it is called.
        NodeKind::HardLink { target } => files.get(target).unwrap_or(entry),
        _ => entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        let links = [
            ("lib", "usr/lib"),
            ("usr/lib/abs", "/etc/conf"),
            ("up", "../../../etc"),
            ("loop", "loop"),
            ("dangling", "nowhere/x"),
        ];
        let lookup = |path: &GuestPath| {
            let (_, target) = links
                .iter()
                .find(|(link, _)| GuestPath::new(link) == *path)?;
            Some(target.as_bytes().to_vec())
        };
        let result = match resolve(&GuestPath::new(path), lookup) {
            Ok(path) => path.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(result, expected);
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        check("lib/x", "/usr/lib/x");
        check("lib/abs/y", "/etc/conf/y");
        check("up/passwd", "/etc/passwd");
        check("dangling", "/nowhere/x");
        check("plain/x", "/plain/x");
        check("loop/x", "too many levels of symbolic links: /loop/x");
    }
}
