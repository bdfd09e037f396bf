//! The seam through which commands reach ssh agents.

use std::fmt;
use std::io;
use std::path::Path;

use kiln_parser::mount::FileOwner;

/// Knows the ssh agents that a build was given.
pub trait Agents: fmt::Debug + Sync {
    /// Opens a socket to the agent `id`; none if the build was given no such agent.
    ///
    /// # Errors
    /// When no socket can be made.
    fn open(&self, id: &str, owner: FileOwner) -> io::Result<Option<Box<dyn AgentSocket>>>;
}

/// A socket that is removed when this value is dropped.
pub trait AgentSocket: fmt::Debug + Send {
    /// Returns where it is.
    fn path(&self) -> &Path;
}
