//! Edits of the files of a context, those that are easy to overlook above all.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use kiln_testbed::run;

use crate::truth::chance::Chance;

/// A directory of many files, of which a few are edited.
const MANY: &str = "src/many";

/// Fills a context, replacing what is there under these names.
pub(crate) fn fill(root: &Path) {
    for name in ["src", "lib", "read.md", "pack.tar"] {
        let path = root.join(name);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    fs::create_dir_all(root).unwrap();
    for (path, content) in [
        ("src/a.txt", "one\n"),
        ("src/b.txt", "two\n"),
        ("src/deep/c.txt", "three\n"),
        ("lib/run.sh", "#!/bin/sh\n"),
        ("read.md", "read\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    symlink("a.txt", root.join("src/link")).unwrap();
    // So many that a layer of which little changed lies on the one before.
    fs::create_dir_all(root.join(MANY)).unwrap();
    for number in 0..80 {
        let path = root.join(MANY).join(format!("{number:02}"));
        fs::write(path, format!("{}\n", number % 7)).unwrap();
    }
    pack(root, "packed\n");
}

/// Returns the paths below a directory, sorted.
pub(crate) fn paths(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(root, Path::new(""), &mut found);
    found.sort();
    let mut many = 0..4;
    found.retain(|path| !path.starts_with("src/many/") || many.next().is_some());
    found
}

fn collect(root: &Path, below: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, found);
        }
        found.push(path.into_os_string().into_string().unwrap());
    }
}

/// Makes an archive in the context.
fn pack(root: &Path, content: &str) {
    let inside = root.join("packed.txt");
    fs::write(&inside, content).unwrap();
    run(Command::new("tar")
        .args(["--create", "--owner=9", "--group=9", "--numeric-owner"])
        .arg("--file")
        .arg(root.join("pack.tar"))
        .arg("--directory")
        .arg(root)
        .arg("packed.txt"));
    fs::remove_file(inside).unwrap();
}

/// Changes something and says what.
pub(crate) fn edit(root: &Path, chance: &mut Chance) -> String {
    let all = paths(root);
    let is_file = |path: &String| fs::symlink_metadata(root.join(path)).unwrap().is_file();
    let files: Vec<&String> = all.iter().filter(|path| is_file(path)).collect();
    let Some(position) = chance.position(&files) else {
        fill(root);
        return "all files anew".to_owned();
    };
    let name = files[position];
    let path = root.join(name);
    let number = chance.below(10);
    match chance.below(20) {
        choice @ 0..=9 => edit_file(root, &files, name, choice, number, chance),
        10 | 11 | 18 | 19 => names(root, &files),
        12 => {
            let to = unused(root, chance);
            fs::rename(&path, root.join(&to)).unwrap();
            format!("rename {name} to {to}")
        }
        13 => {
            let other = files[chance.below(files.len())];
            let between = root.join(".between");
            fs::rename(&path, &between).unwrap();
            let other_path = root.join(other);
            if other != name {
                fs::rename(&other_path, &path).unwrap();
            }
            fs::rename(&between, &other_path).unwrap();
            format!("exchange {name} and {other}")
        }
        14 => {
            let to = unused(root, chance);
            fs::write(root.join(&to), format!("new {number}\n")).unwrap();
            format!("create {to}")
        }
        15 => {
            let directories = ["src", "lib", "src/deep"];
            let directory = chance.pick(&directories);
            let from = root.join(directory);
            if from.is_dir() && !from.is_symlink() {
                let mode = [0o755, 0o775, 0o1777][chance.below(3)];
                fs::set_permissions(&from, Permissions::from_mode(mode)).unwrap();
                return format!("chmod {mode:o} {directory}");
            }
            fill(root);
            "all files anew".to_owned()
        }
        16 => {
            let value = format!("{number}");
            // Not every file system has them.
            let set = rustix::fs::setxattr(
                &path,
                "user.kiln",
                value.as_bytes(),
                rustix::fs::XattrFlags::empty(),
            );
            format!("attribute {number} of {name}: {set:?}")
        }
        _ => {
            let _ = fs::remove_file(root.join("pack.tar"));
            if !root.join("pack.tar").exists() && !root.join("packed.txt").exists() {
                pack(root, &format!("packed {number}\n"));
            }
            format!("pack {number}")
        }
    }
}

/// Changes a file where it lies and says how.
fn edit_file(
    root: &Path,
    files: &[&String],
    name: &str,
    choice: usize,
    number: usize,
    chance: &mut Chance,
) -> String {
    let path = root.join(name);
    match choice {
        0 | 1 => {
            fs::write(&path, format!("content {number}\n")).unwrap();
            format!("write {number} to {name}")
        }
        2 | 3 => {
            same_size(&path);
            format!("change {name}, size and time kept")
        }
        4 => {
            let replacement = root.join(".replacement");
            let metadata = fs::metadata(&path).unwrap();
            fs::copy(&path, &replacement).unwrap();
            same_size(&replacement);
            set_time(&replacement, metadata.modified().unwrap());
            fs::rename(&replacement, &path).unwrap();
            format!("replace {name}, size and time kept")
        }
        5 => {
            let mode = [0o644, 0o755, 0o664, 0o444, 0o4755, 0o2711][chance.below(6)] | 0o044;
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            format!("chmod {mode:o} {name}")
        }
        6 => {
            let seconds = [10_000, 1_500_000_000, 2_000_000_000][chance.below(3)];
            set_time(&path, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            format!("touch {name} at {seconds}")
        }
        7 => {
            fs::remove_file(&path).unwrap();
            format!("remove {name}")
        }
        8 => {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            if number < 5 {
                fs::write(path.join("inside"), "i\n").unwrap();
            }
            format!("make {name} a directory")
        }
        _ => {
            let target = files[chance.below(files.len())];
            fs::remove_file(&path).unwrap();
            symlink(Path::new("/").join(target), &path).unwrap();
            format!("make {name} a link to /{target}")
        }
    }
}

/// Makes two files equal, then one file with two names, then two again.
fn names(root: &Path, files: &[&String]) -> String {
    let in_src: Vec<_> = files
        .iter()
        .filter(|name| name.starts_with("src"))
        .collect();
    let [one, other, ..] = in_src.as_slice() else {
        return "nothing".to_owned();
    };
    let (path, other_path) = (root.join(one), root.join(other));
    let metadata = fs::metadata(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    if metadata.ino() == fs::metadata(&other_path).unwrap().ino() {
        // Nothing else about the file changes.
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, metadata.permissions()).unwrap();
        set_time(&path, metadata.modified().unwrap());
        return format!("write {one} apart from {other}");
    }
    let is_same = fs::read(&other_path).unwrap() == bytes;
    fs::remove_file(&other_path).unwrap();
    if is_same {
        fs::hard_link(&path, &other_path).unwrap();
        return format!("make {other} a second name of {one}, equal before");
    }
    fs::copy(&path, &other_path).unwrap();
    format!("make {other} equal to {one}")
}

/// Turns the first byte of a file into another and sets its time back.
fn same_size(path: &Path) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    match bytes.first_mut() {
        Some(first) => *first = if *first == b'x' { b'y' } else { b'x' },
        None => bytes.push(b'x'),
    }
    fs::write(path, bytes).unwrap();
    set_time(path, time);
}

fn set_time(path: &Path, time: SystemTime) {
    let file = File::open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn unused(root: &Path, chance: &mut Chance) -> String {
    loop {
        let directories = ["src", "src/deep", "lib", "more", "."];
        let directory = chance.pick(&directories);
        let at: PathBuf = root.join(directory);
        if fs::create_dir_all(&at).is_err() || at.is_symlink() {
            continue;
        }
        let name = format!("n{}.txt", chance.below(1000));
        if !at.join(&name).exists() {
            return format!("{directory}/{name}").replace("./", "");
        }
    }
}
