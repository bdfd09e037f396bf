//! What was fetched of a remote: one bare repository each, shared by all builds.
//!
//! git does not wait for the disk to have it, and a loss of power may leave any of its files short, empty
//! or not there. So nothing is made of it directly: what a build needs is fetched from it once more,
//! over git's own protocol, into a repository of the build's. There every object is called what its
//! bytes hash to, and git refuses a commit of which one is missing. A repository at which git fails
//! is replaced by one that is fetched anew.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use kiln_cache::Store;
use kiln_oci::Timestamp;
use kiln_solver::{RemoteError, Vertex};
use kiln_tree::Blake3;

use super::program::{Git, GitError, GitReach};
use crate::remote::sources::{RemoteSources, local, shown};

/// Files that a killed git leaves, and that stop the next one.
const LOCKS: [&str; 5] = [
    "config.lock",
    "FETCH_HEAD.lock",
    "HEAD.lock",
    "packed-refs.lock",
    "shallow.lock",
];

/// The shared repository of a remote. A thread that changes it has taken the turn for the remote.
#[derive(Debug)]
pub(super) struct Mirror {
    store: Store,
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
        let store = sources.stores.store.clone();
        Self {
            path: store.path(format!("git/{hash}")),
            store,
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

    /// Has `act` use the repository. If git fails at that, and neither a server nor the network is to
    /// blame, `act` is tried once more with an empty one, which then takes the place of the old.
    pub(super) fn used<T>(
        &self,
        git: &Git<'_>,
        vertex: &Vertex<'_>,
        act: impl Fn(&Self) -> Result<T, GitError>,
    ) -> Result<T, RemoteError> {
        let was_here = self.path.exists();
        let words = match act(self) {
            Err(GitError::Refused(refusal)) if was_here && refusal.may_be_ours() => refusal.words,
            other => return Ok(other?),
        };
        vertex.warn(format!(
            "what was fetched of {} before cannot be used, and is fetched again: {words}",
            shown(git.remote())
        ));
        let work = self.store.work_dir().map_err(local(WRITING))?;
        let anew = Self {
            store: self.store.clone(),
            path: work.path().join("git"),
            format: self.format,
        };
        let result = act(&anew)?;
        // What is taken away goes with the directory.
        absent_or(fs::rename(&self.path, work.path().join("old")))
            .and_then(|()| absent_or(fs::rename(&anew.path, &self.path)))
            .map_err(local(WRITING))?;
        Ok(result)
    }

    /// Makes sure that an object is here.
    pub(super) fn fetch(&self, git: &Git<'_>, object: &str) -> Result<(), GitError> {
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
            Err(GitError::Other(error)) => return Err(error.into()),
            // Some servers give only what has a name, and plain files behind HTTP nothing by halves.
            Err(GitError::Refused(_)) => self.fetch_everything(git)?,
        }
        let (kind, object) = ("-e", format!("{object}^{{object}}"));
        let arguments = ["cat-file", kind, &object];
        match git.run(Some(&self.path), GitReach::Machine, arguments) {
            // The server does not have it; of one that is damaged, git says more.
            Err(error) if error.mentions("valid object name") && !error.mentions("error: ") => {
                Err(RemoteError::from(error).into())
            }
            other => other.map(drop),
        }
    }

    /// Finds a commit by the beginning of its name; none if no branch or tag leads to one.
    pub(super) fn find_abbreviated(
        &self,
        git: &Git<'_>,
        beginning: &str,
    ) -> Result<Option<String>, GitError> {
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
            Err(error) if error.mentions("ambiguous") => Err(RemoteError::from(error).into()),
            // With nothing to say but no, it is quiet.
            Err(GitError::Refused(refusal)) if !refusal.is_spoken => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns when a commit was made, if it is here.
    pub(super) fn known_time(&self, git: &Git<'_>, commit: &str) -> Option<Timestamp> {
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
    fn prepare(&self, git: &Git<'_>) -> Result<(), GitError> {
        for lock in LOCKS {
            let _ = fs::remove_file(self.path.join(lock));
        }
        if self.path.join("HEAD").exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.path).map_err(local(WRITING))?;
        let format = format!("--object-format={}", self.format);
        let arguments = ["init", "--quiet", "--bare", "--template=", &format, "."];
        git.run(Some(&self.path), GitReach::Machine, arguments)?;
        Ok(())
    }

    fn fetch_everything(&self, git: &Git<'_>) -> Result<(), GitError> {
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

pub(super) const WRITING: &str = "cannot write to the state directory";

/// Returns when a commit was made that is in a repository.
pub(super) fn time_of(
    git: &Git<'_>,
    repository: &Path,
    commit: &str,
) -> Result<Timestamp, GitError> {
    let arguments = ["show", "--no-patch", "--format=%ct", commit, "--"];
    let seconds = git.run(Some(repository), GitReach::Machine, arguments)?;
    let seconds = String::from_utf8_lossy(&seconds).trim().parse();
    Ok(seconds
        .map(Timestamp::from_seconds)
        .map_err(local("cannot read a commit's time"))?)
}

/// Takes it for done if there was nothing to do it with.
fn absent_or(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
