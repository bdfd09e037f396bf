//! Failures of containers as failures of commands.

use kiln_containers::ContainerError;

use crate::failure::Failure;

/// Turns a failure into words, causes included.
pub(crate) fn failure(error: ContainerError) -> Failure {
    let mut message = error.to_string();
    if let Some(cause) = std::error::Error::source(&error) {
        message.push_str(&format!(": {cause}"));
    }
    Failure::new(message)
}
