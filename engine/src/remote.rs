//! Downloads and git repositories.

use std::io;

use kiln_parser::mount::FileOwner;
use kiln_runtime::Cancel;
use kiln_snapshotter::Layer;
use kiln_solver::{AgentSocket, Agents, Fault, Identity, Remote, RemoteError, Remotes, Vertex};

/// Has nothing.
#[derive(Debug)]
pub(crate) struct NoRemotes;

impl Remotes for NoRemotes {
    fn identify(&self, _: &Remote, _: &Vertex<'_>, _: &Cancel) -> Result<Identity, RemoteError> {
        Err(RemoteError {
            message: "remote sources are not supported yet".to_owned(),
            fault: Fault::Input,
        })
    }

    fn fetch(
        &self,
        remote: &Remote,
        _: &Identity,
        vertex: &Vertex<'_>,
        cancel: &Cancel,
    ) -> Result<Layer, RemoteError> {
        Err(self
            .identify(remote, vertex, cancel)
            .expect_err("there is nothing"))
    }
}

/// Has nobody.
#[derive(Debug)]
pub(crate) struct NoAgents;

impl Agents for NoAgents {
    fn open(&self, _: &str, _: FileOwner) -> io::Result<Option<Box<dyn AgentSocket>>> {
        Ok(None)
    }
}
