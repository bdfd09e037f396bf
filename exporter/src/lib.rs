//! Turns the result of a build into images, archives, layouts and directories, and reads those of
//! others.
//!
//! An image of the store names its new layers without having them as blobs; before it is pushed or
//! exported, they are packed once and remembered. What is written is a function of the image and the
//! options: the same image twice gives the same bytes. This crate knows nothing about Dockerfiles,
//! and it takes times and files to write to as arguments.

// Images in the store.
mod assemble; // config and history, as a pure function
mod clamp; // layers without times after SOURCE_DATE_EPOCH
mod local_image; // an image written to the store

// Images for others.
mod exportable; // images of which each blob is known
mod options; // options of an exported image, and their contradictions
mod resolve; // an image of the store, packed and of one media family

// Archives and layouts.
mod archive; // OCI layouts and Docker's archives in a tar
mod layout; // OCI layouts in a directory
mod load; // archives and layouts that others wrote, read
mod members; // the files that archives and layouts consist of

// Registries.
mod push; // an image sent to a registry
mod sources; // registries and layouts known to have a blob

// Shared caches.
mod cache_config; // the config of a shared cache: records and layers
mod cache_image; // a shared cache as layers and a manifest
mod cache_layout; // a shared cache in a directory
mod cache_writer; // records collected for a shared cache

// Files.
mod local_dir; // a root's files in a directory
mod root_tar; // a root's files in a tar
mod roots; // roots of several platforms, side by side or merged

mod error; // why an export failed
mod place; // files that appear whole or not at all

pub use archive::{write_archive, write_docker_archive, write_oci_archive};
pub use assemble::{AssembleError, Assembly, ConfigChange, NewLayer, PlannedEntry, assemble};
pub use cache_config::{
    CACHE_CONFIG, CacheConfigError, FoundCache, LayerPlace, SharedCache, SharedLayer, SharedMount,
    parse_cache_config, read_inline,
};
pub use cache_image::{CacheForm, PackedLayer, cache_image, pack_layers};
pub use cache_layout::{
    ReadLayoutError, StaleBlobs, copy_from_layout, find_in_layout, open_in_layout,
    read_from_layout, write_cache_layout,
};
pub use cache_writer::CacheWriter;
pub use clamp::{clamp_time, clamp_times};
pub use error::ExportError;
pub use exportable::{ExportDocument, ExportLayer, Exportable, LayerSource, NamedImage};
pub use layout::{write_docker_layout, write_layout};
pub use load::{
    LayoutEntry, LoadError, LoadSource, Loaded, LoadedIndex, Platforms, load, load_from_layout,
};
pub use local_dir::{LocalReport, Stale, write_local};
pub use local_image::{StoreImageError, store_image, store_in_family, store_index};
pub use options::{ExistingLayers, ImageOptions, MediaFamily, OptionError};
pub use place::write_file;
pub use push::{FetchAbsent, push_image};
pub use resolve::{
    FetchBlobs, Missing, PackObserver, PackProgress, ResolveError, resolve_for_export,
};
pub use root_tar::write_root_tar;
pub use roots::ExportRoot;
pub use sources::{layout_place, layouts, remember_place, remember_source, sources};
