//! Whose fault an error is.

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The user's files or arguments.
    Input,
    /// Kernel, disk or network.
    Environment,
}
