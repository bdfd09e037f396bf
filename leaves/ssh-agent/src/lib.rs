//! Agents that prove to ssh servers who the user is.
//!
//! An [`Agent`] passes questions on to another one that listens on a socket, or answers them itself
//! with private keys. A program that needs one gets a [`ListeningSocket`] of its own for as long as
//! it runs. Through it an agent can be asked for its keys and for signatures, and for nothing else:
//! such a program adds no keys, removes none and locks nothing.
//!
//! This crate knows nothing of builds. It reads no environment: which socket and which keys is said
//! by its caller, and where the new socket may be.

mod answer; // what an agent says
mod keyring; // private keys
mod protocol; // messages
mod socket; // where it listens

pub use answer::Agent;
pub use keyring::{KeyError, Keyring};
pub use socket::{ListeningSocket, SocketOwner};

#[cfg(test)]
mod tests;
