//! Why a state directory cannot be opened.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// The version of the layout above and of every encoding below it.
///
/// 2: a layer's files may lie on those of another (`upon`). 3: an image has a note, not a line. 4: the
/// stack of a record may go on in a blob. What is there in an earlier format is as good in this one.
pub(super) const FORMAT: u32 = 4;

/// Why a state directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a newer kiln.
    #[error("state directory {path} has format {found}, this kiln knows up to {FORMAT}")]
    Newer {
        /// The state directory.
        path: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// It belongs to another user, who could change its files.
    #[error(
        "state directory {path} belongs to user {owner}, not to you (user {user}); use one of your \
         own{}",
        if *.user == 0 { format!(", or make it yours with: chown -R 0 {}", .path.display()) } else { String::new() }
    )]
    NotOurs {
        /// The state directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// A file in it belongs to another user, who may have forged it, and still can.
    #[error(
        "in state directory {path}, {name:?} belongs to user {owner}, not to you (user {user}); \
         what is in it may be forged, so remove it, or use another state directory"
    )]
    Planted {
        /// The state directory.
        path: PathBuf,
        /// What is in it.
        name: OsString,
        /// Whose that is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Something in it is a link.
    #[error(
        "in state directory {path}, {name:?} is a link, and kiln follows none there; move what it \
         leads to into its place, or remove it"
    )]
    Link {
        /// The state directory.
        path: PathBuf,
        /// What is in it.
        name: OsString,
    },
    /// Its `format` file is not a number.
    #[error(
        "{path} is not a kiln state directory: its `format` file reads {text:?}; if it is one, the \
         file was damaged, and should read {FORMAT}"
    )]
    Foreign {
        /// The state directory.
        path: PathBuf,
        /// What the file says.
        text: String,
    },
    /// It is a file.
    #[error("state directory {path} is no directory; choose another with KILN_ROOT")]
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// It is a directory for something else, which kiln would make inaccessible to others.
    #[error(
        "{path} is not a kiln state directory: it has no `format` file, but {name:?}; choose a \
         directory that is empty or not there yet, such as {}",
        path.join("kiln").display()
    )]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// Something that is in it.
        name: OsString,
    },
    /// A file operation failed.
    #[error("state directory {path}")]
    Io {
        /// The path that the operation was about.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}
