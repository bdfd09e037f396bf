//! Sandboxes with names: containers, their monitors and their logs.
//!
//! There is no daemon. What a container is and what has become of it lies in files (`store`);
//! while it runs, one process stands beside it ([`monitor`]), and other processes talk to that over a
//! socket (`requests`), also a `kiln run` in the foreground (`attach`).

mod attach; // a container in the foreground
mod attached; // clients that get its output
mod client; // asking a monitor
mod container; // one container: looked at, asked, stopped
mod error; // why something failed
mod files; // that several processes share
mod foreground_stop; // stopping one whose output cannot be written
mod frames; // output of two streams on one connection
mod held; // one that no other process runs or removes
mod id; // what containers are called
mod input; // what the container is given
mod job; // what runs, made of what was asked for
mod legacy; // containers that an older kiln made
mod listener; // a monitor's connections
mod log; // what a container wrote
pub mod monitor; // the process beside a container
mod requests; // what can be asked of a monitor
mod signal; // signals by name
mod spec; // what the user asked for
mod standby; // a monitor that waits for its container
mod start; // giving a container to its monitor
mod state; // what became of a container
mod store; // all containers, on disk
mod terminal; // the user's terminal and signals
mod watch; // what happens while one runs
mod words; // of made-up names

pub use attach::{Attachment, Attended, Departure, Sink};
pub use container::{Container, StopPatience};
pub use error::{ContainerError, ContainerErrorKind};
pub use held::{Force, HeldContainer};
pub use id::{ContainerId, ContainerName, InvalidContainerId, InvalidContainerName};
pub use log::{Follow, LogReader, LogRecord};
pub use signal::{InvalidSignal, SignalNumber};
pub use spec::{ContainerConfig, HostConfig, OwnFacts, Removal, Spec, UlimitConfig};
pub use standby::Monitor;
pub use state::{ContainerStatus, StoredState};
pub use store::{Containers, Draft};
pub use terminal::{RawTerminal, Signals};
