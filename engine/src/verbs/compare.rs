//! What differs between two builds of the same: files of layers, fields of configs.
//!
//! Layers are compared by their indexes; only where two files of the same name differ is anything
//! read, up to the first byte that does.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufReader, Read as _};

use kiln_files::{GuestPath, compare_paths};
use kiln_oci::Timestamp;
use kiln_snapshotter::{Layer, LayerError};
use kiln_tree::{Entry, NodeKind};
use serde_json::Value;

/// A file that is not the same in both layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferentFile {
    /// Where it is.
    pub path: GuestPath,
    /// What differs, at least one thing.
    pub what: Vec<FileChange>,
}

/// What differs about a file. Pairs are the first build's value and the second's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Only the first build made it.
    OnlyFirst,
    /// Only the second build made it.
    OnlySecond,
    /// It is something else, e.g. a directory instead of a file.
    Kind(FileKind, FileKind),
    /// Its bytes.
    Content {
        /// Its lengths in bytes.
        sizes: (u64, u64),
        /// The first byte that differs, counted from 0; the shorter length if it is the longer
        /// one's beginning. None if the files cannot be read any more.
        offset: Option<u64>,
    },
    /// Its permission bits.
    Mode(u16, u16),
    /// User and group.
    Owner((u32, u32), (u32, u32)),
    /// When it was changed.
    ModificationTime(Timestamp, Timestamp),
    /// Where a link leads.
    Target(String, String),
    /// Its device number, or whether it hides what is below it.
    Nature,
    /// Its extended attributes.
    Attributes,
}

/// The kinds of files, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A further name of a file.
    HardLink,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device.
    Device,
    /// A named pipe.
    Fifo,
    /// The removal of a file.
    Removal,
}

/// A field of a config that is not the same in both images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDifference {
    /// Its place, e.g. `history[2].created`.
    pub field: String,
    /// The first build's value as JSON; none if it has no such field.
    pub first: Option<String>,
    /// The second build's.
    pub second: Option<String>,
}

/// Compares the files of two layers. Times later than `latest` count as `latest`.
///
/// # Errors
/// When an index cannot be read.
pub fn compare_layers(
    first: &Layer,
    second: &Layer,
    latest: Option<Timestamp>,
) -> Result<Vec<DifferentFile>, LayerError> {
    let (left, right) = (first.tree()?, second.tree()?);
    let time =
        |time: Timestamp| latest.map_or(time, |latest| kiln_exporter::clamp_time(time, latest));
    let mut differences = Vec::new();
    let mut note = |entry: &Entry<'_>, what: Vec<FileChange>| {
        let path = entry.guest_path();
        differences.push(DifferentFile { path, what });
    };
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => compare_paths(a.path, b.path),
        };
        let one = left.next_if(|_| order != Ordering::Greater);
        let other = right.next_if(|_| order != Ordering::Less);
        match (one, other) {
            (Some(one), Some(other)) => {
                let mut what = changes(&one, &other);
                if time(one.mtime) != time(other.mtime) {
                    what.push(FileChange::ModificationTime(one.mtime, other.mtime));
                }
                for change in &mut what {
                    if let FileChange::Content { offset, .. } = change {
                        *offset = first_difference(first, second, &one.guest_path());
                    }
                }
                if !what.is_empty() {
                    note(&one, what);
                }
            }
            (Some(only), None) => note(&only, vec![FileChange::OnlyFirst]),
            (None, Some(only)) => note(&only, vec![FileChange::OnlySecond]),
            (None, None) => break,
        }
    }
    Ok(differences)
}

/// Compares two entries at the same path, times apart.
fn changes(one: &Entry<'_>, other: &Entry<'_>) -> Vec<FileChange> {
    let mut what = Vec::new();
    let kinds = (FileKind::of(one.kind), FileKind::of(other.kind));
    match (one.kind, other.kind) {
        _ if kinds.0 != kinds.1 => what.push(FileChange::Kind(kinds.0, kinds.1)),
        (a, b) if a == b => {}
        (NodeKind::File { size: a, .. }, NodeKind::File { size: b, .. }) => {
            let (sizes, offset) = ((a, b), None);
            what.push(FileChange::Content { sizes, offset });
        }
        (
            NodeKind::Symlink { target: a } | NodeKind::HardLink { target: a },
            NodeKind::Symlink { target: b } | NodeKind::HardLink { target: b },
        ) => {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            what.push(FileChange::Target(text(a), text(b)));
        }
        _ => what.push(FileChange::Nature),
    }
    if one.mode != other.mode {
        what.push(FileChange::Mode(one.mode, other.mode));
    }
    if (one.uid, one.gid) != (other.uid, other.gid) {
        let owners = ((one.uid, one.gid), (other.uid, other.gid));
        what.push(FileChange::Owner(owners.0, owners.1));
    }
    if one.xattrs != other.xattrs {
        what.push(FileChange::Attributes);
    }
    what
}

impl FileKind {
    fn of(kind: NodeKind<'_>) -> Self {
        match kind {
            NodeKind::File { .. } => Self::File,
            NodeKind::HardLink { .. } => Self::HardLink,
            NodeKind::Directory { .. } => Self::Directory,
            NodeKind::Symlink { .. } => Self::Symlink,
            NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) => Self::Device,
            NodeKind::Fifo => Self::Fifo,
            NodeKind::Whiteout => Self::Removal,
        }
    }
}

/// Returns the first byte in which a file of one layer differs from the same file of another.
fn first_difference(first: &Layer, second: &Layer, path: &GuestPath) -> Option<u64> {
    let open = |layer: &Layer| {
        let file = File::open(layer.unpacked().ok()?.path(path)).ok()?;
        Some(BufReader::new(file).bytes())
    };
    let (mut one, mut other) = (open(first)?, open(second)?);
    let mut offset = 0;
    loop {
        let byte = |next: Option<io::Result<u8>>| next.transpose().ok();
        match (byte(one.next())?, byte(other.next())?) {
            (Some(a), Some(b)) if a == b => offset += 1,
            _ => return Some(offset),
        }
    }
}

/// Compares two configs, layers apart: those are compared file by file.
pub(crate) fn compare_configs(first: &[u8], second: &[u8]) -> Vec<ConfigDifference> {
    let parse = |bytes| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let mut differences = Vec::new();
    let values = (parse(first), parse(second));
    compare_values("", Some(&values.0), Some(&values.1), &mut differences);
    differences.retain(|found| !found.field.starts_with("rootfs"));
    differences.sort_by(|a, b| a.field.cmp(&b.field));
    differences
}

fn compare_values(
    field: &str,
    first: Option<&Value>,
    second: Option<&Value>,
    found: &mut Vec<ConfigDifference>,
) {
    if first == second {
        return;
    }
    match (first, second) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let only_other = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(only_other) {
                let inner = match field {
                    "" => key.clone(),
                    _ => format!("{field}.{key}"),
                };
                compare_values(&inner, one.get(key), other.get(key), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for position in 0..one.len().max(other.len()) {
                let inner = format!("{field}[{position}]");
                compare_values(&inner, one.get(position), other.get(position), found);
            }
        }
        _ => found.push(ConfigDifference {
            field: field.to_owned(),
            first: first.map(Value::to_string),
            second: second.map(Value::to_string),
        }),
    }
}

#[cfg(test)]
mod tests {
    use kiln_cache::Store;
    use kiln_snapshotter::{FileContent, LayerBuilder, LayerStore, Metadata};

    use super::*;

    fn metadata(mode: u16, seconds: i64) -> Metadata<'static> {
        Metadata {
            mode,
            uid: 0,
            gid: 0,
            mtime: Timestamp::from_seconds(seconds),
            xattrs: kiln_tree::Xattrs::default(),
        }
    }

    fn layer(layers: &LayerStore, fill: impl FnOnce(&LayerBuilder)) -> Layer {
        let builder = layers.builder().unwrap();
        fill(&builder);
        builder.finish().unwrap()
    }

    fn add(builder: &LayerBuilder, name: &str, text: &str, seconds: i64) {
        let content = FileContent::Bytes(text.as_bytes());
        builder
            .add_file(&GuestPath::new(name), &metadata(0o644, seconds), content)
            .unwrap();
    }

    #[test]
    fn files_differ_in_what_layers_record() {
        let scratch = tempfile::tempdir().unwrap();
        let layers = LayerStore::new(&Store::open(scratch.path()).unwrap());
        let first = layer(&layers, |builder| {
            add(builder, "longer", "same", 7);
            add(builder, "other", "abcd", 7);
            add(builder, "removed", "", 7);
            add(builder, "same", "s", 7);
            add(builder, "time", "t", 7);
        });
        let second = layer(&layers, |builder| {
            add(builder, "added", "", 7);
            add(builder, "longer", "same and more", 7);
            add(builder, "other", "abXd", 7);
            add(builder, "same", "s", 7);
            add(builder, "time", "t", 8);
        });
        let content = |sizes, offset| FileChange::Content {
            sizes,
            offset: Some(offset),
        };
        let expected = |name: &str, what| DifferentFile {
            path: GuestPath::new(name),
            what: vec![what],
        };
        let mut all = vec![
            expected("added", FileChange::OnlySecond),
            expected("longer", content((4, 13), 4)),
            expected("other", content((4, 4), 2)),
            expected("removed", FileChange::OnlyFirst),
            expected(
                "time",
                FileChange::ModificationTime(
                    Timestamp::from_seconds(7),
                    Timestamp::from_seconds(8),
                ),
            ),
        ];
        assert_eq!(compare_layers(&first, &second, None).unwrap(), all);
        all.pop();
        let clamped = compare_layers(&first, &second, Some(Timestamp::from_seconds(7)));
        assert_eq!(clamped.unwrap(), all);
    }

    #[test]
    fn kinds_modes_and_targets_differ() {
        let scratch = tempfile::tempdir().unwrap();
        let layers = LayerStore::new(&Store::open(scratch.path()).unwrap());
        let link = |builder: &LayerBuilder, name: &str, target: &[u8]| {
            let path = GuestPath::new(name);
            builder
                .add_symlink(&path, &metadata(0o777, 7), target)
                .unwrap();
        };
        let first = layer(&layers, |builder| {
            link(builder, "kind", b"x");
            link(builder, "target", b"x");
        });
        let second = layer(&layers, |builder| {
            let path = GuestPath::new("kind");
            builder.add_directory(&path, &metadata(0o755, 7)).unwrap();
            link(builder, "target", b"y");
        });
        let found = compare_layers(&first, &second, None).unwrap();
        assert_eq!(
            found[0].what,
            [
                FileChange::Kind(FileKind::Symlink, FileKind::Directory),
                FileChange::Mode(0o777, 0o755)
            ]
        );
        let target = FileChange::Target("x".to_owned(), "y".to_owned());
        assert_eq!(found[1].what, [target]);
    }

    #[test]
    fn configs_differ_by_field() {
        let first =
            br#"{"created":"a","config":{"Env":["A=1","B=2"]},"rootfs":{"diff_ids":["x"]}}"#;
        let second =
            br#"{"created":"b","config":{"Env":["A=1"],"User":"u"},"rootfs":{"diff_ids":["y"]}}"#;
        let found = compare_configs(first, second);
        let shown: Vec<String> = found
            .iter()
            .map(|found| format!("{} {:?} {:?}", found.field, found.first, found.second))
            .collect();
        assert_eq!(
            shown,
            [
                r#"config.Env[1] Some("\"B=2\"") None"#,
                r#"config.User None Some("\"u\"")"#,
                r#"created Some("\"a\"") Some("\"b\"")"#,
            ]
        );
    }
}
