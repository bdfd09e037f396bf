//! Git repositories, by the program `git`.
//!
//! For each remote there is one bare repository in the state directory that everything is fetched
//! into, at a depth of one commit. What a branch or tag stands for is asked with `ls-remote`; a
//! commit that is here already is not fetched again. Files are checked out into a directory of
//! their own, with submodules, and brought into one shape: modes 0644 and 0755, root's, one time.
//!
//! git runs with an environment made for it: no configuration of the machine or the user, no hooks,
//! no questions, no programs in the background, no other protocols than those of the network.

mod checkout; // from a commit to a directory
mod files; // one shape for all files
mod found; // what is meant
mod mirror; // what was fetched
mod output; // what git says
mod program; // running git
mod reference; // from names to commits

pub(crate) use checkout::Checkout;

use kiln_oci::Timestamp;
use kiln_parser::Modified;
use kiln_snapshotter::Layer;
use kiln_solver::{Identity, LogStream, RemoteError, Repository, Submodules, Vertex};
use kiln_threads::Stop;

use self::found::{FoundCommit, keeps_git_directory};
use self::mirror::Mirror;
use self::program::Git;
use crate::remote::sources::{RemoteSources, identity_digest, input};
use crate::remote::turn;

impl RemoteSources<'_> {
    pub(super) fn identify_repository(
        &self,
        repository: &Repository,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Identity, RemoteError> {
        let git = Git::new(self, &repository.remote, stop)?;
        let found = self.find_commit(&git, repository, vertex, stop)?;
        let called = found.name.as_ref().map_or("HEAD", |(name, _)| name);
        let line = format!("{}\t{called}\n", found.commit);
        vertex.log(LogStream::Stdout, line.as_bytes());
        let mirror = Mirror::of(self, &repository.remote, &found.commit);
        Ok(Identity {
            digest: identity_digest("git", |encoder| {
                encoder
                    .text(&found.commit)
                    .optional(repository.subdirectory.as_ref())
                    .flag(repository.submodules == Submodules::Recursive)
                    .flag(repository.modified == Modified::Commit);
                if keeps_git_directory(repository) {
                    // What is written into it.
                    encoder
                        .text("git directory")
                        .text(git.remote())
                        .text(called);
                }
            }),
            time: mirror.known_time(&git, &found.commit),
            revision: found.commit,
        })
    }

    pub(super) fn fetch_repository(
        &self,
        repository: &Repository,
        identity: &Identity,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Layer, RemoteError> {
        self.checkout(repository, &identity.revision, vertex, stop)?
            .layer(&self.stores.layers)
    }

    /// Checks a repository out into a directory.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub(crate) fn checkout_context(
        &self,
        repository: &Repository,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Checkout, RemoteError> {
        let identity = self.identify_repository(repository, vertex, stop)?;
        self.checkout(repository, &identity.revision, vertex, stop)
    }

    /// Returns what stands for the present.
    fn present(&self) -> Timestamp {
        self.epoch.unwrap_or_else(Timestamp::now)
    }

    /// Finds the commit that is meant, and checks that it is the one that was promised.
    fn find_commit(
        &self,
        git: &Git<'_>,
        repository: &Repository,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<FoundCommit, RemoteError> {
        let promised = repository.commit.as_deref().map(str::to_lowercase);
        if let Some(promised) = &promised
            && !promised.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(input(format!(
                "invalid checksum {promised} for Git source, expected hex commit hash"
            )));
        }
        let found = match reference::find(git, repository.reference.as_deref())? {
            Some(found) => found,
            None => {
                let beginning = repository.reference.as_deref().unwrap_or_default();
                let _turn = turn::take(&self.stores.store, "git", &repository.remote, stop)?;
                Mirror::of(self, &repository.remote, "")
                    .used(git, vertex, |mirror| {
                        mirror.find_abbreviated(git, beginning)
                    })?
                    .map(|commit| FoundCommit { commit, name: None })
                    .ok_or_else(|| reference::unknown(&repository.remote, beginning))?
            }
        };
        match promised {
            Some(promised) if !found.commit.starts_with(&promised) => Err(input(format!(
                "expected checksum to match {promised}, got {}",
                found.commit
            ))),
            _ => Ok(found),
        }
    }
}
