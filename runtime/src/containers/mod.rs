//! Boxes with names: containers, their monitors and their logs.
//!
//! There is no daemon. What a container is and what has become of it lies in files ([`store`]);
//! while it runs, one process stands beside it ([`monitor`]), and others talk to that over a
//! socket ([`control`]).

mod control; // requests to a running container
mod id; // what containers are called
mod log; // what they wrote
pub mod monitor; // the process beside a container
mod signal; // signals by name
mod state; // what they are, and what became of them
mod store; // containers on disk
mod terminal; // the user's terminal and signals
mod words; // of made-up names

pub use id::{ContainerId, ContainerName, InvalidContainerId, InvalidContainerName};
pub use log::{Follow, LogReader, LogRecord, LogStream};
pub use monitor::Attachment;
pub use signal::{InvalidSignal, SignalNumber};
pub use state::{Removal, Spec, State, Status};
pub use store::{Container, ContainerError, Containers, Draft, Force, Patience};
pub use terminal::{RawTerminal, Signals};
