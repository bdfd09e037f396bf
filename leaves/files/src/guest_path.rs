//! Paths inside a root file system, as against paths on the host.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A path inside some root: relative to it, clean, in bytes.
///
/// No leading slash, no empty component, no `.` and no `..`; the root itself is empty. Mixing it
/// up with a host path would be a way out of the sandbox, so it is a type of its own, and nothing
/// opens one except relative to a root.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct GuestPath(Vec<u8>);

impl GuestPath {
    /// The root.
    pub const ROOT: Self = Self(Vec::new());

    /// Cleans any path text as if it started at the root: `..` at the root stays there.
    #[must_use]
    pub fn new(path: impl AsRef<[u8]>) -> Self {
        Self::ROOT.join(path)
    }

    /// Returns `path` taken relative to `self`; a leading slash starts at the root again.
    #[must_use]
    pub fn join(&self, path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        let mut joined = Vec::with_capacity(self.0.len() + 1 + path.len());
        if path.first() != Some(&b'/') {
            joined.extend_from_slice(&self.0);
        }
        for component in path.split(|&b| b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    let end = joined.iter().rposition(|&b| b == b'/').unwrap_or(0);
                    joined.truncate(end);
                }
                name => {
                    if !joined.is_empty() {
                        joined.push(b'/');
                    }
                    joined.extend_from_slice(name);
                }
            }
        }
        Self(joined)
    }

    /// Wraps bytes that are already clean.
    ///
    /// Returns none if they are not: a foreign index or archive may hold anything.
    #[must_use]
    pub fn from_clean(path: &[u8]) -> Option<Self> {
        is_clean(path).then(|| Self(path.to_owned()))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Says whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the containing directory; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_owned()))
    }

    /// Says whether `directory` is the containing directory.
    #[must_use]
    pub fn is_in(&self, directory: &Self) -> bool {
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        !self.is_root() && self.0[..end] == directory.0
    }

    /// Returns the last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
        &self.0[start..]
    }

    /// Returns the components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// Returns every directory above, outermost first, the root left out.
    #[must_use]
    pub fn ancestors(&self) -> Vec<Self> {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'/')
            .map(|(end, _)| Self(self.0[..end].to_owned()))
            .collect()
    }

    /// Returns what remains of `self` below `base`, or none if it does not lie at or below it.
    #[must_use]
    pub fn strip_prefix(&self, base: &Self) -> Option<Self> {
        if base.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(base.0.as_slice())? {
            b"" => Some(Self::ROOT),
            [b'/', rest @ ..] => Some(Self(rest.to_owned())),
            _ => None,
        }
    }

    /// Returns the path as the host's functions take it, relative to the root's directory.
    #[must_use]
    pub fn as_relative(&self) -> &Path {
        if self.is_root() {
            Path::new(".")
        } else {
            Path::new(OsStr::from_bytes(&self.0))
        }
    }
}

impl PartialOrd for GuestPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of a walk: directories before what is in them, names in byte order.
impl Ord for GuestPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare_paths(&self.0, &other.0)
    }
}

/// With a leading slash, bytes that are not UTF-8 replaced: for people.
impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestPath({self})")
    }
}

/// Compares clean paths in the order of a walk: byte order with `/` below every other byte.
#[must_use]
pub fn compare_paths(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    if a == b {
        return std::cmp::Ordering::Equal;
    }
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    // The end of a path sorts before its children, and those before any longer sibling name.
    let rank =
        |byte: Option<&u8>| byte.map_or(0, |&b| if b == b'/' { 1 } else { u16::from(b) + 2 });
    rank(a.get(common)).cmp(&rank(b.get(common)))
}

/// Says whether bytes are those of a [`GuestPath`].
pub fn is_clean(path: &[u8]) -> bool {
    path.is_empty()
        || path
            .split(|&b| b == b'/')
            .all(|c| !matches!(c, b"" | b"." | b"..") && !c.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_never_leave_the_root() {
        for (base, path, expected) in [
            ("", "a/b", "/a/b"),
            ("x", "a/./b//c/", "/x/a/b/c"),
            ("x/y", "../../../../etc", "/etc"),
            ("x/y", "/etc", "/etc"),
            ("x/y", "..", "/x"),
            ("x", "..", "/"),
            ("", "", "/"),
        ] {
            assert_eq!(GuestPath::new(base).join(path).to_string(), expected);
        }
    }

    #[test]
    fn order_is_that_of_a_walk() {
        let mut paths: Vec<GuestPath> = ["a.txt", "a/b", "a", "a-", "a/b/c", "", "B", "a/b.c"]
            .map(GuestPath::new)
            .to_vec();
        paths.sort();
        let texts: Vec<String> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["/", "/B", "/a", "/a/b", "/a/b/c", "/a/b.c", "/a-", "/a.txt"]
        );
    }

    #[test]
    fn parts_fit_together() {
        let path = GuestPath::new("/usr/lib/x");
        assert_eq!(path.name(), b"x");
        assert_eq!(path.parent(), Some(GuestPath::new("usr/lib")));
        assert_eq!(
            path.ancestors(),
            [GuestPath::new("usr"), GuestPath::new("usr/lib")]
        );
        assert_eq!(
            path.strip_prefix(&GuestPath::new("usr")),
            Some(GuestPath::new("lib/x"))
        );
        assert_eq!(path.strip_prefix(&GuestPath::new("us")), None);
        assert_eq!(GuestPath::ROOT.parent(), None);
        assert!(GuestPath::from_clean(b"a/../b").is_none());
    }
}
