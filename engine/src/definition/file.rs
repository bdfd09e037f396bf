//! Reading what says how to build: Dockerfiles and ignore files.
//!
//! The author of a context need not be the user who builds it, and parts of these files are shown when
//! something is wrong with them. So links in a context lead to files of the context, as in BuildKit,
//! to which nothing else is sent. What is outside of it the user has named: it is read as it is,
//! be it a link or a pipe.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use kiln_files::read_foreign;

/// Bytes. What a message to BuildKit may hold, and so what a Dockerfile can have there.
pub(super) const LARGEST: u64 = 16 << 20;

/// Reads a file, without leaving `context` if it is in there.
pub(super) fn read(path: &Path, context: Option<&Path>) -> io::Result<Vec<u8>> {
    match context.and_then(|context| within(path, context)) {
        Some((root, inside)) => read_in(&root, &inside).map_err(|error| {
            // Beneath the root it leads to nothing, and from here to something.
            if error.kind() == ErrorKind::NotFound && path.exists() {
                io::Error::new(
                    ErrorKind::PermissionDenied,
                    "it is a link that leads out of the build context",
                )
            } else {
                error
            }
        }),
        None => read_some(File::open(path)?),
    }
}

/// Reads a file of a directory that came from elsewhere: links in it lead to files of it.
pub(super) fn read_in(root: &Path, path: &Path) -> io::Result<Vec<u8>> {
    read_foreign(root, path, LARGEST)
}

/// Refuses what is too large to be read into memory.
pub(super) fn check_size(size_bytes: u64) -> io::Result<()> {
    if size_bytes > LARGEST {
        Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it is larger than {LARGEST} bytes"),
        ))
    } else {
        Ok(())
    }
}

fn read_some(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    check_size(text.len() as u64)?;
    Ok(text)
}

/// Returns the context and the path in it, if the file is in there. The way to a file is what the
/// user said; only its last part may be a link that came with the context.
fn within(path: &Path, context: &Path) -> Option<(PathBuf, PathBuf)> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return None,
    };
    let root = fs::canonicalize(context).ok()?;
    let directory = fs::canonicalize(directory).ok()?;
    let inside = directory.strip_prefix(&root).ok()?.join(path.file_name()?);
    Some((root, inside))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_of_a_context_stay_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let context = root.join("context");
        fs::create_dir_all(context.join("docker")).unwrap();
        fs::write(root.join("secret"), "secret").unwrap();
        fs::write(context.join("real"), "FROM a").unwrap();
        for (link, target) in [
            ("relative", "../secret".to_owned()),
            ("absolute", root.join("secret").display().to_string()),
            ("docker/up", "../../secret".to_owned()),
            ("twice", "relative".to_owned()),
        ] {
            let link = context.join(link);
            symlink(target, &link).unwrap();
            let error = read(&link, Some(&context)).unwrap_err();
            assert!(error.to_string().contains("leads out"), "{link:?}: {error}");
            // Named by the user and of no context, it is read.
            assert_eq!(read(&link, None).unwrap(), b"secret");
        }
        for (link, target) in [("same", "real"), ("docker/below", "../real")] {
            let link = context.join(link);
            symlink(target, &link).unwrap();
            assert_eq!(read(&link, Some(&context)).unwrap(), b"FROM a");
        }
        let outside = root.join("outside");
        symlink("secret", &outside).unwrap();
        assert_eq!(read(&outside, Some(&context)).unwrap(), b"secret");
        symlink("nothing", context.join("dangling")).unwrap();
        let error = read(&context.join("dangling"), Some(&context)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        symlink("/proc/self/environ", context.join("magic")).unwrap();
        assert!(read(&context.join("magic"), Some(&context)).is_err());
    }

    #[test]
    fn there_is_an_end_to_what_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("large");
        File::create(&large).unwrap().set_len(1 << 40).unwrap();
        for context in [None, Some(directory.path())] {
            let error = read(&large, context).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        }
        assert_eq!(read(Path::new("/dev/null"), None).unwrap(), b"");
    }
}
