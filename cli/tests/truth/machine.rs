//! kiln, run by root or by an ordinary user, and state directories for it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln_testbed::{Kiln, Scratch, Skip, busybox, need_root, ordinary_user};

use crate::program;

/// What the base images have in their file system besides busybox.
const BASE: &str = "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\n\
    COPY bin /bin/\nCOPY etc /etc/\nRUN mkdir /tmp\n";

/// What commands need of busybox. All of it would be hundreds of links to be copied every time.
const APPLETS: &str = "[ cat chmod chown cp echo find ln ls md5sum mkdir mv readlink rm sh sort stat \
    touch true wc xargs";

/// Tags of the base images that builds can start from.
pub(crate) const BASES: [&str; 2] = ["base:one", "base:two"];

/// Who runs kiln, and where.
pub(crate) struct Machine {
    kiln: Kiln,
}

impl Machine {
    /// kiln, run by the user who runs the tests.
    pub(crate) fn own() -> Result<Self, Skip> {
        need_root()?;
        let kiln = Kiln::in_scratch(program(), Scratch::for_everyone());
        Self { kiln }.seeded()
    }

    /// kiln, run by an ordinary user.
    pub(crate) fn of_user() -> Result<Self, Skip> {
        let kiln = Kiln::of_user(program(), ordinary_user()?);
        Self { kiln }.seeded()
    }

    /// Makes the base images, so that later state directories can start with them.
    fn seeded(self) -> Result<Self, Skip> {
        let material = self.join("material");
        fs::create_dir_all(material.join("etc")).unwrap();
        fs::copy(busybox()?, material.join("busybox")).unwrap();
        fs::write(material.join("Dockerfile"), BASE).unwrap();
        fs::create_dir(material.join("bin")).unwrap();
        for applet in APPLETS.split_whitespace() {
            symlink("busybox", material.join("bin").join(applet)).unwrap();
        }
        let passwd = "root:x:0:0::/:/bin/sh\nme:x:7:8::/:/bin/sh\n";
        fs::write(material.join("etc/passwd"), passwd).unwrap();
        fs::write(material.join("etc/group"), "root:x:0:\nus:x:8:\n").unwrap();
        for (position, tagged) in BASES.iter().enumerate() {
            let state = self.join(&format!("seed{position}"));
            for base in BASES {
                fs::write(material.join("etc/base"), base).unwrap();
                let mut command = self.kiln(&state);
                command.args(["build", "-q", "--timestamp=5", "--rewrite-timestamp"]);
                succeeded(command.args(["-t", base]).arg(&material));
            }
            succeeded(self.kiln(&state).args(["tag", tagged, "base"]));
        }
        Ok(self)
    }

    /// Returns a kiln command on a state directory.
    pub(crate) fn kiln(&self, state: &Path) -> Command {
        self.kiln.command_on(state)
    }

    /// Returns a kiln command with this mask for new files.
    pub(crate) fn kiln_with_mask(&self, state: &Path, mask: &str) -> Command {
        // A shell, because processes inherit their masks.
        let mut shell = self.kiln.command_of_user(Path::new("/bin/sh"));
        shell.args(["-c", "umask $0; exec \"$@\"", mask]);
        shell.arg(self.kiln.program());
        self.kiln.bind(shell, state)
    }

    /// Returns the path of something in the scratch directory.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.kiln.scratch.join(name)
    }

    /// Makes a directory in which the user can write.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let directory = self.join(name);
        fs::create_dir_all(&directory).unwrap();
        if let Some(user) = self.kiln.user() {
            user.own(&directory);
        }
        directory
    }

    /// Makes a state directory that holds the base images and nothing else of use; `base` is the
    /// one at this position of [`BASES`].
    pub(crate) fn state(&self, base: usize, name: &str) -> PathBuf {
        let state = self.join(name);
        let mut command = self.kiln.command_of_user(Path::new("cp"));
        command.args(["-a", "--reflink=auto"]);
        let seed = self.join(&format!("seed{base}"));
        succeeded(command.arg(seed).arg(&state));
        state
    }
}

/// Runs a command, which must succeed, and returns its standard output less the final line end.
#[track_caller]
pub(crate) fn succeeded(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {text}");
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// Returns everything that a command said.
pub(crate) fn text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{stdout}{stderr}")
}
