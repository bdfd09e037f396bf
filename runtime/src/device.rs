//! Devices of the host that a job is given.

use std::path::PathBuf;

use kiln_files::GuestPath;
use serde::{Deserialize, Serialize};

use crate::guest_path;

/// A device node in the root.
///
/// With a number, a mode or an owner of its own a node is made, which takes real root. Where that
/// is refused, and where nothing of the kind is wished for, the host's node is shown as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDevice {
    /// Where it is seen.
    #[serde(with = "guest_path")]
    pub target: GuestPath,
    /// The host's device node.
    pub host: PathBuf,
    /// Which device it is, if not the one that `host` happens to be.
    pub number: Option<DeviceNumber>,
    /// Mode.
    pub mode: Option<u32>,
    /// Owner as seen inside.
    pub uid: Option<u32>,
    /// Group as seen inside.
    pub gid: Option<u32>,
}

impl JobDevice {
    /// Describes a device of the host as it is.
    #[must_use]
    pub fn new(target: GuestPath, host: PathBuf) -> Self {
        Self {
            target,
            host,
            number: None,
            mode: None,
            uid: None,
            gid: None,
        }
    }
}

/// What the kernel knows a device by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNumber {
    /// Which of the two number spaces.
    pub kind: DeviceKind,
    /// The driver.
    pub major: u32,
    /// The device among the driver's.
    pub minor: u32,
}

/// The two kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// Block devices.
    Block,
    /// Character devices.
    Character,
}
