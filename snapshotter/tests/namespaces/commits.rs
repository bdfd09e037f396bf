//! Steps: prepare, mount, change, commit.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_snapshotter::overlay;
use kiln_snapshotter::{
    FileContent, Layer, Metadata, Overlay, ParentView, Reflink, Snapshotter, WritableRoot,
};
use kiln_tree::XattrsBuf;
use rustix::io::Errno;

use crate::overlays::path_of;
use crate::sample::{CAPABILITY, Root as _, add, layer, listing, path, plain};
use crate::steps::{base, check_disk, open, step, step_of_overlay, step_with};

pub(crate) const TESTS: &[crate::Test] = &[
    ("nothing changed", nothing_changed),
    ("every kind of change", every_kind_of_change),
    ("what only looks like a change", apparent_changes),
    ("what is written again in the same second", same_second),
    ("devices that the disk cannot hold", devices_beyond_the_disk),
    ("owners that the disk cannot hold", owners_beyond_the_disk),
    ("mount points", mount_points),
    ("holes", holes),
    ("hard links", hard_links),
    ("layers of steps stack", layers_stack),
    ("a layer that is there twice", a_layer_twice),
    ("deep directories", deep_directories),
    ("from scratch", from_scratch),
    ("copies that others have open", copies_that_are_open),
    ("overlays that others have open", overlays_that_are_open),
    ("a layer that hides everything", everything_hidden),
];

fn holes(scratch: &Path) {
    let store = open(scratch);
    let probe = fs::File::create(scratch.join("probe")).unwrap();
    probe.set_len(1 << 20).unwrap();
    if probe.metadata().unwrap().blocks() > 0 {
        println!("skipped: the file system has no holes");
        return;
    }
    let takes_bytes = |layer: &Layer| {
        let metadata = fs::metadata(layer.root().join("f")).unwrap();
        assert_eq!(metadata.len(), 64 << 20);
        metadata.blocks() * 512
    };
    let made = step(&store, &[], |root| {
        fs::write(root.join("f"), "begin").unwrap();
        let file = fs::File::options()
            .write(true)
            .open(root.join("f"))
            .unwrap();
        file.set_len(64 << 20).unwrap();
    });
    assert!(takes_bytes(&made) < 1 << 20);
    let changed = step(&store, &[made], |root| {
        fs::File::options()
            .append(true)
            .open(root.join("f"))
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
    });
    // overlayfs copies a mebibyte at a time.
    assert!(takes_bytes(&changed) < 8 << 20);
}

fn copies_that_are_open(scratch: &Path) {
    let store = open(scratch);
    let base = layer(&store, &["d/", "d/old=below"]);
    let layers = [base];
    let writable = Reflink::new(&store).prepare(&layers).unwrap();
    let WritableRoot::Directory(root) = writable.root() else {
        panic!("a copy is a directory");
    };
    fs::write(root.join("d/new"), "AAAA").unwrap();
    fs::remove_file(root.join("d/old")).unwrap();
    let options = fs::File::options().write(true).open(root.join("d/new"));
    let (file, directory) = (options.unwrap(), fs::File::open(root.join("d")).unwrap());
    let view = ParentView::new(&layers).unwrap();
    let made = writable.commit(&view, &[]).unwrap();
    // They are of the copy, which is gone, and lead to nothing of the layer.
    (&file).write_all(b"BBBB").unwrap();
    let planted = rustix::fs::mkdirat(&directory, "planted", rustix::fs::Mode::RWXU);
    assert_eq!(planted, Err(Errno::NOENT));
    assert_eq!(listing(&made), ["d/", "d/new 4", "-d/old"]);
    assert_eq!(fs::read(made.root().join("d/new")).unwrap(), b"AAAA");
    check_disk(&made);
}

fn overlays_that_are_open(scratch: &Path) {
    let store = open(scratch);
    let layers = [layer(&store, &["d/", "d/old=below"])];
    let writable = Overlay::new(&store).prepare(&layers).unwrap();
    let WritableRoot::Overlay(spec) = writable.root() else {
        panic!("a stack is an overlay");
    };
    let root = overlay::mount(spec).unwrap();
    let place = path_of(&root);
    fs::write(place.join("d/old"), "AAAA").unwrap();
    let options = fs::File::options().write(true).open(place.join("d/old"));
    let (file, directory) = (options.unwrap(), fs::File::open(place.join("d")).unwrap());
    let busy = overlay::close_to_writers(&root).unwrap_err();
    assert_eq!(busy.kind(), std::io::ErrorKind::ResourceBusy);
    // That changes nothing.
    (&file).write_all(b"BBBB").unwrap();
    drop(file);
    overlay::close_to_writers(&root).unwrap();
    let planted = rustix::fs::mkdirat(&directory, "planted", rustix::fs::Mode::RWXU);
    assert_eq!(planted, Err(Errno::ROFS));
    let view = ParentView::new(&layers).unwrap();
    let made = writable.commit(&view, &[]).unwrap();
    assert_eq!(listing(&made), ["d/", "d/old 4"]);
    // What is no overlay stays as it is: it would be a file system of the host's.
    let bound = fs::File::open(scratch).unwrap();
    assert!(overlay::close_to_writers(&bound).is_err());
    fs::write(scratch.join("writable"), "").unwrap();
}

/// Two times within a second of each other make one second's difference or none, depending on
/// where a second ends: what counts as a change must not.
fn same_second(scratch: &Path) {
    let store = open(scratch);
    let time = |nanoseconds| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(7000, nanoseconds);
        fs::FileTimes::new().set_modified(time)
    };
    let write = |root: &Path, nanoseconds| {
        let _ = fs::create_dir(root.join("dir"));
        fs::write(root.join("dir/file"), "as it was").unwrap();
        for path in ["dir/file", "dir"] {
            let file = fs::File::open(root.join(path)).unwrap();
            file.set_times(time(nanoseconds)).unwrap();
        }
    };
    let first = step(&store, &[], |root| write(root, 1_000_000));
    let layers = [first];
    let again = step_of_overlay(&store, &layers, |root| write(root, 2_000_000));
    assert_eq!(listing(&again).len(), 2, "{:?}", listing(&again));
    let copied_up = step_of_overlay(&store, &layers, |root| {
        let file = fs::File::options().append(true).open(root.join("dir/file"));
        drop(file.unwrap());
        fs::set_permissions(root.join("dir"), fs::Permissions::from_mode(0o755)).unwrap();
    });
    assert_eq!(listing(&copied_up), [""; 0]);
}

/// Two steps that make the same, and one between them that undoes it.
fn a_layer_twice(scratch: &Path) {
    let store = open(scratch);
    let base = base(&store);
    let added = layer(&store, &["etc/", "etc/passwd=other", "etc/new=new"]);
    let removed = step(&store, &[base.clone(), added.clone()], |root| {
        fs::remove_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc"), "a file").unwrap();
    });
    let layers = [base, added.clone(), removed, added];
    let seen = step(&store, &layers, |root| {
        let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap();
        assert_eq!(passwd, "other");
        assert!(!root.join("etc/hosts").exists());
        fs::write(root.join("seen"), "").unwrap();
    });
    assert_eq!(listing(&seen).len(), 1);
}

fn nothing_changed(scratch: &Path) {
    let store = open(scratch);
    let base = base(&store);
    let made = step(&store, &[base], |root| {
        assert_eq!(fs::read_to_string(root.join("bin/sh")).unwrap(), "shell");
    });
    assert_eq!(made, store.empty().unwrap());
    let work = fs::read_dir(scratch.join("state/work")).unwrap();
    for own in work {
        for left in fs::read_dir(own.unwrap().path()).unwrap() {
            // Layers are announced until they are on disk.
            let name = left.unwrap().file_name().into_string().unwrap();
            assert!(name.starts_with("layer-"), "{name} is left");
        }
    }
}

fn every_kind_of_change(scratch: &Path) {
    let store = open(scratch);
    let base = base(&store);
    let made = step(&store, &[base], |root| {
        fs::write(root.join("etc/passwd"), "changed").unwrap();
        fs::remove_file(root.join("usr/share/doc")).unwrap();
        fs::remove_dir_all(root.join("var/old")).unwrap();
        fs::create_dir(root.join("var/old")).unwrap();
        fs::write(root.join("var/old/c"), "3").unwrap();
        fs::remove_file(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("bin/new")).unwrap();
        symlink("/nowhere", root.join("etc/link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        drop(UnixListener::bind(root.join("var/socket")).unwrap());
        fs::write(root.join("setuid"), "x").unwrap();
        let mode = fs::Permissions::from_mode(0o4711);
        fs::set_permissions(root.join("setuid"), mode).unwrap();
        rustix::fs::setxattr(
            root.join("setuid"),
            "security.capability",
            &CAPABILITY,
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        rustix::fs::setxattr(
            root.join("setuid"),
            "user.note",
            b"kept",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
    });
    assert_eq!(
        listing(&made),
        [
            "bin/",
            "bin/new/",
            "etc/",
            "etc/link -> /nowhere",
            "etc/passwd 7",
            "pipe |",
            "setuid 1",
            "usr/",
            "usr/share/",
            "-usr/share/doc",
            "var/",
            "var/old/!",
            "var/old/c 1"
        ]
    );
    let tree = made.tree().unwrap();
    let setuid = tree.get(b"setuid").unwrap();
    let xattrs = XattrsBuf::new(vec![
        (b"security.capability".to_vec(), CAPABILITY.to_vec()),
        (b"user.note".to_vec(), b"kept".to_vec()),
    ]);
    assert_eq!((setuid.mode, setuid.xattrs), (0o4711, xattrs.as_xattrs()));
}

fn apparent_changes(scratch: &Path) {
    let store = open(scratch);
    let base = base(&store);
    let made = step(&store, &[base], |root| {
        // Copied up, and put back as it was.
        let file = root.join("usr/bin/sh");
        let before = fs::metadata(&file).unwrap();
        let mode = before.permissions();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&file, mode).unwrap();
        // Copied up for a file that is gone again, but that left its time on the directory.
        fs::write(root.join("etc/new"), "").unwrap();
        fs::remove_file(root.join("etc/new")).unwrap();
    });
    assert_eq!(listing(&made), ["etc/"]);
}

fn devices_beyond_the_disk(scratch: &Path) {
    let store = open(scratch);
    let builder = store.builder().unwrap();
    let device = kiln_tree::Device { major: 1, minor: 7 };
    let char = kiln_snapshotter::DeviceNodeKind::Char;
    builder
        .add_device(&path("full"), &plain(0o644), char, device)
        .unwrap();
    let base = builder.finish().unwrap();
    let made = step(&store, &[base], |root| {
        let file = root.join("full");
        let mode = fs::metadata(&file).unwrap().permissions();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&file, mode).unwrap();
    });
    assert_eq!(made, store.empty().unwrap());
}

fn owners_beyond_the_disk(scratch: &Path) {
    let store = open(scratch);
    let builder = store.builder().unwrap();
    let foreign = Metadata {
        uid: 4242,
        gid: 4343,
        ..plain(0o755)
    };
    builder.add_directory(&path("d"), &foreign).unwrap();
    builder
        .add_file(&path("d/f"), &foreign, FileContent::Bytes(b"x"))
        .unwrap();
    let base = builder.finish().unwrap();
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    if !map.contains("4294967295") {
        let snapshotters: [&dyn Snapshotter; 2] = [&Overlay::new(&store), &Reflink::new(&store)];
        for snapshotter in snapshotters {
            let refused = snapshotter
                .prepare(std::slice::from_ref(&base))
                .unwrap_err();
            let words = refused.to_string();
            let expected = "d belongs to user 4242, but there are only the ids 0 here";
            assert!(words.contains(expected), "{words}");
        }
        return;
    }
    let made = step(&store, &[base], |root| {
        fs::write(root.join("d/f"), "more").unwrap();
        fs::write(root.join("d/own"), "mine").unwrap();
    });
    assert_eq!(listing(&made), ["d/", "d/f 4", "d/own 4"]);
    let tree = made.tree().unwrap();
    let owner = |path: &[u8]| tree.get(path).map(|entry| (entry.uid, entry.gid)).unwrap();
    assert_eq!(owner(b"d"), (4242, 4343));
    assert_eq!(owner(b"d/f"), (4242, 4343));
    assert_eq!(owner(b"d/own"), (0, 0));
}

fn mount_points(scratch: &Path) {
    let store = open(scratch);
    let base = base(&store);
    let stubs = ["etc/resolv.conf", "mnt", "mnt/deep", "etc/hosts", "used"];
    let act = |root: &Path| {
        fs::write(root.join("etc/resolv.conf"), "").unwrap();
        fs::create_dir_all(root.join("mnt/deep")).unwrap();
        fs::create_dir(root.join("proc")).unwrap();
        fs::write(root.join("used"), "by the step").unwrap();
    };
    let made = step_with(&store, std::slice::from_ref(&base), &stubs, act);
    assert_eq!(listing(&made), ["proc/", "used 11"]);
    let made = step_with(&store, &[base], &stubs[..3], |root| {
        fs::write(root.join("etc/resolv.conf"), "").unwrap();
        fs::create_dir_all(root.join("mnt/deep")).unwrap();
    });
    assert_eq!(made, store.empty().unwrap());
}

/// OCI-021.
fn hard_links(scratch: &Path) {
    let store = open(scratch);
    let base = layer(&store, &["a=old", "d/", "d/one=x", "d/two hard=d/one"]);
    let made = step(&store, &[base], |root| {
        fs::hard_link(root.join("a"), root.join("b")).unwrap();
        fs::write(root.join("m"), "new").unwrap();
        fs::hard_link(root.join("m"), root.join("d/n")).unwrap();
    });
    assert_eq!(listing(&made), ["a 3", "b == a", "d/", "d/n 3", "m == d/n"]);
}

fn layers_stack(scratch: &Path) {
    let store = open(scratch);
    let mut layers = vec![base(&store)];
    for number in 0..40 {
        let made = step(&store, &layers, |root| {
            fs::write(root.join("etc/passwd"), number.to_string()).unwrap();
            fs::write(root.join(number.to_string()), "").unwrap();
            if number > 0 {
                fs::remove_file(root.join((number - 1).to_string())).unwrap();
            }
            if number == 20 {
                fs::remove_dir_all(root.join("usr")).unwrap();
                chown(root.join("var"), Some(0), Some(0)).unwrap();
            }
        });
        layers.push(made);
    }
    let view = ParentView::new(&layers).unwrap();
    let names = view.list(&GuestPath::ROOT).unwrap();
    assert_eq!(
        names,
        ["39", "bin", "etc", "var"].map(|name| name.as_bytes().to_vec())
    );
    let passwd = view.read(&path("etc/passwd"), 10).unwrap();
    assert_eq!(passwd.as_deref(), Some(&b"39"[..]));
}

fn deep_directories(scratch: &Path) {
    let store = open(scratch);
    let deep = "d/".repeat(1500);
    let made = step(&store, &[], |root| {
        fs::create_dir_all(root.join(&deep)).unwrap();
    });
    assert_eq!(made.tree().unwrap().len(), 1500);
}

fn from_scratch(scratch: &Path) {
    let store = open(scratch);
    let builder = store.builder().unwrap();
    let root = Metadata::root_owned(0o711, Timestamp::EPOCH);
    builder.add_directory(&GuestPath::ROOT, &root).unwrap();
    add(&builder, &["f=1"]);
    let base = builder.finish().unwrap();
    let made = step(&store, &[], |root| fs::write(root.join("x"), "").unwrap());
    assert_eq!(listing(&made), ["x 0"]);
    let made = step(&store, &[base], |root| {
        assert_eq!(fs::metadata(root).unwrap().mode() & 0o7777, 0o711);
        fs::remove_file(root.join("f")).unwrap();
    });
    assert_eq!(listing(&made), ["-f"]);
}

fn everything_hidden(scratch: &Path) {
    let store = open(scratch);
    let builder = store.builder().unwrap();
    builder
        .add_opaque_directory(&GuestPath::ROOT, &plain(0o755))
        .unwrap();
    add(&builder, &["new="]);
    let layers = [base(&store), builder.finish().unwrap()];
    let made = step(&store, &layers, |root| {
        assert_eq!(fs::read_dir(root).unwrap().count(), 1);
        fs::create_dir(root.join("etc")).unwrap();
    });
    assert_eq!(listing(&made), ["etc/"]);
}
