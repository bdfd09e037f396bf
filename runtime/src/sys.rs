//! The only unsafe code of this crate: raw system calls, and the code a new process runs before
//! `execve`.
//!
//! [`spawn()`] clones a process without sharing memory. kiln has threads, so the copy may hold
//! locks of threads that do not exist in it: between `clone3` and `execve` the child makes system
//! calls on data prepared before and does nothing else. It never allocates, never locks, never
//! unwinds.

mod bpf; // programs about devices
mod calls; // system calls of a sandbox that kiln answers
mod child; // what the new process does
mod children; // how children of this process end
mod closed; // standard streams that were closed from the start
mod descriptors; // closing them
mod exec; // programs and their arguments as the kernel takes them
mod fork; // making a process
mod heap; // where memory comes from
mod helper; // small processes that assist in making a user namespace
mod keeper; // the process that all sandboxes end with
mod launcher; // the program that executes the program
mod probe; // what the kernel refuses
mod program; // everything a new process has to know
mod raw; // system calls that rustix lacks
mod report; // how a new process says what went wrong
mod spawn; // making the process of a sandbox
mod tied; // programs that do not outlive kiln

pub(crate) use bpf::{BpfInstruction, attach_device_program, load_device_program};
pub(crate) use calls::{WaitingCall, WantedSocket, give_socket};
pub use children::{await_children, survive_file_limits};
pub use closed::was_closed;
pub(crate) use exec::{ProgramArguments, Strings};
pub(crate) use fork::{Spawned, WaitStatus, process_id};
pub use heap::share_heap;
pub(crate) use helper::{MapHelper, MapTask};
pub(crate) use keeper::Keeper;
pub(crate) use launcher::launcher;
pub use probe::proc_is_refused;
pub(crate) use program::{Fresh, MountStep, PlaceKind, PlacePath, ProcessIds, ProcessSetup};
pub use raw::{accept_signals, take_signals};
pub(crate) use raw::{mount_setattr, open_terminal_peer, send_signal, unshare};
pub(crate) use report::{HEAD_BYTES, RECORD_BYTES, Record, SetupStage};
pub(crate) use spawn::{Namespaces, spawn};
pub use tied::end_with_parent;
