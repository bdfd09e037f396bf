//! Sandboxes with names: containers, their monitors and their logs.
//!
//! There is no daemon. What a container is and what has become of it lies in files (`store`);
//! while it runs, one process stands beside it ([`monitor`]), and others talk to that over a
//! socket (`control`).

mod container; // one of them: looked at, started, stopped, removed
mod control; // requests to a running container
mod error; // why something failed
mod farewell; // when nobody watches any more
mod files; // that several processes share
mod held; // one that nobody else runs or removes
mod id; // what containers are called
mod input; // what comes from the user
mod log; // what they wrote
pub mod monitor; // the process beside a container
mod outlet; // what goes to the user
mod signal; // signals by name
mod state; // what they are, and what became of them
mod store; // all of them, on disk
mod terminal; // the user's terminal and signals
mod watch; // what happens while one runs
mod words; // of made-up names

pub use container::{Container, Force, Patience};
pub use error::ContainerError;
pub use held::Held;
pub use id::{ContainerId, ContainerName, InvalidContainerId, InvalidContainerName};
pub use log::{Follow, LogReader, LogRecord, LogStream};
pub use monitor::{Attachment, Attended, Departure, Sink};
pub use signal::{InvalidSignal, SignalNumber};
pub use state::{Removal, Spec, State, Status};
pub use store::{Containers, Draft};
pub use terminal::{RawTerminal, Signals};
