//! An image with something of everything, made without a build.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kiln_cache::{Blobs, Store};
use kiln_exporter::{
    Assembly, ConfigChange, Exportable, ImageOptions, Missing, NamedImage, NewLayer, PlannedEntry,
    assemble, resolve_for_export, store_image,
};
use kiln_files::GuestPath;
use kiln_oci::{Image, ImageConfig, Platform, Timestamp};
use kiln_snapshotter::{DeviceNodeKind, FileContent, Layer, LayerBuilder, LayerStore, Metadata};
use kiln_tree::{Device, XattrsBuf};

/// A state directory of its own.
pub(crate) struct State {
    pub(crate) layers: LayerStore,
    pub(crate) blobs: Blobs,
    pub(crate) store: Store,
    pub(crate) directory: tempfile::TempDir,
}

impl State {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state")).unwrap();
        Self {
            layers: LayerStore::new(&store),
            blobs: Blobs::new(&store),
            store,
            directory,
        }
    }

    /// A path outside the store.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn layer(&self, fill: impl FnOnce(&LayerBuilder)) -> Layer {
        let builder = self.layers.builder().unwrap();
        fill(&builder);
        builder.finish().unwrap()
    }

    /// Stores an image of `layers` on top of `base`.
    pub(crate) fn image(&self, base: Option<&Image>, layers: &[Layer], command: &[&str]) -> Image {
        let mut template = ImageConfig::default();
        template.config.cmd = command.iter().map(|&word| word.to_owned()).collect();
        template.config.env = vec!["PATH=/bin".to_owned()];
        let entry = |number: usize| PlannedEntry {
            created_by: format!("RUN step {number} # buildkit"),
            change: ConfigChange::Layer,
        };
        let config = assemble(Assembly {
            base,
            config: template,
            layers: (0..)
                .zip(layers)
                .map(|(number, layer)| NewLayer {
                    diff_id: layer.canonical_tar().unwrap().diff_id,
                    created: Timestamp::from_seconds(1_700_000_000 + number),
                })
                .collect(),
            history: (0..layers.len()).map(entry).collect(),
            platform: Platform::host(),
            epoch: None,
        })
        .unwrap();
        let tars: Vec<_> = layers.iter().map(|l| l.canonical_tar().unwrap()).collect();
        store_image(&self.blobs, config, base, &tars, BTreeMap::new()).unwrap()
    }

    /// Stores an image of two layers, the second changing the first.
    pub(crate) fn sample(&self) -> Image {
        let lower = self.layer(add_files);
        let upper = self.layer(|builder| {
            builder.add_directory(&path("etc"), &plain(0o700)).unwrap();
            builder.add_whiteout(&path("etc/empty")).unwrap();
            let content = FileContent::Bytes(b"changed\n");
            builder
                .add_file(&path("etc/hostname"), &plain(0o644), content)
                .unwrap();
        });
        self.image(None, &[lower, upper], &["/bin/sh"])
    }

    pub(crate) fn resolve_for_export(&self, image: &Image, options: &ImageOptions) -> Exportable {
        resolve_for_export(
            image,
            &self.layers,
            &self.blobs,
            options,
            Missing::Leave,
            &|_| (),
        )
        .unwrap()
    }

    /// Makes an image exportable as others do by default.
    pub(crate) fn named(&self, image: &Image, names: &[&str]) -> NamedImage {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        NamedImage::single(
            self.resolve_for_export(image, &ImageOptions::default()),
            names,
        )
    }
}

pub(crate) fn path(text: &str) -> GuestPath {
    GuestPath::new(text)
}

pub(crate) fn plain(mode: u16) -> Metadata<'static> {
    Metadata::root_owned(mode, Timestamp::from_seconds(1_600_000_000))
}

/// Files of every kind that an ordinary user could own too.
pub(crate) fn add_files(builder: &LayerBuilder) {
    for directory in ["etc", "usr", "usr/bin", "var", "deep"] {
        builder
            .add_directory(&path(directory), &plain(0o755))
            .unwrap();
    }
    builder
        .add_directory(&path("var/tmp"), &plain(0o1777))
        .unwrap();
    let add = |name: &str, mode: u16, bytes: &[u8]| {
        builder
            .add_file(&path(name), &plain(mode), FileContent::Bytes(bytes))
            .unwrap();
    };
    add("etc/hostname", 0o644, b"kiln\n");
    add("etc/empty", 0o600, b"");
    add("usr/bin/su", 0o4755, b"not really");
    add("var/large", 0o644, &vec![b'x'; 700_000]);
    builder
        .add_hard_link(&path("usr/bin/sudo"), &path("usr/bin/su"))
        .unwrap();
    builder
        .add_symlink(&path("usr/bin/link"), &plain(0o777), b"/etc/hostname")
        .unwrap();
    builder.add_fifo(&path("var/pipe"), &plain(0o600)).unwrap();
    // Longer than ustar's name and prefix together.
    let mut long = String::from("deep");
    for _ in 0..6 {
        long = format!("{long}/{}", "d".repeat(60));
        builder.add_directory(&path(&long), &plain(0o755)).unwrap();
    }
    let target = "t".repeat(150);
    builder
        .add_symlink(
            &path(&format!("{long}/link")),
            &plain(0o777),
            target.as_bytes(),
        )
        .unwrap();
    add(&format!("{long}/file"), 0o640, b"deep down");
    let xattrs = XattrsBuf::new(vec![(b"user.note".to_vec(), b"a\nb\0c".to_vec())]);
    let metadata = Metadata {
        xattrs: xattrs.as_xattrs(),
        ..plain(0o644)
    };
    builder
        .add_file(&path("etc/noted"), &metadata, FileContent::Bytes(b"x"))
        .unwrap();
}

/// What only root may own or make.
pub(crate) fn add_privileged(builder: &LayerBuilder) {
    builder.add_directory(&path("dev"), &plain(0o755)).unwrap();
    let device = Device { major: 1, minor: 3 };
    builder
        .add_device(
            &path("dev/null"),
            &plain(0o666),
            DeviceNodeKind::Char,
            device,
        )
        .unwrap();
    let metadata = Metadata {
        uid: 1000,
        gid: 3_000_000,
        ..plain(0o644)
    };
    builder
        .add_file(&path("dev/owned"), &metadata, FileContent::Bytes(b"x"))
        .unwrap();
}

/// Adds the files of a directory of the host.
pub(crate) fn add_host_directory(builder: &LayerBuilder, directory: &Path, inside: &GuestPath) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        use std::os::unix::ffi::OsStrExt as _;
        use std::os::unix::fs::PermissionsExt as _;
        let path = inside.join(entry.file_name().as_bytes());
        let metadata = entry.metadata().unwrap();
        let plain = plain((metadata.permissions().mode() & 0o7777) as u16);
        if metadata.is_dir() {
            builder.add_directory(&path, &plain).unwrap();
            add_host_directory(builder, &entry.path(), &path);
        } else if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            builder
                .add_symlink(&path, &plain, target.as_os_str().as_bytes())
                .unwrap();
        } else {
            let file = fs::File::open(entry.path()).unwrap();
            builder
                .add_file(&path, &plain, FileContent::File(&file))
                .unwrap();
        }
    }
}
