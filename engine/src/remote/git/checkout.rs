//! From a commit to a directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use kiln_cache::WorkDir;
use kiln_files::{Links, open_scoped, remove_tree};
use kiln_oci::Timestamp;
use kiln_parser::Modified;
use kiln_snapshotter::{Layer, LayerStore};
use kiln_solver::{LogStream, RemoteError, Repository, Submodules, Vertex};
use kiln_threads::Stop;
use rustix::fs::{Mode, OFlags};

use super::found::{FoundCommit, keeps_git_directory};
use super::mirror::{self, Mirror, WRITING};
use super::program::{Git, GitError, GitReach};
use super::{files, reference};
use crate::remote::sources::{RemoteSources, input, local};
use crate::remote::turn;

/// The files of a commit in a directory of their own, which vanishes with this value.
#[derive(Debug)]
pub(crate) struct Checkout {
    directory: PathBuf,
    /// When the commit was made.
    pub(crate) time: Timestamp,
    _work: WorkDir,
}

impl Checkout {
    /// Returns the directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a layer of the files.
    pub(super) fn layer(&self, layers: &LayerStore) -> Result<Layer, RemoteError> {
        files::layer(&self.directory, layers)
    }
}

impl RemoteSources<'_> {
    /// Checks a commit out.
    pub(super) fn checkout(
        &self,
        repository: &Repository,
        commit: &str,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Checkout, RemoteError> {
        let git = Git::new(self, &repository.remote, stop)?;
        let mirror = Mirror::of(self, &repository.remote, commit);
        let keep = keeps_git_directory(repository);
        let named = if keep {
            name_of(&git, repository, commit)?
        } else {
            None
        };
        let work = self.stores.store.work_dir().map_err(local(WRITING))?;
        let tree = work.path().join("tree");
        let plan = Plan {
            git: &git,
            tree: &tree,
            commit,
        };
        {
            let _turn = turn::take(&self.stores.store, "git", &repository.remote, stop)?;
            mirror.used(&git, vertex, |mirror| {
                mirror.fetch(&git, commit)?;
                if let Some((_, object)) = &named {
                    mirror.fetch(&git, object)?;
                }
                plan.init(mirror)?;
                plan.copy_objects(mirror, named.as_ref())
            })?;
        }
        let time = mirror::time_of(&git, &tree, commit)?;
        plan.git(&["remote", "add", "origin", git.remote()])?;
        plan.check_out()?;
        if repository.submodules == Submodules::Recursive && tree.join(".gitmodules").exists() {
            vertex.log(LogStream::Stdout, b"submodules\n");
            plan.submodules()?;
        }
        if keep {
            plan.tidy()?;
        }
        let directory = match &repository.subdirectory {
            Some(subdirectory) => subdirectory_of(&tree, subdirectory)?,
            None => tree,
        };
        files::unify(
            &directory,
            match repository.modified {
                Modified::Checkout => self.present(),
                Modified::Commit => time,
            },
            if keep {
                files::GitFiles::OfTheRoot
            } else {
                files::GitFiles::None
            },
        )?;
        Ok(Checkout {
            directory,
            time,
            _work: work,
        })
    }
}

/// Finds the branch or tag that goes into `.git`: `git describe` wants to know it.
fn name_of(
    git: &Git<'_>,
    repository: &Repository,
    commit: &str,
) -> Result<Option<(String, String)>, RemoteError> {
    let Some(name) = repository.reference.as_deref() else {
        return Ok(None);
    };
    Ok(match reference::find(git, Some(name))? {
        // A branch may have moved since the commit was found.
        Some(FoundCommit {
            commit: found,
            name,
        }) if found == commit => name,
        _ => None,
    })
}

const RESET: &str = "git reset --quiet --hard";

/// A checkout being made.
struct Plan<'a> {
    git: &'a Git<'a>,
    tree: &'a Path,
    commit: &'a str,
}

impl Plan<'_> {
    fn git(&self, arguments: &[&str]) -> Result<(), GitError> {
        self.git
            .run(Some(self.tree), GitReach::Network, arguments)
            .map(drop)
    }

    /// Makes an empty repository, in place of what an attempt before may have left.
    fn init(&self, mirror: &Mirror) -> Result<(), GitError> {
        remove_tree(self.tree)
            .and_then(|()| fs::create_dir(self.tree))
            .map_err(local(WRITING))?;
        let format = format!("--object-format={}", mirror.format());
        self.git(&["init", "--quiet", "--template=", &format, "."])
    }

    /// Copies the commit's objects, and the name it is known by. Each gets the name that its bytes
    /// hash to, and all that belong to the commit must have come.
    fn copy_objects(
        &self,
        mirror: &Mirror,
        named: Option<&(String, String)>,
    ) -> Result<(), GitError> {
        let branch = named.map(|(name, object)| format!("{object}:{name}"));
        let mut from = OsString::from("file://");
        from.push(mirror.path());
        let mut fetch: Vec<&OsStr> = ["fetch", "--quiet", "--no-tags", "--depth=1"]
            .map(OsStr::new)
            .into();
        fetch.extend([OsStr::new("--update-head-ok"), &from]);
        fetch.push(OsStr::new(self.commit));
        fetch.extend(branch.as_deref().map(OsStr::new));
        self.git.run(Some(self.tree), GitReach::Machine, fetch)?;
        Ok(())
    }

    /// Writes the files. `git checkout` takes one that it cannot write for a success (2.47).
    fn check_out(&self) -> Result<(), GitError> {
        self.git(&["update-ref", "--no-deref", "HEAD", self.commit])?;
        self.git(&["reset", "--quiet", "--hard"])
    }

    fn submodules(&self) -> Result<(), GitError> {
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
    fn tidy(&self) -> Result<(), RemoteError> {
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

/// Finds a directory in a tree. Links lead nowhere but to other places of the tree.
fn subdirectory_of(tree: &Path, subdirectory: &str) -> Result<PathBuf, RemoteError> {
    let open = |path: &str| -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = rustix::fs::open(tree, flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(open_scoped(root, path, flags, Links::FromRoot)?)
    };
    let absent = || {
        input(format!(
            "subdirectory {subdirectory:?} is not in the repository"
        ))
    };
    let found = open(subdirectory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => absent(),
        io::ErrorKind::NotADirectory => input(format!(
            "{subdirectory:?} is not a directory of the repository"
        )),
        _ => local("cannot open a subdirectory")(error),
    })?;
    let path = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
        .map_err(local("cannot open a subdirectory"))?;
    // git's own directory is no part of a commit.
    let inside = path.strip_prefix(tree).map_err(|_| absent())?;
    if inside.components().any(|name| name.as_os_str() == ".git") {
        Err(absent())
    } else {
        Ok(path)
    }
}
