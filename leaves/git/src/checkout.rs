//! From a commit to a directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use kiln_files::{Links, open_scoped, remove_tree};
use rustix::fs::{Mode, OFlags, Timespec};

use crate::error::Error;
use crate::events::Events;
use crate::found::{FoundCommit, NamedObject};
use crate::mirror::{self, Mirror};
use crate::program::{Git, GitReach};
use crate::shape::{self, GitFiles};

const RESET: &str = "git reset --quiet --hard";

/// What of a commit is wanted, and how.
#[derive(Clone, Copy, Debug)]
pub struct CheckoutOptions<'a> {
    /// The branch or tag that leads to the commit, if one was named.
    pub reference: Option<&'a str>,
    /// The directory whose contents are wanted.
    pub subdirectory: Option<&'a str>,
    /// Whether submodules come along, with theirs.
    pub with_submodules: bool,
    /// What of git's own comes along.
    pub git_files: GitFiles,
    /// The time that files get; none for the commit's.
    pub time: Option<Timespec>,
}

/// The files of a commit.
#[derive(Debug)]
pub struct CheckedOut {
    /// The directory that was wanted, somewhere in the caller's.
    pub directory: PathBuf,
    /// When the commit was made, in seconds since 1970.
    pub seconds: i64,
}

/// A checkout being made.
#[derive(Debug)]
pub struct Checkout<'a> {
    git: &'a Git<'a>,
    tree: PathBuf,
    commit: &'a str,
    options: CheckoutOptions<'a>,
    /// What goes into `.git`: `git describe` wants to know it.
    name: Option<NamedObject>,
}

impl<'a> Checkout<'a> {
    /// Prepares for checking a commit out.
    ///
    /// # Errors
    /// When the remote has to be asked for the branch or tag, and does not answer.
    pub fn new(
        git: &'a Git<'a>,
        commit: &'a str,
        options: CheckoutOptions<'a>,
    ) -> Result<Self, Error> {
        let name = match options.git_files {
            GitFiles::OfTheRoot => name_of(git, options.reference, commit)?,
            GitFiles::None => None,
        };
        Ok(Self {
            git,
            tree: git.work().join("tree"),
            commit,
            options,
            name,
        })
    }

    /// Takes the commit from a mirror, which fetches it if it is not there.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn take_from(&self, mirror: &Mirror, events: &dyn Events) -> Result<(), Error> {
        mirror.used(self.git, events, |mirror| {
            mirror.fetch(self.git, self.commit)?;
            if let Some(named) = &self.name {
                mirror.fetch(self.git, &named.object)?;
            }
            self.init(mirror)?;
            self.copy_objects(mirror)
        })
    }

    /// Writes the files of the commit that was taken.
    ///
    /// # Errors
    /// When they cannot be written, or submodules cannot be fetched.
    pub fn finish(&self, events: &dyn Events) -> Result<CheckedOut, Error> {
        let tree = &self.tree;
        let seconds = mirror::time_of(self.git, tree, self.commit)?;
        self.git(&["remote", "add", "origin", self.git.remote()])?;
        self.check_out()?;
        if self.options.with_submodules && tree.join(".gitmodules").exists() {
            events.log("submodules\n");
            self.submodules()?;
        }
        if self.options.git_files == GitFiles::OfTheRoot {
            self.tidy()?;
        }
        let directory = match self.options.subdirectory {
            Some(subdirectory) => subdirectory_of(tree, subdirectory)?,
            None => tree.clone(),
        };
        let of_commit = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let time = self.options.time.unwrap_or(of_commit);
        shape::unify(&directory, time, self.options.git_files).map_err(Error::Shape)?;
        Ok(CheckedOut { directory, seconds })
    }

    fn git(&self, arguments: &[&str]) -> Result<(), Error> {
        self.git
            .run(Some(&self.tree), GitReach::Network, arguments)
            .map(drop)
    }

    /// Makes an empty repository, in place of what an attempt before may have left.
    fn init(&self, mirror: &Mirror) -> Result<(), Error> {
        remove_tree(&self.tree)
            .and_then(|()| fs::create_dir(&self.tree))
            .map_err(Error::Write)?;
        let format = format!("--object-format={}", mirror.format().name());
        self.git(&["init", "--quiet", "--template=", &format, "."])
    }

    /// Copies the commit's objects, and the name it is known by. Each gets the name that its bytes
    /// hash to, and all that belong to the commit must have come.
    fn copy_objects(&self, mirror: &Mirror) -> Result<(), Error> {
        let branch = self
            .name
            .as_ref()
            .map(|NamedObject { name, object }| format!("{object}:{name}"));
        let mut from = OsString::from("file://");
        from.push(mirror.path());
        let mut fetch: Vec<&OsStr> = ["fetch", "--quiet", "--no-tags", "--depth=1"]
            .map(OsStr::new)
            .into();
        fetch.extend([OsStr::new("--update-head-ok"), &from]);
        fetch.push(OsStr::new(self.commit));
        fetch.extend(branch.as_deref().map(OsStr::new));
        self.git.run(Some(&self.tree), GitReach::Machine, fetch)?;
        Ok(())
    }

    /// Writes the files. `git checkout` takes one that it cannot write for a success (2.47).
    fn check_out(&self) -> Result<(), Error> {
        self.git(&["update-ref", "--no-deref", "HEAD", self.commit])?;
        self.git(&["reset", "--quiet", "--hard"])
    }

    fn submodules(&self) -> Result<(), Error> {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
        let shallow: Vec<&str> = update.into_iter().chain(["--depth=1"]).collect();
        match self.git(&shallow) {
            // Plain files behind HTTP.
            Err(error) if error.mentions("shallow") => self.git(&update)?,
            other => other?,
        }
        // git checks them out as it does everything else.
        let foreach = ["submodule", "--quiet", "foreach", "--recursive"];
        let again: Vec<&str> = foreach.into_iter().chain([RESET]).collect();
        self.git(&again)
    }

    /// Removes from `.git` what differs from one checkout to the next.
    fn tidy(&self) -> Result<(), Error> {
        // Without deltas, without what the server had packed, by one thread: as if loose, in one
        // file. An index that is read from a tree holds neither times nor inodes.
        const TIDY: &str = "git -c pack.threads=1 repack -q -a -d -f -F --window=0 && \
             git read-tree HEAD && rm -rf \"$(git rev-parse --git-dir)/FETCH_HEAD\" \
             \"$(git rev-parse --git-dir)/ORIG_HEAD\" \"$(git rev-parse --git-dir)/logs\"";
        let alias = format!("alias.tidy=!{TIDY}");
        self.git(&["-c", &alias, "tidy"])?;
        if self.tree.join(".gitmodules").exists() {
            self.git(&["submodule", "--quiet", "foreach", "--recursive", TIDY])?;
        }
        Ok(())
    }
}

/// Finds the branch or tag that a commit was found by.
fn name_of(
    git: &Git<'_>,
    reference: Option<&str>,
    commit: &str,
) -> Result<Option<NamedObject>, Error> {
    let Some(reference) = reference else {
        return Ok(None);
    };
    Ok(match git.find(Some(reference))? {
        // A branch may have moved since the commit was found.
        Some(FoundCommit {
            commit: found,
            name,
        }) if found == commit => name,
        _ => None,
    })
}

/// Finds a directory in a tree. Links lead nowhere but to other places of the tree.
fn subdirectory_of(tree: &Path, subdirectory: &str) -> Result<PathBuf, Error> {
    let open = |path: &str| -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = rustix::fs::open(tree, flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(open_scoped(root, path, flags, Links::FromRoot)?)
    };
    let absent = || Error::NoSubdirectory(subdirectory.to_owned());
    let found = open(subdirectory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => absent(),
        io::ErrorKind::NotADirectory => Error::NoDirectory(subdirectory.to_owned()),
        _ => Error::Subdirectory(error),
    })?;
    let path = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
        .map_err(Error::Subdirectory)?;
    // git's own directory is no part of a commit.
    let inside = path.strip_prefix(tree).map_err(|_| absent())?;
    if inside.components().any(|name| name.as_os_str() == ".git") {
        Err(absent())
    } else {
        Ok(path)
    }
}
