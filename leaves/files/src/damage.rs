//! What errors say about a file: that it is damaged, gone or in the way; or only about the moment.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::io::Errno;

/// Says whether an error of reading says something about what is read: it is not there, not what it
/// should be, or the disk cannot give it back. Any other error is about this process and this
/// moment (too many open files, no memory, no right, a request to stop): nothing may be thrown away
/// for it.
#[must_use]
pub fn is_about_the_file(error: &io::Error) -> bool {
    let Some(code) = Errno::from_io_error(error) else {
        let kinds = [
            ErrorKind::NotFound,
            ErrorKind::InvalidData,
            ErrorKind::UnexpectedEof,
        ];
        return kinds.contains(&error.kind());
    };
    [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::LOOP,
        Errno::IO,
        Errno::UCLEAN,
        Errno::BADMSG,
        Errno::ILSEQ,
    ]
    .contains(&code)
}

/// Takes it for done if there was nothing to do it with.
///
/// # Errors
/// All others.
pub fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Says whether there is anything at a path, if only a link to nowhere.
///
/// # Errors
/// When that cannot be told.
pub fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says whether a rename failed because something has the name.
#[must_use]
pub fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::IsADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_moment_are_told_from_damage() {
        for (code, expected) in [
            (Errno::NOENT, true),
            (Errno::IO, true),
            (Errno::UCLEAN, true),
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::NOMEM, false),
            (Errno::ACCESS, false),
            (Errno::PERM, false),
            (Errno::INTR, false),
            (Errno::STALE, false),
        ] {
            assert_eq!(is_about_the_file(&code.into()), expected, "{code:?}");
        }
        assert!(is_about_the_file(&ErrorKind::UnexpectedEof.into()));
        assert!(!is_about_the_file(&ErrorKind::Interrupted.into()));
        assert!(!is_about_the_file(&io::Error::other("stopped")));
    }
}
