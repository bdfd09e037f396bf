//! A file system written down as sorted lines, so that two can be compared and a difference
//! can be read.
//!
//! A line holds everything an image layer carries except times, which builders choose
//! differently: path, kind, mode, owner, size, device numbers, where a symbolic link points,
//! which earlier path a hard link repeats, a hash of the content, extended attributes.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr, major, minor};

use crate::{Scratch, Skip, Tool, need_root, run};

/// Writes down a directory, itself included as `.`.
///
/// # Panics
///
/// If something in it cannot be read.
pub fn list_directory(directory: &Path) -> Vec<String> {
    let mut paths = vec![PathBuf::new()];
    collect(directory, Path::new(""), &mut paths)
        .unwrap_or_else(|error| panic!("cannot walk {}: {error}", directory.display()));
    paths.sort();
    let mut first_names = HashMap::new();
    paths
        .iter()
        .map(|path| {
            describe(directory, path, &mut first_names)
                .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
        })
        .collect()
}

/// Writes down what a tar archive unpacks to, whatever it is compressed with.
///
/// # Errors
///
/// A skip for anybody but root, who alone can unpack every owner and device.
///
/// # Panics
///
/// If the archive cannot be unpacked.
pub fn list_tar(archive: &Path) -> Result<Vec<String>, Skip> {
    need_root()?;
    let tar = Tool::find("tar")?;
    let scratch = Scratch::new();
    run(tar
        .command()
        .args(["--extract", "--numeric-owner", "--preserve-permissions"])
        .args(["--xattrs", "--xattrs-include=*", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(scratch.path()));
    // The top is ours unless the archive says otherwise, which few do.
    let mut lines = list_directory(scratch.path());
    lines.remove(0);
    Ok(lines)
}

/// Returns the lines of one listing that the other lacks: `-` left only, `+` right only.
pub fn differences(left: &[String], right: &[String]) -> Vec<String> {
    let (left, right): (BTreeSet<_>, BTreeSet<_>) = (left.iter().collect(), right.iter().collect());
    let mut lines: Vec<(&str, char)> = left
        .difference(&right)
        .map(|line| (line.as_str(), '-'))
        .chain(right.difference(&left).map(|line| (line.as_str(), '+')))
        .collect();
    lines.sort_unstable();
    lines
        .into_iter()
        .map(|(line, sign)| format!("{sign} {line}"))
        .collect()
}

/// Fails unless two listings are equal.
///
/// # Panics
///
/// With the lines that differ.
pub fn assert_same_tree(left: &[String], right: &[String]) {
    let differences = differences(left, right);
    assert!(
        differences.is_empty(),
        "the trees differ (- left, + right):\n{}",
        differences.join("\n")
    );
}

fn collect(top: &Path, below: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(top.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(top, &path, paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

fn describe(
    top: &Path,
    path: &Path,
    first_names: &mut HashMap<(u64, u64), PathBuf>,
) -> io::Result<String> {
    let full = top.join(path);
    // Joining an empty path adds a slash, which would follow a link.
    let full = if path.as_os_str().is_empty() {
        top
    } else {
        &full
    };
    let metadata = fs::symlink_metadata(full)?;
    let name = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let mut line = format!(
        "{} {} {:04o} {}:{}",
        visible(name.as_os_str()),
        kind(&metadata),
        metadata.mode() & 0o7777,
        metadata.uid(),
        metadata.gid(),
    );
    // Writing to a string cannot fail, so the results below say nothing.
    if !metadata.is_dir() && metadata.nlink() > 1 {
        let first = first_names
            .entry((metadata.dev(), metadata.ino()))
            .or_insert_with(|| path.to_owned());
        if first != path {
            let _ = write!(line, " same as {}", visible(first.as_os_str()));
            return Ok(line);
        }
    }
    let file_type = metadata.file_type();
    if file_type.is_file() {
        let _ = write!(line, " {} bytes {:016x}", metadata.len(), hash(full)?);
    } else if file_type.is_symlink() {
        let _ = write!(line, " -> {}", visible(fs::read_link(full)?.as_os_str()));
    } else if file_type.is_char_device() || file_type.is_block_device() {
        let device = metadata.rdev();
        let _ = write!(line, " device {}:{}", major(device), minor(device));
    }
    for (name, value) in extended_attributes(full)? {
        let _ = write!(line, " {name}={value}");
    }
    Ok(line)
}

fn kind(metadata: &Metadata) -> &'static str {
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        "directory"
    } else if file_type.is_file() {
        "file"
    } else if file_type.is_symlink() {
        "symlink"
    } else if file_type.is_char_device() {
        "character"
    } else if file_type.is_block_device() {
        "block"
    } else if file_type.is_fifo() {
        "fifo"
    } else {
        "socket"
    }
}

/// Hashes a file's content. The hash only tells contents apart; no test crafts collisions.
fn hash(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.write(&buffer[..length]);
    }
}

fn extended_attributes(path: &Path) -> io::Result<Vec<(String, String)>> {
    let mut names = vec![0; 1 << 16];
    let length = match llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut attributes = Vec::new();
    for name in names[..length].split(|byte| *byte == 0) {
        // The security label is the host's, not the image's.
        if name.is_empty() || name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; 1 << 16];
        let length = lgetxattr(path, OsStr::from_bytes(name), &mut value)?;
        attributes.push((
            visible(OsStr::from_bytes(name)),
            value[..length].escape_ascii().to_string(),
        ));
    }
    attributes.sort();
    Ok(attributes)
}

/// Makes blanks and what is not printable visible, so that a line has one reading.
fn visible(name: &OsStr) -> String {
    name.as_bytes()
        .escape_ascii()
        .to_string()
        .replace(' ', "\\x20")
}
