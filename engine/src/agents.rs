//! The ssh agents of a build, as its steps and git open them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::{Store, WorkDir};
use kiln_parser::mount::FileOwner;
use kiln_solver::{AgentSocket, Agents};
use kiln_ssh_agent::{Agent, Keyring, ListeningSocket, SocketOwner};

use crate::Error;
use crate::request::{AgentRequest, AgentSource};

/// The agents of one build.
#[derive(Debug)]
pub(crate) struct BuildAgents {
    store: Store,
    agents: Vec<(String, Arc<Agent>)>,
}

impl BuildAgents {
    /// Reads the keys. An agent's socket is not touched before a step needs it.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub(crate) fn new(store: &Store, requests: &[AgentRequest]) -> Result<Self, Error> {
        let agents = requests.iter().map(|request| {
            let agent = match &request.source {
                AgentSource::Socket(path) => Agent::Socket(path.clone()),
                AgentSource::Keys(paths) => {
                    let keys = Keyring::read(paths);
                    let failed =
                        |error| Error::input_while(format!("ssh agent {}", request.id), error);
                    Agent::Keys(keys.map_err(failed)?)
                }
            };
            Ok((request.id.clone(), Arc::new(agent)))
        });
        Ok(Self {
            store: store.clone(),
            agents: agents.collect::<Result<_, Error>>()?,
        })
    }
}

impl Agents for BuildAgents {
    fn open(&self, id: &str, owner: FileOwner) -> io::Result<Option<Box<dyn AgentSocket>>> {
        let Some((_, agent)) = self.agents.iter().find(|(known, _)| known == id) else {
            return Ok(None);
        };
        let work = self.store.work_dir()?;
        let FileOwner { mode, uid, gid } = owner;
        let owner = SocketOwner { mode, uid, gid };
        Ok(Some(Box::new(OpenSocket {
            socket: ListeningSocket::open(work.path(), Arc::clone(agent), owner)?,
            _work: work,
        })))
    }
}

/// A socket in a directory of its own in the state directory.
#[derive(Debug)]
struct OpenSocket {
    socket: ListeningSocket,
    /// Dropped last, when no thread listens on the socket any more.
    _work: WorkDir,
}

impl AgentSocket for OpenSocket {
    fn path(&self) -> &Path {
        self.socket.path()
    }
}
