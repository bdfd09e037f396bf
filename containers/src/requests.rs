//! What can be asked of a container's monitor, over a unix socket in its directory.
//!
//! Other processes may be in other user namespaces, from which they cannot signal the container's
//! process, so they ask its monitor. A request is one line of JSON and so is its answer; then the
//! connection stays open until the container has ended and its state is written, which makes its
//! end an event to wait for. The last line is that state: it may have been removed with the
//! container.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use kiln_runtime::WindowSize;
use serde::{Deserialize, Serialize};

use crate::{SignalNumber, StoredState};

/// The socket's name.
pub(crate) const SOCKET_NAME: &str = "control";

/// What a monitor can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MonitorRequest {
    /// Start the container; the answer comes when its process is the program.
    Start,
    /// Give output to the socket that comes along, and take input from it.
    Attach {
        /// Whether what arrives on the socket is the container's input, which ends with it.
        input: bool,
    },
    /// Send a signal to the container's first process.
    Signal(SignalNumber),
    /// Change the size of its terminal.
    Resize(WindowSize),
    /// Nothing: the client waits for the end.
    Wait,
}

/// What a monitor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MonitorAnswer {
    Done,
    Failed(String),
    /// It runs; by now it may have ended, and be gone.
    Started(StoredState),
    /// It could not be started, or its program could not.
    NotStarted(StoredState),
}

/// The last line: what became of a container that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastWords {
    #[serde(flatten)]
    pub(crate) state: StoredState,
    /// Why that could not be written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unwritten: Option<String>,
}

/// Returns a name of the socket that is short enough: `sun_path` has 108 bytes, a directory of
/// containers may be longer.
pub(crate) fn short_name(directory: &File) -> PathBuf {
    PathBuf::from(format!(
        "/proc/self/fd/{}/{SOCKET_NAME}",
        directory.as_raw_fd()
    ))
}

/// Returns a value as a line.
pub(crate) fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Writes a value as a line.
pub(crate) fn write_line(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    stream.write_all(&line(value)?)
}
