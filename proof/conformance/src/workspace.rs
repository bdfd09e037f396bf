use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::Scratch;

use crate::Error;
use crate::case::Case;

/// The files of a case that are not part of its context.
const NOT_CONTEXT: [&str; 2] = ["case.toml", "setup.sh"];

/// A directory for one build of a case: a copy of the context, and room for the result.
///
/// The copy has the modes that Git knows about, whatever the umask of the user who checked them out;
/// `setup.sh` adds what Git cannot hold.
#[derive(Debug)]
pub struct Workspace {
    scratch: Scratch,
}

impl Workspace {
    /// Copies and prepares the context of a case.
    ///
    /// # Errors
    ///
    /// Those of copying, or a setup that fails.
    pub fn new(case: &Case) -> Result<Self, Error> {
        let workspace = Self {
            scratch: Scratch::new(),
        };
        copy(&case.directory, &workspace.context())?;
        for name in NOT_CONTEXT {
            let path = workspace.context().join(name);
            if path.exists() {
                fs::remove_file(&path).map_err(Error::at(&path))?;
            }
        }
        let setup = case.directory.join("setup.sh");
        if setup.exists() {
            let script = fs::read_to_string(&setup).map_err(Error::at(&setup))?;
            workspace.change(&script)?;
        }
        Ok(workspace)
    }

    /// Returns the copy of the context.
    pub fn context(&self) -> PathBuf {
        self.scratch.join("context")
    }

    /// Returns where the saved image goes.
    pub(crate) fn archive(&self) -> PathBuf {
        self.scratch.join("image.tar")
    }

    /// Runs a shell script in the context.
    ///
    /// # Errors
    ///
    /// What the script said when it failed.
    pub(crate) fn change(&self, script: &str) -> Result<(), Error> {
        let output = Command::new("sh")
            .args(["-euc", &format!("umask 022\n{script}")])
            .current_dir(self.context())
            .output()
            .map_err(Error::at(Path::new("sh")))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Builder {
            what: format!("the context could not be changed by {script:?}"),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let kind = fs::symlink_metadata(from).map_err(Error::at(from))?;
    if kind.is_symlink() {
        let target = fs::read_link(from).map_err(Error::at(from))?;
        return symlink(target, to).map_err(Error::at(to));
    }
    let mode = if kind.is_dir() || kind.permissions().mode() & 0o100 != 0 {
        0o755
    } else {
        0o644
    };
    if kind.is_dir() {
        fs::create_dir(to).map_err(Error::at(to))?;
        for entry in fs::read_dir(from).map_err(Error::at(from))? {
            let entry = entry.map_err(Error::at(from))?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        let bytes = fs::read(from).map_err(Error::at(from))?;
        fs::write(to, bytes).map_err(Error::at(to))?;
    }
    fs::set_permissions(to, Permissions::from_mode(mode)).map_err(Error::at(to))
}
