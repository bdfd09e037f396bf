//! `COPY` and `ADD`: which files, to where, with which owner and mode.
//!
//! Three stages, the first two of them pure: [`select`] finds what the source arguments mean,
//! [`place`] decides what the layer will hold, [`write`] moves the bytes. What is selected is what
//! a copy is known by: [`digest`].
//!
//! docs/spec/dockerfile.md 7.

mod archive; // what archives hold
mod argument; // what a source argument says
mod choose; // what is copied of a directory
mod digest; // digests of what is read
mod earlier; // what the same copy made before
mod entries; // what a layer is going to hold
mod place; // from sources to the entries of a layer
mod progress; // how far a long copy has got
mod select; // from source arguments to sources
mod select_error; // why they stand for nothing
mod write; // from entries to a layer

pub use place::PlaceError;
pub use select_error::{CopySelectError, Suggestion};
pub use write::WriteError;

pub(crate) use archive::ArchiveFile;
pub(crate) use argument::Argument;
pub(crate) use choose::{Choice, choose};
pub(crate) use digest::{digest, digest_at};
pub(crate) use earlier::Earlier;
pub(crate) use place::{CopyOwner, Placement};
pub(crate) use select::{SelectedSource, select};
pub(crate) use write::{CopyTarget, Fidelity, WriteRound, write};
