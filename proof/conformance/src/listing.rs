//! Files as lines that a person can write and check: one for each that an image adds, changes
//! or removes, compared with the image that it starts from.
//!
//! ```text
//! /srv directory 0755 0:0
//! /srv/a file 0644 0:0 "hello\n"
//! /srv/also same as /srv/a
//! /srv/big file 0755 0:0 20480 bytes sha256:0123456789abcdef
//! /srv/link link 0:0 -> a
//! /bin/vi removed
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::files::{Entry, FileKind, Files};

/// Content up to this length is shown, longer content hashed. Bytes.
const SHOWN: usize = 400;

/// Writes down what files have that a base has not, and the reverse.
pub(crate) fn list(files: &Files, base: &Files, times: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut first_names: HashMap<*const Vec<u8>, &Path> = HashMap::new();
    for (path, entry) in files {
        let shared = match &entry.kind {
            FileKind::File(content) => {
                let first = *first_names.entry(Arc::as_ptr(content)).or_insert(path);
                (first != path).then_some(first)
            }
            _ => None,
        };
        if base.get(path).is_some_and(|below| is_same(below, entry)) {
            continue;
        }
        let name = visible(path);
        lines.push(match shared {
            Some(first) => format!("{name} same as {}", visible(first)),
            None => {
                let mut line = format!("{name} {}", describe(entry));
                if times.contains(&name) {
                    let _ = write!(line, " at {}", entry.modified);
                }
                line
            }
        });
    }
    lines.extend(
        base.keys()
            .filter(|path| !files.contains_key(*path))
            // What lay in a directory went with it.
            .filter(|path| {
                !path.ancestors().skip(1).any(|above| {
                    base.contains_key(above)
                        && files
                            .get(above)
                            .is_none_or(|entry| entry.kind != FileKind::Directory)
                })
            })
            .map(|path| format!("{} removed", visible(path))),
    );
    lines
}

/// Compares all but times, which every builder chooses for itself.
fn is_same(left: &Entry, right: &Entry) -> bool {
    (&left.kind, left.mode, left.owner, &left.attributes)
        == (&right.kind, right.mode, right.owner, &right.attributes)
}

fn describe(entry: &Entry) -> String {
    let (user, group) = entry.owner;
    let common = format!("{:04o} {user}:{group}", entry.mode);
    let mut line = match &entry.kind {
        FileKind::Directory => format!("directory {common}"),
        FileKind::File(content) => format!("file {common} {}", show(content)),
        // The mode of a link means nothing.
        FileKind::Link(target) => format!("link {user}:{group} -> {}", target.display()),
        FileKind::Character(major, minor) => format!("character {common} {major}:{minor}"),
        FileKind::Block(major, minor) => format!("block {common} {major}:{minor}"),
        FileKind::Fifo => format!("fifo {common}"),
    };
    for (name, value) in &entry.attributes {
        let _ = write!(line, " {name}=\"{}\"", value.escape_ascii());
    }
    line
}

fn show(content: &[u8]) -> String {
    match std::str::from_utf8(content) {
        Ok(text) if text.len() <= SHOWN => format!("{text:?}"),
        _ => {
            let hash = Sha256::digest(content);
            let hash = hash[..8].iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            format!("{} bytes sha256:{hash}", content.len())
        }
    }
}

/// Makes blanks visible, so that a line has one reading, and paths absolute.
fn visible(path: &Path) -> String {
    format!("/{}", path.display()).replace(' ', "\\x20")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;

    fn entry(kind: FileKind) -> Entry {
        Entry {
            kind,
            mode: 0o755,
            owner: (0, 0),
            modified: 7,
            attributes: BTreeMap::new(),
        }
    }

    fn file(content: &str) -> Entry {
        entry(FileKind::File(Arc::new(content.into())))
    }

    fn files(entries: &[(&str, Entry)]) -> Files {
        let own = |(path, entry): &(&str, Entry)| (PathBuf::from(path), entry.clone());
        entries.iter().map(own).collect()
    }

    #[test]
    fn only_what_differs_from_the_base_is_listed() {
        let base = files(&[
            ("etc", entry(FileKind::Directory)),
            ("etc/passwd", file("root")),
            ("bin", entry(FileKind::Directory)),
            ("bin/sh", file("#!")),
        ]);
        let shared = file("x");
        let mut grown = files(&[
            ("etc", entry(FileKind::Directory)),
            ("etc/passwd", file("root\nme\n")),
            ("new one", shared.clone()),
            ("other", shared),
        ]);
        assert_eq!(
            list(&grown, &base, &["/etc/passwd".to_owned()]),
            [
                "/etc/passwd file 0755 0:0 \"root\\nme\\n\" at 7",
                "/new\\x20one file 0755 0:0 \"x\"",
                "/other same as /new\\x20one",
                "/bin removed",
            ]
        );
        grown.clone_from(&base);
        assert!(list(&grown, &base, &[]).is_empty());
    }

    #[test]
    fn long_content_is_hashed() {
        let line = describe(&file(&"x".repeat(401)));
        assert_eq!(
            line,
            "file 0755 0:0 401 bytes sha256:".to_owned() + &line[line.len() - 16..]
        );
    }
}
