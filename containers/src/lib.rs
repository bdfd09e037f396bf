//! Sandboxes with names: containers, their monitors and their logs.
//!
//! There is no daemon. What a container is and what has become of it lies in files (`store`);
//! while it runs, one process stands beside it ([`monitor`]), and others talk to that over a
//! socket (`requests`), whoever stays with it in the foreground (`attach`) too.

mod attach; // with one in the foreground
mod audience; // those who get its output
mod client; // asking a monitor
mod container; // one of them: looked at, asked, stopped
mod error; // why something failed
mod farewell; // asking one to end whose output has nowhere to go
mod files; // that several processes share
mod former; // those that an older kiln made
mod frames; // output of two streams on one connection
mod held; // one that nobody else runs or removes
mod id; // what containers are called
mod input; // what the container is given
mod job; // what runs, made of what was asked for
mod listener; // a monitor's connections
mod log; // what they wrote
pub mod monitor; // the process beside a container
mod requests; // what can be asked of a monitor
mod signal; // signals by name
mod spec; // what somebody asked for
mod standby; // a monitor that waits for its container
mod start; // giving one to its monitor
mod state; // what became of them
mod store; // all of them, on disk
mod terminal; // the user's terminal and signals
mod watch; // what happens while one runs
mod words; // of made-up names

pub use attach::{Attachment, Attended, Departure, Sink};
pub use container::{Container, StopPatience};
pub use error::ContainerError;
pub use held::{Force, Held};
pub use id::{ContainerId, ContainerName, InvalidContainerId, InvalidContainerName};
pub use log::{Follow, LogReader, LogRecord};
pub use signal::{InvalidSignal, SignalNumber};
pub use spec::{ContainerConfig, HostConfig, OwnFacts, Removal, Spec, UlimitConfig};
pub use standby::Monitor;
pub use state::{ContainerStatus, StoredState};
pub use store::{Containers, Draft};
pub use terminal::{RawTerminal, Signals};
