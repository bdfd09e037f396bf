//! What was fetched of a remote: one bare repository each, shared by all builds.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_cache::{Blake3, Timestamp};
use kiln_solver::RemoteError;

use super::program::{Git, GitError, Reach};
use crate::remote::{RemoteSources, local};

/// Files that a killed git leaves, and that stop the next one.
const LOCKS: [&str; 5] = [
    "config.lock",
    "FETCH_HEAD.lock",
    "HEAD.lock",
    "packed-refs.lock",
    "shallow.lock",
];

/// The shared repository of a remote. Whoever changes it has taken the turn for the remote.
#[derive(Debug)]
pub(super) struct Mirror {
    path: PathBuf,
    format: &'static str,
}

impl Mirror {
    /// Returns the repository for commits like this one.
    pub(super) fn of(sources: &RemoteSources<'_>, remote: &str, commit: &str) -> Self {
        let format = match commit.len() {
            64 => "sha256",
            _ => "sha1",
        };
        let hash = Blake3::of(format!("{format} {remote}").as_bytes()).hex();
        Self {
            path: sources.engine.store.path(format!("git/{hash}")),
            format,
        }
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how objects are named in it, as `git init` calls it.
    pub(super) fn format(&self) -> &'static str {
        self.format
    }

    /// Makes sure that an object is here.
    pub(super) fn fetch(&self, git: &Git<'_>, object: &str) -> Result<(), RemoteError> {
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
        match git.run(Some(&self.path), Reach::Network, shallow) {
            Ok(_) => return Ok(()),
            Err(GitError::Other(error)) => return Err(error),
            // Some servers give only what has a name, and plain files behind HTTP nothing by halves.
            Err(GitError::Refused { .. }) => self.fetch_everything(git)?,
        }
        let (kind, object) = ("-e", format!("{object}^{{object}}"));
        git.run(
            Some(&self.path),
            Reach::Network,
            ["cat-file", kind, &object],
        )?;
        Ok(())
    }

    /// Finds a commit by the beginning of its name; none if no branch or tag leads to one.
    pub(super) fn find_abbreviated(
        &self,
        git: &Git<'_>,
        beginning: &str,
    ) -> Result<Option<String>, RemoteError> {
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
        match git.run(Some(&self.path), Reach::Network, arguments) {
            Ok(commit) => Ok(Some(String::from_utf8_lossy(&commit).trim().to_owned())),
            Err(GitError::Other(error)) => Err(error),
            Err(error) if error.mentions("ambiguous") => Err(error.into()),
            Err(GitError::Refused { .. }) => Ok(None),
        }
    }

    /// Returns when a commit was made, if it is here.
    pub(super) fn known_time(&self, git: &Git<'_>, commit: &str) -> Option<Timestamp> {
        let is_here = self.path.join("HEAD").exists();
        is_here.then(|| self.time_of(git, commit).ok()).flatten()
    }

    /// Returns when a commit that is here was made.
    pub(super) fn time_of(&self, git: &Git<'_>, commit: &str) -> Result<Timestamp, RemoteError> {
        let arguments = ["show", "--no-patch", "--format=%ct", commit, "--"];
        let seconds = git.run(Some(&self.path), Reach::Network, arguments)?;
        let seconds = String::from_utf8_lossy(&seconds).trim().parse();
        seconds
            .map(Timestamp::from_seconds)
            .map_err(local("cannot read a commit's time"))
    }

    fn has(&self, git: &Git<'_>, object: &str) -> bool {
        self.path.join("HEAD").exists() && {
            let arguments = ["cat-file", "-e", object];
            git.run(Some(&self.path), Reach::Network, arguments).is_ok()
        }
    }

    /// Makes the repository if there is none, or repairs what a killed git left of it.
    fn prepare(&self, git: &Git<'_>) -> Result<(), RemoteError> {
        for lock in LOCKS {
            let _ = fs::remove_file(self.path.join(lock));
        }
        if self.path.join("HEAD").exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.path).map_err(local("cannot write to the state directory"))?;
        let format = format!("--object-format={}", self.format);
        let arguments = ["init", "--quiet", "--bare", "--template=", &format, "."];
        git.run(Some(&self.path), Reach::Network, arguments)?;
        Ok(())
    }

    fn fetch_everything(&self, git: &Git<'_>) -> Result<(), RemoteError> {
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
        git.run(Some(&self.path), Reach::Network, arguments)?;
        Ok(())
    }
}
