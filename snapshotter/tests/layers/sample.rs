//! A layer with something of everything.

use std::path::{Path, PathBuf};

use kiln_cache::Store;
use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_snapshotter::{DeviceNodeKind, FileContent, Layer, LayerBuilder, LayerStore, Metadata};
use kiln_tree::{Device, XattrsBuf};

/// Where the files of a layer are that has all of them itself.
pub(crate) trait Root {
    fn root(&self) -> PathBuf;
}

impl Root for Layer {
    fn root(&self) -> PathBuf {
        let files = self.unpacked().unwrap();
        let directories: Vec<&Path> = files.directories().collect();
        let [only] = directories.as_slice() else {
            panic!("{files:?}");
        };
        only.to_path_buf()
    }
}

/// An empty store in a directory that lives as long.
pub(crate) fn store() -> (tempfile::TempDir, LayerStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = LayerStore::new(&Store::open(directory.path()).unwrap());
    (directory, store)
}

pub(crate) fn path(text: &str) -> GuestPath {
    GuestPath::new(text)
}

pub(crate) fn plain(mode: u16) -> Metadata<'static> {
    Metadata::root_owned(mode, Timestamp::from_seconds(1_700_000_000))
}

/// Adds directories and files by a short notation: `dir/`, `file=content`, `link->target`,
/// `name hard=target`, `-whiteout`, `dir/!` for an opaque directory.
pub(crate) fn add(builder: &LayerBuilder, lines: &[&str]) {
    for line in lines {
        if let Some((name, target)) = line.split_once("->") {
            builder
                .add_symlink(&path(name), &plain(0o777), target.as_bytes())
                .unwrap();
        } else if let Some(name) = line.strip_suffix("/!") {
            builder
                .add_opaque_directory(&path(name), &plain(0o755))
                .unwrap();
        } else if let Some(name) = line.strip_suffix('/') {
            builder.add_directory(&path(name), &plain(0o755)).unwrap();
        } else if let Some(name) = line.strip_prefix('-') {
            builder.add_whiteout(&path(name)).unwrap();
        } else if let Some((name, target)) = line.split_once(" hard=") {
            builder.add_hard_link(&path(name), &path(target)).unwrap();
        } else {
            let (name, content) = line.split_once('=').unwrap();
            let content = FileContent::Bytes(content.as_bytes());
            builder
                .add_file(&path(name), &plain(0o644), content)
                .unwrap();
        }
    }
}

pub(crate) fn layer(store: &LayerStore, lines: &[&str]) -> Layer {
    let builder = store.builder().unwrap();
    add(&builder, lines);
    builder.finish().unwrap()
}

/// What a layer's index says, a line an entry.
pub(crate) fn listing(layer: &Layer) -> Vec<String> {
    let tree = layer.tree().unwrap();
    tree.iter().map(|entry| describe(&entry)).collect()
}

pub(crate) fn describe(entry: &kiln_tree::Entry<'_>) -> String {
    use kiln_tree::NodeKind;
    let path = String::from_utf8_lossy(entry.path).into_owned();
    match entry.kind {
        NodeKind::File { size, .. } => format!("{path} {size}"),
        NodeKind::HardLink { target } => format!("{path} == {}", String::from_utf8_lossy(target)),
        NodeKind::Directory { opaque, implied } => {
            let mark = if opaque { "!" } else { "" };
            let shown = if implied { "?" } else { "" };
            format!("{path}/{mark}{shown}")
        }
        NodeKind::Symlink { target } => format!("{path} -> {}", String::from_utf8_lossy(target)),
        NodeKind::CharDevice(device) => format!("{path} c {}:{}", device.major, device.minor),
        NodeKind::BlockDevice(device) => format!("{path} b {}:{}", device.major, device.minor),
        NodeKind::Fifo => format!("{path} |"),
        NodeKind::Whiteout => format!("-{path}"),
    }
}

/// `cap_net_bind_service+ep` as the kernel stores it, with a byte that is a newline.
pub(crate) const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0x0a, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A layer in which every feature of the format appears.
pub(crate) fn everything(store: &LayerStore) -> Layer {
    let builder = store.builder().unwrap();
    let deep = format!("deep/{}", "n".repeat(120));
    let split = format!("{deep}/{}", "f".repeat(99));
    let target = "t/".repeat(80);
    add(
        &builder,
        &[
            "b/",
            "b/file=some text",
            "b/empty=",
            "a hard=b/file",
            "z/",
            "z/hard hard=b/file",
            "link->b/file",
            &format!("long->{target}"),
            "gone/",
            "-gone/x",
            "fresh/!",
            "fresh/y=y",
            "deep/",
            &format!("{deep}/"),
            &format!("{split}=split into prefix and name"),
            &format!("{deep}/{}=too long for ustar", "g".repeat(200)),
            "z/long hard=b/empty",
        ],
    );
    let xattrs = XattrsBuf::new(vec![
        (b"security.capability".to_vec(), CAPABILITY.to_vec()),
        (b"user.note".to_vec(), b"a=b\nc".to_vec()),
    ]);
    let metadata = Metadata {
        mode: 0o4755,
        uid: 3_000_000_000,
        gid: 2_097_152,
        mtime: Timestamp {
            seconds: -7,
            nanoseconds: 5,
        },
        xattrs: xattrs.as_xattrs(),
    };
    builder
        .add_file(
            &path("special"),
            &metadata,
            FileContent::Bytes(&[7; 100_000]),
        )
        .unwrap();
    let late = Metadata {
        uid: 1000,
        gid: 2_097_151,
        ..Metadata::root_owned(0o1777, Timestamp::from_seconds(8_589_934_592))
    };
    builder.add_directory(&path("tmp"), &late).unwrap();
    let device = Device { major: 1, minor: 3 };
    builder
        .add_device(&path("null"), &plain(0o666), DeviceNodeKind::Char, device)
        .unwrap();
    let device = Device {
        major: 259,
        minor: 70_000,
    };
    builder
        .add_device(&path("disk"), &plain(0o660), DeviceNodeKind::Block, device)
        .unwrap();
    builder.add_fifo(&path("pipe"), &plain(0o600)).unwrap();
    builder.finish().unwrap()
}
