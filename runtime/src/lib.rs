//! Runs a process in a sandbox.
//!
//! [`userns::enter`] makes this program root in a user namespace, unless it is root already; after
//! that, rootful and rootless are one path. [`LocalExecutor`] runs one process in a root file
//! system made of layers, with its own namespaces, mounts, capabilities and system call filter.
//!
//! This crate knows nothing about Dockerfiles, images or registries: it is given layers as
//! directories, numeric user ids and a whole environment.

mod guest_path; // paths of a root as jobs store them
mod stream; // standard streams of a process

mod device; // devices of the host
mod job; // what to run and in which sandbox
mod limits; // of a process and of a job
mod secret; // what must not be shown or stored

pub mod userns; // this program as root, in namespaces

mod capability; // what root in a sandbox may do
mod cgroup; // limits for a process and its children
mod seccomp; // which system calls a sandbox may make

mod outer_filter; // which system calls kiln itself may not make, in a container

mod executor; // runs one job
mod outcome; // how a job ended

pub mod cdi; // devices as their vendors describe them

#[expect(
    unsafe_code,
    reason = "raw system calls, and code between clone and exec"
)]
mod sys; // raw system calls

pub use cgroup::limits_refused;
pub use device::{DeviceKind, DeviceNumber, JobDevice};
pub use executor::{Executor, JobOutput, LocalExecutor, ProcessEnd, Read, Running, WaitingProcess};
pub use job::{
    BUILD_HOSTNAME, DEFAULT_PATH, DEFAULT_SHM_SIZE_BYTES, EtcFile, Job, JobMount, JobNetwork,
    JobRoot, JobSecurity, MountAccess, MountSource, OuterProc, OverlayDirectories, Process,
    ProcessUser, RootChanges, UnknownNetwork, hosts_text,
};
pub use limits::{Resources, Ulimit, UlimitName};
pub use outcome::{End, ExecError, JobOutcome, Observed, Warning};
pub use secret::SecretBytes;
pub use stream::{Stream, Streams, WindowSize};
pub use sys::{
    accept_signals, await_children, end_with_parent, proc_is_refused, share_heap,
    survive_file_limits, take_signals, was_closed,
};
