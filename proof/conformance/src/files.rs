//! The files of an image: its layers on top of each other, in memory.
//!
//! The images here are tiny, and unpacking them on disk would need root for owners and devices.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tar::{Archive, Entry as Member, EntryType};

/// OCI image-spec v1.1, layer.md, "Whiteouts".
const WHITEOUT: &str = ".wh.";
const OPAQUE_WHITEOUT: &str = ".wh..wh..opq";

/// The files of an image by path, without the topmost directory.
pub(crate) type Files = BTreeMap<PathBuf, Entry>;

/// A file of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    /// Seconds since 1970.
    pub(crate) modified: u64,
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileKind {
    Directory,
    /// Hard links share the content, not just equal bytes.
    File(Arc<Vec<u8>>),
    Link(PathBuf),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// Puts a layer on top of files.
pub(crate) fn apply(layer: impl Read, files: &mut Files) -> io::Result<()> {
    // Whiteouts hide what is below their layer, never what it adds, in whatever order they come.
    let lower = files.clone();
    let mut added: Files = BTreeMap::new();
    let mut archive = Archive::new(layer);
    for member in archive.entries()? {
        let mut member = member?;
        let Some(path) = inside(&member.path()?) else {
            continue;
        };
        let name = path.file_name().map(|name| name.to_string_lossy());
        let parent = path.parent().unwrap_or(Path::new(""));
        match name.as_deref() {
            Some(OPAQUE_WHITEOUT) => remove(files, parent, Keep::Itself),
            Some(name) if name.starts_with(WHITEOUT) => {
                let hidden = parent.join(&name[WHITEOUT.len()..]);
                remove(files, &hidden, Keep::Nothing);
            }
            _ => {
                let entry = read(&mut member, |target| {
                    added.get(target).or_else(|| lower.get(target)).cloned()
                })?;
                added.insert(path, entry);
            }
        }
    }
    for (path, entry) in added {
        if entry.kind != FileKind::Directory {
            remove(files, &path, Keep::Nothing);
        }
        files.insert(path, entry);
    }
    Ok(())
}

enum Keep {
    Itself,
    Nothing,
}

fn remove(files: &mut Files, path: &Path, keep: Keep) {
    files.retain(|other, _| {
        !other.starts_with(path) || (matches!(keep, Keep::Itself) && other == path)
    });
}

/// Makes `./a/b/` and `/a/b` into `a/b`, and the topmost directory into nothing.
fn inside(path: &Path) -> Option<PathBuf> {
    let path: PathBuf = path
        .components()
        .filter(|component| matches!(component, Component::Normal(_)))
        .collect();
    (!path.as_os_str().is_empty()).then_some(path)
}

fn read(
    member: &mut Member<impl Read>,
    find: impl Fn(&Path) -> Option<Entry>,
) -> io::Result<Entry> {
    let header = member.header().clone();
    let unreadable = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let target = || {
        member
            .link_name()?
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| unreadable("a link without a target"))
    };
    let device = || -> io::Result<(u32, u32)> {
        Ok((
            header.device_major()?.unwrap_or_default(),
            header.device_minor()?.unwrap_or_default(),
        ))
    };
    let kind = match header.entry_type() {
        EntryType::Link => {
            let target = inside(&target()?).ok_or_else(|| unreadable("a link to nothing"))?;
            return find(&target).ok_or_else(|| unreadable("a hard link to an unknown file"));
        }
        EntryType::Directory => FileKind::Directory,
        EntryType::Symlink => FileKind::Link(target()?),
        EntryType::Char => device().map(|(major, minor)| FileKind::Character(major, minor))?,
        EntryType::Block => device().map(|(major, minor)| FileKind::Block(major, minor))?,
        EntryType::Fifo => FileKind::Fifo,
        _ => {
            let mut content = Vec::new();
            member.read_to_end(&mut content)?;
            FileKind::File(Arc::new(content))
        }
    };
    let mut attributes = BTreeMap::new();
    if let Some(extensions) = member.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let key = String::from_utf8_lossy(extension.key_bytes()).into_owned();
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                attributes.insert(name.to_owned(), extension.value_bytes().to_vec());
            }
        }
    }
    Ok(Entry {
        kind,
        mode: header.mode()? & 0o7777,
        owner: (header.uid()?, header.gid()?),
        modified: header.mtime()?,
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;

    fn layer(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, content) in members {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            if matches!(kind, EntryType::Link | EntryType::Symlink) {
                header.set_size(0);
                builder.append_link(&mut header, path, content).unwrap();
            } else {
                header.set_size(content.len() as u64);
                builder
                    .append_data(&mut header, path, content.as_bytes())
                    .unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn stack(layers: &[Vec<u8>]) -> Files {
        let mut files = Files::new();
        for layer in layers {
            apply(&layer[..], &mut files).unwrap();
        }
        files
    }

    fn paths(files: &Files) -> Vec<&str> {
        files.keys().map(|path| path.to_str().unwrap()).collect()
    }

    #[test]
    fn whiteouts_hide_what_is_below_only() {
        let first = layer(&[
            ("./d/", EntryType::Directory, ""),
            ("./d/old", EntryType::Regular, "1"),
            ("gone/", EntryType::Directory, ""),
            ("gone/inside", EntryType::Regular, "2"),
            ("kept", EntryType::Regular, "3"),
        ]);
        let second = layer(&[
            ("d/new", EntryType::Regular, "4"),
            ("d/.wh..wh..opq", EntryType::Regular, ""),
            (".wh.gone", EntryType::Regular, ""),
        ]);
        assert_eq!(paths(&stack(&[first, second])), ["d", "d/new", "kept"]);
    }

    #[test]
    fn a_file_replaces_a_directory() {
        let first = layer(&[
            ("a/", EntryType::Directory, ""),
            ("a/b", EntryType::Regular, "1"),
        ]);
        let second = layer(&[("a", EntryType::Symlink, "elsewhere")]);
        let files = stack(&[first, second]);
        assert_eq!(paths(&files), ["a"]);
        assert_eq!(
            files[Path::new("a")].kind,
            FileKind::Link(PathBuf::from("elsewhere"))
        );
    }

    #[test]
    fn hard_links_share_their_content() {
        let files = stack(&[layer(&[
            ("a", EntryType::Regular, "x"),
            ("b", EntryType::Link, "a"),
            ("c", EntryType::Regular, "x"),
        ])]);
        let content = |path: &str| match &files[Path::new(path)].kind {
            FileKind::File(content) => Arc::clone(content),
            other => panic!("{other:?}"),
        };
        assert!(Arc::ptr_eq(&content("a"), &content("b")));
        assert!(!Arc::ptr_eq(&content("a"), &content("c")));
    }
}
