//! Images out of archives and layouts that others wrote.
//!
//! Read are OCI layouts, as a directory or tar, and docker archives of both ages: those that are a
//! layout too, and those with a directory per layer and symbolic links between equal ones. Members
//! come in any order, so a tar is read by position; what is compressed or comes from a pipe is put
//! into a file of the store's `work/` first. Nothing is ever unpacked by the name it has in the
//! archive: names are looked up in a table, so no name leads anywhere.
//!
//! Every digest is verified: of blobs, and the diff id of every layer. Manifests of a layout are
//! kept byte for byte; an image of an old docker archive gets a new one.

mod contents; // members by name
mod docker; // manifest.json
mod error; // why images could not be loaded
mod layer; // verified on the way into the store
mod layout; // index.json
mod loaded; // the sources of images, and the result
mod read; // the whole of it
mod sniff; // what archives and layers are packed with

pub use error::LoadError;
pub use loaded::{LayoutEntry, LoadSource, Loaded, LoadedIndex, Platforms};
pub use read::{load, load_from_layout};
