//! Agents that prove to ssh servers who the person is.
//!
//! A build is given agents by `--ssh`: the person's own, or private keys that kiln answers with
//! itself. Whoever needs one gets a socket of its own for as long as it runs. Through it an agent
//! can be asked for its keys and for signatures, and for nothing else: what runs in a build adds no
//! keys, removes none and locks nothing.

mod answer; // what an agent says
mod keyring; // private keys
mod protocol; // messages
mod socket; // where it listens

use std::io;
use std::sync::Arc;

use kiln_cache::Store;
use kiln_parser::mount::FileOwner;
use kiln_solver::{AgentSocket, Agents};

use self::answer::Answerer;
use self::keyring::Keyring;
use self::socket::ListeningSocket;
use crate::Error;
use crate::request::{AgentRequest, AgentSource};

/// The agents of one build.
#[derive(Debug)]
pub(crate) struct BuildAgents {
    store: Store,
    agents: Vec<(String, Arc<Answerer>)>,
}

impl BuildAgents {
    /// Reads the keys. An agent's socket is not touched before somebody needs it.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub(crate) fn new(store: &Store, requests: &[AgentRequest]) -> Result<Self, Error> {
        let agents = requests.iter().map(|request| {
            let answerer = match &request.source {
                AgentSource::Socket(path) => Answerer::Agent(path.clone()),
                AgentSource::Keys(paths) => {
                    let keys = Keyring::read(paths);
                    let failed = |error| {
                        let id = &request.id;
                        Error::input(format!("ssh agent {id}: {error}"))
                    };
                    Answerer::Keys(keys.map_err(failed)?)
                }
            };
            Ok((request.id.clone(), Arc::new(answerer)))
        });
        Ok(Self {
            store: store.clone(),
            agents: agents.collect::<Result<_, Error>>()?,
        })
    }
}

impl Agents for BuildAgents {
    fn open(&self, id: &str, owner: FileOwner) -> io::Result<Option<Box<dyn AgentSocket>>> {
        let Some((_, answerer)) = self.agents.iter().find(|(known, _)| known == id) else {
            return Ok(None);
        };
        let socket = ListeningSocket::open(&self.store, Arc::clone(answerer), owner)?;
        Ok(Some(Box::new(socket)))
    }
}

#[cfg(test)]
mod tests;
