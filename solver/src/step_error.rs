//! Why a step failed.

use std::io;

use kiln_cache::CacheError;
use kiln_runtime::ExecError;
use kiln_snapshotter::{LayerError, UnpackError};
use kiln_tree::LayerId;

use crate::copy::{CopySelectError, PlaceError, WriteError};
use crate::layers::LayersError;
use crate::remote_sources::RemoteError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A command ended badly.
    #[error("process {command} did not complete successfully: exit code: {code}{}", if *.out_of_memory { " (out of memory)" } else { "" })]
    Process {
        /// Its arguments, joined and quoted.
        command: String,
        /// As a shell would see it.
        code: u8,
        /// Whether the kernel killed something for want of memory.
        out_of_memory: bool,
    },
    /// A source argument stands for nothing.
    #[error(transparent)]
    Select(#[from] CopySelectError),
    /// Files cannot go where they should.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// An archive cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// Files cannot be copied.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The user of the step is not known in its root.
    #[error(transparent)]
    User(#[from] kiln_snapshotter::UserError),
    /// `--link` with the name of a user: there is no root to look it up in.
    #[error("invalid user index: -1")]
    NoRootForNames,
    /// The layers of a base image cannot be fetched or unpacked.
    #[error(transparent)]
    Layers(#[from] LayersError),
    /// A secret that the step must have.
    #[error("secret {0}: not found")]
    Secret(String),
    /// An agent that the step must have.
    #[error("no SSH key {0:?} forwarded from the client")]
    Agent(String),
    /// A device that the user did not allow (`--allow device`).
    #[error("device {0} is requested by the build but not allowed")]
    Device(String),
    /// A device that is not there or cannot be used.
    #[error(transparent)]
    Cdi(#[from] kiln_runtime::cdi::CdiError),
    /// A remote source cannot be found or fetched.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A layer cannot be read or made.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer that an earlier step's record names was deleted while this build ran.
    #[error("layer {0} was deleted from the state directory during the build; build again")]
    Vanished(LayerId),
    /// A layer that an earlier step's record names is only described, and cannot be fetched.
    #[error("layer {0} cannot be fetched any more")]
    Lost(LayerId),
    /// A command could not be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The result could not be recorded.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The state directory cannot be written.
    #[error("cannot write to the state directory")]
    Disk(#[source] io::Error),
    /// Another step failed, or the user asked to stop.
    #[error("cancelled")]
    Cancelled,
}
