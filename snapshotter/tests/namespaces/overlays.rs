//! Overlay mounts.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use std::os::unix::fs::MetadataExt as _;

use kiln_cache::Store;
use kiln_oci::Timestamp;
use kiln_snapshotter::overlay::{self, Interface, OverlaySpec, Support};
use kiln_snapshotter::{
    LayerStore, Metadata, Overlay, ParentView, Snapshotter as _, WritableRoot, lower_directories,
};

use crate::sample::{layer, path};

pub(crate) const TESTS: &[crate::Test] = &[
    ("overlays are supported", supported),
    ("hundreds of lowers", hundreds_of_lowers),
    ("too many lowers", too_many_lowers),
    ("many lowers in one string", one_string),
    ("awkward names", awkward_names),
    ("one lower is bound read-only", one_lower),
    ("no lower is the upper itself", no_lower),
    ("a used work directory is refused", used_work_directory),
    ("implied directories look as below", implied_directories),
];

/// A path through which an unattached mount can be looked at.
pub(crate) fn path_of(root: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()))
}

fn directory(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    path
}

fn supported(scratch: &Path) {
    match overlay::probe(scratch) {
        Support::Overlay => {}
        Support::Refused(error) => panic!("{error}"),
    }
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);
}

fn hundreds_of_lowers(scratch: &Path) {
    let lowers: Vec<PathBuf> = (0..300)
        .map(|number| {
            let lower = directory(scratch.join(format!("a-rather-long-directory-name-{number}")));
            fs::write(lower.join(number.to_string()), "").unwrap();
            fs::write(lower.join("common"), number.to_string()).unwrap();
            lower
        })
        .collect();
    let spec = OverlaySpec {
        lowers,
        upper_and_work: Some((
            directory(scratch.join("upper")),
            directory(scratch.join("work")),
        )),
    };
    let root = overlay::mount(&spec).unwrap();
    let path = path_of(&root);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 301);
    assert_eq!(fs::read_to_string(path.join("common")).unwrap(), "0");
    fs::remove_file(path.join("7")).unwrap();
    assert!(fs::symlink_metadata(scratch.join("upper/7")).is_ok());
}

/// The kernel itself calls it an invalid argument.
fn too_many_lowers(scratch: &Path) {
    let lowers = (0..501).map(|number| directory(scratch.join(number.to_string())));
    let mut spec = OverlaySpec {
        lowers: lowers.collect(),
        upper_and_work: None,
    };
    let error = overlay::mount(&spec).unwrap_err().to_string();
    assert!(error.contains("which is 500"), "{error}");
    // mount(2) cuts what is longer than a page and mounts the rest.
    for interface in [Interface::OneByOne, Interface::OneString] {
        assert!(overlay::mount_stack(&spec, interface).is_err());
    }
    let many = spec.lowers.iter().cycle().take(2000).cloned().collect();
    spec.lowers = many;
    let error = overlay::mount_stack(&spec, Interface::OneString).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
}

/// What kernels before 6.7 get.
fn one_string(scratch: &Path) {
    let lowers: Vec<PathBuf> = (0..499)
        .map(|number| {
            let lower = directory(scratch.join(format!("a:directory,number {number}")));
            fs::write(lower.join(number.to_string()), "").unwrap();
            lower
        })
        .collect();
    let (upper, work) = (
        directory(scratch.join("upper")),
        directory(scratch.join("work")),
    );
    let mut spec = OverlaySpec {
        lowers: lowers.clone(),
        upper_and_work: None,
    };
    let root = overlay::mount_stack(&spec, Interface::OneString).unwrap();
    assert_eq!(fs::read_dir(path_of(&root)).unwrap().count(), 499);
    assert_eq!(fs::read_dir(&lowers[0]).unwrap().count(), 1);
    spec.upper_and_work = Some((upper.clone(), work));
    let root = overlay::mount_stack(&spec, Interface::OneString).unwrap();
    fs::write(path_of(&root).join("new"), "").unwrap();
    assert!(upper.join("new").exists());
}

fn awkward_names(scratch: &Path) {
    let base = directory(scratch.join("a:b,c\\d"));
    let long = directory(base.join("x".repeat(250)).join("y".repeat(200)));
    let lower = directory(base.join("low"));
    fs::write(long.join("deep"), "").unwrap();
    fs::write(lower.join("shallow"), "").unwrap();
    let root = overlay::mount(&OverlaySpec {
        lowers: vec![long, lower],
        upper_and_work: Some((directory(base.join("up")), directory(base.join("work")))),
    })
    .unwrap();
    assert!(path_of(&root).join("deep").exists());
    assert!(path_of(&root).join("shallow").exists());
    fs::write(path_of(&root).join("new"), "").unwrap();
    assert!(base.join("up/new").exists());
}

fn one_lower(scratch: &Path) {
    let lower = directory(scratch.join("lower"));
    fs::write(lower.join("file"), "text").unwrap();
    let root = overlay::mount(&OverlaySpec {
        lowers: vec![lower.clone()],
        upper_and_work: None,
    })
    .unwrap();
    assert_eq!(
        fs::read_to_string(path_of(&root).join("file")).unwrap(),
        "text"
    );
    let error = fs::write(path_of(&root).join("new"), "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    fs::write(lower.join("still writable where it lies"), "").unwrap();
}

fn no_lower(scratch: &Path) {
    let upper = directory(scratch.join("upper"));
    let root = overlay::mount(&OverlaySpec {
        lowers: Vec::new(),
        upper_and_work: Some((upper.clone(), directory(scratch.join("work")))),
    })
    .unwrap();
    fs::write(path_of(&root).join("new"), "").unwrap();
    assert!(upper.join("new").exists());
    assert!(overlay::mount(&OverlaySpec::default()).is_err());
}

fn used_work_directory(scratch: &Path) {
    let spec = OverlaySpec {
        lowers: vec![directory(scratch.join("lower"))],
        upper_and_work: Some((
            directory(scratch.join("upper")),
            directory(scratch.join("work")),
        )),
    };
    drop(overlay::mount(&spec).unwrap());
    assert!(overlay::mount(&spec).is_err());
}

/// A layer that has a directory only for what is in it leaves it what it is, mounted for reading or
/// for a step, which then has not changed it.
fn implied_directories(scratch: &Path) {
    let store = LayerStore::new(&Store::open(&scratch.join("state")).unwrap());
    let face = |mode, seconds| Metadata::root_owned(mode, Timestamp::from_seconds(seconds));
    let builder = store.builder().unwrap();
    builder.add_directory(&path("d"), &face(0o750, 5)).unwrap();
    builder
        .add_directory(&path("d/e"), &face(0o1777, 6))
        .unwrap();
    let base = builder.finish().unwrap();
    let builder = store.builder().unwrap();
    for name in ["d", "d/e", "new"] {
        builder
            .add_implied_directory(&path(name), &face(0o755, 7))
            .unwrap();
    }
    crate::sample::add(&builder, &["d/e/file=1", "new/file=1"]);
    let above = builder.finish().unwrap();
    let layers = [base, layer(&store, &["other="]), above];
    let check = |root: &Path| {
        for (name, expected) in [("d", (0o750, 5)), ("d/e", (0o1777, 6)), ("new", (0o755, 7))] {
            let found = fs::metadata(root.join(name)).unwrap();
            assert_eq!((found.mode() & 0o7777, found.mtime()), expected, "{name}");
        }
        assert_eq!(fs::read_to_string(root.join("d/e/file")).unwrap(), "1");
        assert!(root.join("other").exists());
    };
    let read_only = OverlaySpec {
        lowers: lower_directories(&layers).unwrap(),
        upper_and_work: None,
    };
    check(&path_of(&overlay::mount(&read_only).unwrap()));
    let writable = Overlay::new(&store).prepare(&layers).unwrap();
    let WritableRoot::Overlay(spec) = writable.root() else {
        panic!("overlays are stacked");
    };
    let root = overlay::mount(spec).unwrap();
    check(&path_of(&root));
    fs::write(path_of(&root).join("d/e/file"), "1").unwrap();
    drop(root);
    let view = ParentView::new(&layers).unwrap();
    let made = writable.commit(&view, &[]).unwrap();
    let tree = made.tree().unwrap();
    let entry = tree.get(b"d/e").unwrap();
    assert_eq!((entry.mode, entry.mtime.seconds), (0o1777, 6));
}
