//! Git repositories: as steps of a build and as its context.
//!
//! For each remote there is one bare repository in the state directory, which kilns change in turn.

mod layer; // the layer of a checkout

use std::path::{Path, PathBuf};

use kiln_cache::{Leased, WorkDir};
use kiln_git::{
    Authorization, CheckedOut, CheckoutOptions, Events, FoundCommit, Git, GitFiles, GitNeed,
    GitSettings, Mirror, ObjectFormat, Promise,
};
use kiln_oci::Timestamp;
use kiln_parser::mount::FileOwner;
use kiln_parser::{Address, Modified};
use kiln_runtime::Stream;
use kiln_snapshotter::Layer;
use kiln_solver::{
    AgentSocket, Fault, GitDirectory, RemoteError, RemoteIdentity, Repository, Submodules, Vertex,
};
use kiln_threads::Stop;
use kiln_tree::Blake3;
use rustix::fs::Timespec;

use crate::error::chain;
use crate::remote_sources::authorization;
use crate::remote_sources::sources::{RemoteSources, identity_digest, local, shown};
use crate::remote_sources::turn;

/// The files of a commit in a directory of their own, which vanishes with this value.
#[derive(Debug)]
pub(crate) struct RepositoryFiles {
    directory: PathBuf,
    /// When the commit was made.
    pub(crate) time: Timestamp,
    _work: WorkDir,
}

impl RepositoryFiles {
    /// Returns the directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl RemoteSources<'_> {
    pub(super) fn identify_repository(
        &self,
        repository: &Repository,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<RemoteIdentity, RemoteError> {
        let remote = &repository.remote;
        let tools = Tools::new(self, remote)?;
        let git = tools.git(self, remote, stop)?;
        let found = self.find_commit(&git, repository, vertex, stop)?;
        let line = format!("{}\t{}\n", found.commit, found.called());
        vertex.log(Stream::Stdout, line.as_bytes());
        let mirror = self.mirror(remote, &found.commit);
        Ok(RemoteIdentity {
            digest: identity_digest("git", |encoder| {
                encoder
                    .text(&found.commit)
                    .optional(repository.subdirectory.as_ref())
                    .flag(repository.submodules == Submodules::Recursive)
                    .flag(repository.modified == Modified::Commit);
                if git_files(repository) == GitFiles::OfTheRoot {
                    // What is written into it.
                    encoder
                        .text("git directory")
                        .text(git.remote())
                        .text(found.called());
                }
            }),
            time: mirror
                .known_time(&git, &found.commit)
                .map(Timestamp::from_seconds),
            revision: found.commit,
        })
    }

    pub(super) fn fetch_repository(
        &self,
        repository: &Repository,
        identity: &RemoteIdentity,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Layer, RemoteError> {
        let checkout = self.checkout(repository, &identity.revision, vertex, stop)?;
        layer::layer(&checkout.directory, &self.stores.layers)
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
    ) -> Result<RepositoryFiles, RemoteError> {
        let identity = self.identify_repository(repository, vertex, stop)?;
        self.checkout(repository, &identity.revision, vertex, stop)
    }

    /// Finds the commit that is meant, and checks that it is the one that was promised.
    fn find_commit(
        &self,
        git: &Git<'_>,
        repository: &Repository,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<FoundCommit, RemoteError> {
        let promise = Promise::parse(repository.commit.as_deref()).map_err(failed)?;
        let reference = repository.reference.as_deref();
        let found = match git.find(reference).map_err(failed)? {
            Some(found) => found,
            None => {
                let remote = &repository.remote;
                let beginning = reference.unwrap_or_default();
                let _turn = turn::take(&self.stores.store, "git", remote, stop)?;
                self.mirror(remote, "")
                    .find_abbreviated(git, beginning, &Told(vertex))
                    .map_err(failed)?
                    .map(FoundCommit::unnamed)
                    .ok_or_else(|| failed(git.unknown(beginning)))?
            }
        };
        promise.keep(found).map_err(failed)
    }

    /// Checks a commit out.
    fn checkout(
        &self,
        repository: &Repository,
        commit: &str,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<RepositoryFiles, RemoteError> {
        let remote = &repository.remote;
        let tools = Tools::new(self, remote)?;
        let git = tools.git(self, remote, stop)?;
        let options = CheckoutOptions {
            reference: repository.reference.as_deref(),
            subdirectory: repository.subdirectory.as_deref(),
            with_submodules: repository.submodules == Submodules::Recursive,
            git_files: git_files(repository),
            time: match repository.modified {
                Modified::Checkout => Some(timespec(self.epoch.unwrap_or_else(Timestamp::now))),
                Modified::Commit => None,
            },
        };
        let checkout = kiln_git::Checkout::new(&git, commit, options).map_err(failed)?;
        {
            let _turn = turn::take(&self.stores.store, "git", remote, stop)?;
            let mirror = self.mirror(remote, commit);
            checkout.take_from(&mirror, &Told(vertex)).map_err(failed)?;
        }
        let CheckedOut { directory, seconds } = checkout.finish(&Told(vertex)).map_err(failed)?;
        Ok(RepositoryFiles {
            directory,
            time: Timestamp::from_seconds(seconds),
            _work: tools.work,
        })
    }

    /// Returns the shared repository of a remote, for commits like this one.
    fn mirror(&self, remote: &str, commit: &str) -> Mirror {
        let format = ObjectFormat::of(commit);
        let hash = Blake3::of(format!("{} {remote}", format.name()).as_bytes()).hex();
        let name = format!("git/{hash}");
        self.stores.store.hold(Leased::Tree(name.clone()));
        Mirror::new(self.stores.store.path(name), format)
    }
}

/// What git uses for one remote, for as long as it is used.
struct Tools {
    work: WorkDir,
    agent: Option<Box<dyn AgentSocket>>,
    known_hosts: Vec<PathBuf>,
}

impl Tools {
    fn new(sources: &RemoteSources<'_>, remote: &str) -> Result<Self, RemoteError> {
        let store = &sources.stores.store;
        let own_hosts = store.path("git/known_hosts");
        let mut agent = None;
        if Address::of(remote).is_ssh() {
            let owner = FileOwner {
                mode: 0o600,
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
            };
            agent = sources
                .agents
                .open("default", owner)
                .map_err(local("cannot reach the ssh agent"))?;
            std::fs::create_dir_all(store.path("git")).map_err(local(WRITING))?;
        }
        let known_hosts = sources.outside.programs.known_hosts.iter().cloned();
        Ok(Self {
            work: store.work_dir().map_err(local(WRITING))?,
            agent,
            known_hosts: [own_hosts].into_iter().chain(known_hosts).collect(),
        })
    }

    fn git<'a>(
        &'a self,
        sources: &RemoteSources<'a>,
        remote: &str,
        stop: &'a Stop,
    ) -> Result<Git<'a>, RemoteError> {
        let authorization = authorization::for_repository(remote, sources.secrets)?;
        let settings = GitSettings {
            remote: Address::of(remote).without_password(),
            shown: shown(remote),
            environment: &sources.outside.programs.environment,
            ceiling: sources.stores.root(),
            work: self.work.path(),
            authorization: authorization.map(|(scope, secret)| Authorization {
                scope,
                value: secret.expose().to_owned(),
            }),
            known_hosts: self.known_hosts.clone(),
            agent: self.agent.as_ref().map(|agent| agent.path()),
            prepare: kiln_runtime::end_with_parent,
            stop,
        };
        Git::new(settings).map_err(failed)
    }
}

const WRITING: &str = "cannot write to the state directory";

/// Returns which of git's own files come along: they do only with a whole tree.
fn git_files(repository: &Repository) -> GitFiles {
    if repository.git_directory == GitDirectory::Keep && repository.subdirectory.is_none() {
        GitFiles::OfTheRoot
    } else {
        GitFiles::None
    }
}

fn timespec(time: Timestamp) -> Timespec {
    Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    }
}

/// A line of progress that is told what git does.
struct Told<'a>(&'a Vertex<'a>);

impl Events for Told<'_> {
    fn log(&self, line: &str) {
        self.0.log(Stream::Stdout, line.as_bytes());
    }

    fn warn(&self, message: String) {
        self.0.warn(message);
    }
}

/// Says in words of a build why there is no repository.
fn failed(error: kiln_git::Error) -> RemoteError {
    if let kiln_git::Error::Write(error) = error {
        return local(WRITING)(error);
    }
    let advice = error.need().map(|need| match need {
        GitNeed::Token => "give a token with --secret id=GIT_AUTH_TOKEN",
        GitNeed::AnotherToken => "give another token with --secret id=GIT_AUTH_TOKEN",
        GitNeed::Key => "give a key that may read it with --ssh default",
        GitNeed::HostKey => {
            "if the host's key was really changed, remove the old one from known_hosts"
        }
    });
    let advice = advice.map_or(String::new(), |advice| format!("; {advice}"));
    RemoteError {
        message: format!("{}{advice}", chain(&error)),
        fault: if error.is_of_environment() {
            Fault::Environment
        } else {
            Fault::Input
        },
    }
}
