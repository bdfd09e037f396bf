//! What was fetched of a remote: one bare repository each, shared by all builds.
//!
//! git does not wait for the disk to have it, and a loss of power may leave any of its files short, empty
//! or not there. So nothing is made of it directly: what a build needs is fetched from it once more,
//! over git's own protocol, into a repository of the build's. There every object is called what its
//! bytes hash to, and git refuses a commit of which one is missing. A repository at which git fails
//! is replaced by one that is fetched anew.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_files::{remove_tree, unless_gone};

use crate::error::Error;
use crate::events::Events;
use crate::program::{Git, GitReach};

/// Files that a killed git leaves, and that stop the next one.
const LOCKS: [&str; 5] = [
    "config.lock",
    "FETCH_HEAD.lock",
    "HEAD.lock",
    "packed-refs.lock",
    "shallow.lock",
];

/// How the objects of a repository are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFormat {
    /// By 40 hexadecimal digits.
    Sha1,
    /// By 64.
    Sha256,
}

impl ObjectFormat {
    /// Returns the format of repositories with commits like this one.
    #[must_use]
    pub fn of(commit: &str) -> Self {
        match commit.len() {
            64 => Self::Sha256,
            _ => Self::Sha1,
        }
    }

    /// Returns what `git init` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

/// The shared repository of a remote. A thread that has it fetch something keeps all others, in any
/// process, from doing the same meanwhile.
#[derive(Debug)]
pub struct Mirror {
    path: PathBuf,
    format: ObjectFormat,
}

impl Mirror {
    /// Returns the repository at `path`, which need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf, format: ObjectFormat) -> Self {
        Self { path, format }
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how objects are named in it.
    pub(crate) fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Has `act` use the repository. If git fails at that, and neither a server nor the network is to
    /// blame, `act` is tried once more with an empty one, which then takes the place of the old.
    pub(crate) fn used<T>(
        &self,
        git: &Git<'_>,
        events: &dyn Events,
        act: impl Fn(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let was_here = self.path.exists();
        let words = match act(self) {
            Err(Error::Refused(refusal)) if was_here && refusal.may_be_ours => refusal.words,
            other => return other,
        };
        events.warn(format!(
            "what was fetched of {} before cannot be used, and is fetched again: {words}",
            git.shown()
        ));
        let anew = Self {
            path: git.work().join("git"),
            format: self.format,
        };
        let old = git.work().join("old");
        let result = act(&anew)?;
        unless_gone(fs::rename(&self.path, &old))
            .and_then(|()| unless_gone(fs::rename(&anew.path, &self.path)))
            .map_err(Error::Write)?;
        // What cannot be removed now goes with the caller's directory.
        let _ = remove_tree(&old);
        Ok(result)
    }

    /// Makes sure that an object is here.
    pub(crate) fn fetch(&self, git: &Git<'_>, object: &str) -> Result<(), Error> {
        if self.has(git, object) {
            return Ok(());
        }
        self.prepare(git)?;
        let shallow = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            git.remote(),
            object,
        ];
        match git.run(Some(&self.path), GitReach::Network, shallow) {
            Ok(_) => return Ok(()),
            // Some servers give only what has a name, and plain files behind HTTP nothing by halves.
            Err(Error::Refused(_)) => self.fetch_everything(git)?,
            Err(error) => return Err(error),
        }
        let (kind, object) = ("-e", format!("{object}^{{object}}"));
        let arguments = ["cat-file", kind, &object];
        match git.run(Some(&self.path), GitReach::Machine, arguments) {
            // The server does not have it; of one that is damaged, git says more.
            Err(error) if error.mentions("valid object name") && !error.mentions("error: ") => {
                Err(error.of_remote())
            }
            other => other.map(drop),
        }
    }

    /// Finds a commit by the beginning of its name; none if no branch or tag leads to one.
    ///
    /// # Errors
    /// When the remote cannot be fetched, or several commits begin like this.
    pub fn find_abbreviated(
        &self,
        git: &Git<'_>,
        beginning: &str,
        events: &dyn Events,
    ) -> Result<Option<String>, Error> {
        self.used(git, events, |mirror| mirror.abbreviated(git, beginning))
    }

    fn abbreviated(&self, git: &Git<'_>, beginning: &str) -> Result<Option<String>, Error> {
        self.prepare(git)?;
        self.fetch_everything(git)?;
        let object = format!("{beginning}^{{commit}}");
        let arguments = [
            "rev-parse",
            "--quiet",
            "--verify",
            "--end-of-options",
            &object,
        ];
        match git.run(Some(&self.path), GitReach::Machine, arguments) {
            Ok(commit) => Ok(Some(String::from_utf8_lossy(&commit).trim().to_owned())),
            Err(error) if error.mentions("ambiguous") => Err(error.of_remote()),
            // With nothing to say but no, it is quiet.
            Err(Error::Refused(refusal)) if !refusal.is_spoken => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns when a commit was made, in seconds since 1970, if it is here.
    #[must_use]
    pub fn known_time(&self, git: &Git<'_>, commit: &str) -> Option<i64> {
        let is_here = self.path.join("HEAD").exists();
        is_here
            .then(|| time_of(git, &self.path, commit).ok())
            .flatten()
    }

    fn has(&self, git: &Git<'_>, object: &str) -> bool {
        self.path.join("HEAD").exists() && {
            let arguments = ["cat-file", "-e", object];
            git.run(Some(&self.path), GitReach::Machine, arguments)
                .is_ok()
        }
    }

    /// Makes the repository if there is none, or repairs what a killed git left of it.
    fn prepare(&self, git: &Git<'_>) -> Result<(), Error> {
        for lock in LOCKS {
            let _ = fs::remove_file(self.path.join(lock));
        }
        if self.path.join("HEAD").exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.path).map_err(Error::Write)?;
        let format = format!("--object-format={}", self.format.name());
        let arguments = ["init", "--quiet", "--bare", "--template=", &format, "."];
        git.run(Some(&self.path), GitReach::Machine, arguments)?;
        Ok(())
    }

    fn fetch_everything(&self, git: &Git<'_>) -> Result<(), Error> {
        let mut arguments = vec![
            "fetch",
            "--quiet",
            "--force",
            git.remote(),
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/tags/*:refs/tags/*",
        ];
        // What came without its past gets it now.
        if self.path.join("shallow").exists() {
            arguments.insert(1, "--unshallow");
        }
        git.run(Some(&self.path), GitReach::Network, arguments)?;
        Ok(())
    }
}

/// Returns when a commit was made that is in a repository.
pub(crate) fn time_of(git: &Git<'_>, repository: &Path, commit: &str) -> Result<i64, Error> {
    let arguments = ["show", "--no-patch", "--format=%ct", commit, "--"];
    let seconds = git.run(Some(repository), GitReach::Machine, arguments)?;
    let seconds = String::from_utf8_lossy(&seconds);
    seconds.trim().parse().map_err(Error::Time)
}
