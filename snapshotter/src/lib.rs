//! Root file systems as stacks of layers.
//!
//! A layer is one object in several forms: described (digests alone, its bytes still in a
//! registry), blob (compressed), unpacked (a directory that overlayfs can stack) and indexed (a
//! [`kiln_tree::Tree`]). The index decides what is in a layer; the other forms are made when
//! they are needed, and remembered. This crate knows nothing about Dockerfiles, processes
//! or registries.

// What a layer is, and the store that keeps layers.
mod checked_index; // a note that a long index is right
mod described; // layers of which only digests are here
mod description; // their descriptions on disk
mod error; // why a layer could not be made or read
mod facts; // diff ids and blobs that are known of a layer
mod layer; // a layer, and the store of all layers
mod layer_files; // the directories that hold a layer's files
mod owners; // ids that files on this disk can belong to
mod place; // paths in the state directory, written and renamed
mod publish; // a finished layer gets its name
mod whole_stacks; // whether all layers of a stack are here

// The tar of a layer, and tars of others.
mod diff_id; // a layer's diff id, read or computed
mod tar; // tar streams, written and read

// Layers made file by file: COPY, ADD, WORKDIR, archives.
mod build_error; // why a file could not be added
mod builder; // a layer that is being put together
mod copy; // contents copied and hashed in one pass
mod hard_link; // names of one file, as the index has them
mod holed; // files written with holes for zeros
mod metadata; // owner, mode, time and attributes of a file

// Layers and archives that others packed.
mod apply; // layer blobs and archives, unpacked
mod decompress; // gzip, zstd, bzip2 and xz, read
mod permits; // a counting semaphore
mod unpack; // members of an archive, put into a layer
mod unpack_limit; // a limit for what a packed stream unpacks to

// Layers made from what a step changed.
mod commit; // an overlay's upper directory, made into a layer
mod cover; // a directory on top of a stack that corrects metadata of directories
mod flatten; // long stacks, of which the lower layers become one
mod scan; // a directory on disk, read into entries
mod snapshot; // the root that a step writes to
mod xattr; // the extended attributes that belong to a layer

// Other forms of a layer, and its end.
mod compare; // files on disk compared with the index
mod discard; // layers listed, and removed from the store
mod give_owners; // files get the owners of the index, where they lack them
mod layer_damage; // what can be wrong with a layer
mod pack; // layers packed for registries
mod plain; // directories that are no layers, packed like layers
mod restore; // layers that lost files or names, and get them back
mod verify; // a layer compared with its index and its digests

// A root as its layers' indexes describe it.
mod recent_views; // views for the next steps
mod users; // users and groups, in its /etc/passwd and /etc/group
mod view; // paths resolved without a mount

// The disk.
mod disk; // how layers look on disk
pub mod overlay; // stacks of directories mounted as one
mod sys; // raw system calls
mod usage; // what layers take of it

pub use apply::{UnpackedArchive, is_archive, unpack_archive};
pub use build_error::BuildError;
pub use builder::files::{Digest, Expectation, LARGE_FILE, NewFile, NewFiles};
pub use builder::state::DeviceNodeKind;
pub use builder::{Added, FileContent, LayerBuilder};
pub use copy::{Hashed, hash};
pub use decompress::ArchiveCompression;
pub use description::Description;
pub use error::LayerError;
pub use facts::{KnownBlob, LayerFacts, TarFacts, TarOrigin};
pub use layer::{Layer, LayerStore};
pub use layer_damage::{LayerDamage, Whiteouts};
pub use layer_files::LayerFiles;
pub use metadata::Metadata;
pub use pack::{Level, Packing};
pub use plain::PlainDirectory;
pub use recent_views::RecentViews;
pub use snapshot::{Overlay, Reflink, Snapshotter, Writable, WritableRoot, lower_directories};
pub use tar::index::{TarMember, TarPlace, index_tar};
pub use tar::read::TarError;
pub use unpack::UnpackError;
pub use unpack_limit::{TooMuch, UnpackLimit};
pub use usage::LayerSummary;
pub use users::{Identity, Owner, UserError, find_home, find_identity, find_owner};
pub use view::walk::ViewWalk;
pub use view::{FollowLast, Located, ParentView, Resolution, ViewError};
