//! Devices as their vendors describe them: the Container Device Interface.
//!
//! A vendor's driver leaves a JSON or YAML file in `/etc/cdi` or `/var/run/cdi` that says what a
//! process needs to use each of its devices: device nodes, variables, mounts.
//! [`DeviceRegistry::scan`] reads such directories, [`DeviceRegistry::find`] answers `RUN --device`
//! (docs/spec/dockerfile.md 6).
//!
//! A file that cannot be understood does not get in the way of others; it is mentioned when a
//! device is missing. Hooks, programs that run on the host outside of any sandbox, are refused.

mod edits; // what a device changes about a job
mod name; // vendor.com/class=name
mod registry; // all devices of this machine
mod spec; // the form of a file
mod yaml; // YAML as far as it says what JSON can say

pub use edits::{EditError, EditRefusal, Edits};
pub use name::{DeviceName, NameError};
pub use registry::{CdiError, DeviceRegistry, DeviceRequest, Requirement, SpecProblem};
pub use spec::SpecError;
pub use yaml::YamlError;
