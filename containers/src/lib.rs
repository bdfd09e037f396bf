//! Sandboxes with names: containers, their monitors and their logs.
//!
//! There is no daemon. What a container is and what has become of it lies in files (`store`);
//! while it runs, one process stands beside it ([`monitor`]), and other processes talk to that over a
//! socket (`requests`), also a `kiln run` in the foreground (`attach`).
//!
//! This crate knows no images and no registries: it is given directories of layers and a whole
//! description. What a sandbox is made of is the runtime's.

mod error; // why something failed
mod id; // ids and names of containers
mod signal; // signals by name
mod words; // the words of random names

mod job; // the sandbox's job, made of what was asked for
mod legacy; // descriptions that an older kiln wrote
mod spec; // what the user asked for
mod state; // what became of a container, as a value: monitor sets it, held writes it

mod container; // one container: looked at, asked, stopped
mod files; // files that several processes share
mod held; // a container whose lock this process has: it alone runs or removes it
mod index; // containers by what people call them
mod log; // what a container wrote
mod store; // all containers, on disk

mod attach; // a container in the foreground
mod client; // the connection to a monitor
mod frames; // output of two streams on one connection
mod requests; // what can be asked of a monitor
mod standby; // a monitor that waits for its container
mod start; // giving a container to its monitor
mod terminal; // the user's terminal and signals

mod attached; // clients that get its output
mod foreground_stop; // stopping a container whose output cannot be written
mod input; // what the container is given to read
mod listener; // a monitor's connections
pub mod monitor; // the process beside a container
mod watch; // what happens while a container runs

pub use attach::{Attachment, Attended, Departure, Sink};
pub use container::{Container, StopPatience};
pub use error::{ContainerError, ContainerErrorKind};
pub use held::{Force, HeldContainer};
pub use id::{ContainerId, ContainerName, InvalidContainerId, InvalidContainerName};
pub use index::ContainerIndex;
pub use log::{Follow, LogReader, LogRecord, LogStart};
pub use signal::{InvalidSignal, SignalNumber};
pub use spec::{ContainerConfig, HostConfig, OwnFacts, Removal, Spec, UlimitConfig};
pub use standby::Monitor;
pub use state::{ContainerStatus, StoredState};
pub use store::{Containers, Draft};
pub use terminal::{RawTerminal, Signals};
