//! Downloads and git repositories: what `ADD` and build contexts take from elsewhere.
//!
//! What was fetched stays in the state directory. A download is asked for again in every build, and
//! comes again only if the server says that it changed; of a repository only what is new comes. What
//! names its own content, by a checksum or a whole commit, is asked for once.

mod authorization; // who the user is, from the build's secrets
mod checksum; // what a download must be
mod download; // files behind URLs
mod sources; // what one build needs to fetch
mod turn; // one kiln at a time

mod repository; // git

use kiln_snapshotter::Layer;
use kiln_solver::{Remote, RemoteError, RemoteIdentity, Remotes, Vertex};
use kiln_threads::Stop;

pub(crate) use self::repository::RepositoryFiles;
pub(crate) use self::sources::{RemoteSources, build_error, shown};

impl Remotes for RemoteSources<'_> {
    fn identify(
        &self,
        remote: &Remote,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<RemoteIdentity, RemoteError> {
        match remote {
            Remote::Download(download) => self.identify_download(download, vertex, stop),
            Remote::Repository(repository) => self.identify_repository(repository, vertex, stop),
        }
    }

    fn fetch(
        &self,
        remote: &Remote,
        identity: &RemoteIdentity,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Layer, RemoteError> {
        match remote {
            Remote::Download(download) => self.fetch_download(download, identity, vertex, stop),
            Remote::Repository(repository) => {
                self.fetch_repository(repository, identity, vertex, stop)
            }
        }
    }
}
