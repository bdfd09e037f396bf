//! Root file systems as stacks of layers.
//!
//! A layer is one thing in several forms: described (digests alone, its bytes still in a
//! registry), blob (compressed), unpacked (a directory that overlayfs can stack) and indexed (a
//! [`kiln_tree::Tree`]). The index decides what is in a layer; the other forms are made when
//! somebody asks for them, and remembered. This crate knows nothing about Dockerfiles, processes
//! or registries.

mod described; // layers whose bytes are elsewhere
mod error; // why a layer could not be made or read
mod facts; // what is known about a layer besides its index
mod layer_files; // where a layer's files are
mod owners; // which owners the disk can hold
mod place; // places in the state directory, and how files come to them

mod layer; // layers and the store that keeps them
mod publish; // how a finished layer becomes visible

mod diff_id; // the digest of its canonical tar
mod give_owners; // files get the owners of the index
mod tar_contents; // what its files hold, read in order
mod tar_digest; // its digest, computed once
mod tar_write; // the canonical tar

mod build_error; // why a file could not be added
mod builder; // layers made file by file
mod builder_files; // files of a context, digested on their way
mod builder_state; // what a builder knows besides the disk
mod builder_write; // how a builder touches the disk
mod copy; // bytes into the store, hashed on the way
mod hard_link; // which names are one file
mod holed; // holes where zeros would be
mod metadata; // what a file has besides kind and content

mod apply; // layers from elsewhere, unpacked
mod decompress; // reading compressed streams
mod turns; // so many at once and no more

mod tar_extensions; // what extension headers say
mod tar_header; // the fields of tar headers
mod tar_index; // where the members of an archive are
mod tar_member; // members of foreign tar streams
mod tar_read; // reading foreign tar streams
mod tar_sparse; // files with holes in tars
mod unpack; // members of an archive, put into a layer
mod unpack_limit; // how much may come of how little

mod deflate; // streams of which one goes on where the other ends
mod discard; // layers that nobody needs any more
mod gzip; // one member, made by several threads
mod pack; // layers packed for registries
mod plain; // directories that are no layers, packed like them
mod restore; // layers that lost their files or names, and get them again
mod verify; // whether the disk is what the index says

mod commit; // what a step changed, made into a layer
mod cover; // directories that a stack shows otherwise than its layers have them
mod scan; // reading a directory into entries
mod snapshot; // where a step writes
mod xattr; // which attributes belong to a layer

mod users; // names of users and groups in a root
mod view; // a root as its layers' indexes describe it
mod view_walk; // walks over stacked indexes

mod disk; // how layers look on disk
pub mod overlay; // stacks of directories mounted as one
mod sys; // raw system calls

pub use apply::{UnpackedArchive, is_archive, unpack_archive};
pub use build_error::BuildError;
pub use builder::{Added, FileContent, LayerBuilder};
pub use builder_files::{Digest, Expectation, LARGE_FILE, NewFile, NewFiles};
pub use builder_state::DeviceNodeKind;
pub use copy::{Hashed, hash};
pub use decompress::Packed;
pub use described::Description;
pub use error::LayerError;
pub use facts::{Facts, KnownBlob, TarFacts, TarOrigin};
pub use layer::{Layer, LayerStore};
pub use layer_files::LayerFiles;
pub use metadata::Metadata;
pub use pack::{Level, Packing};
pub use plain::PlainDirectory;
pub use snapshot::{Overlay, Reflink, Snapshotter, Writable, WritableRoot, lower_directories};
pub use tar_index::{TarMember, TarPlace, index_tar};
pub use tar_read::TarError;
pub use tar_write::TimeClamp;
pub use unpack::UnpackError;
pub use unpack_limit::{TooMuch, UnpackLimit};
pub use users::{Identity, Owner, UserError, find_home, find_identity, find_owner};
pub use verify::{LayerDamage, Whiteouts};
pub use view::{FollowLast, Located, ParentView, Resolution, ViewError};
pub use view_walk::ViewWalk;
