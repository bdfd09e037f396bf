//! Turns a solution into bytes somebody else accepts.
//!
//! An image of the store names its new layers without having them as blobs; to carry it elsewhere,
//! they are packed once and remembered. What is written is a function of the image and the
//! options: the same image twice gives the same bytes. This crate knows nothing about Dockerfiles,
//! and it takes times and files to write to as arguments.

mod assemble; // config and history, pure
mod local_image; // the image as the store keeps it

mod exportable; // images with every byte known
mod options; // what may be asked for
mod resolve; // from the store's form to everybody's

mod clamp; // no times after SOURCE_DATE_EPOCH

mod archive; // layouts in a tar, docker's archives
mod layout; // layouts in a directory
mod members; // what both consist of

mod push; // what a registry is sent
mod sources; // who has a blob

mod cache_config; // what a shared cache says
mod cache_image; // a shared cache as layers and a manifest
mod cache_layout; // a shared cache on disk
mod cache_writer; // from records to a shared cache

mod local_dir; // the files themselves
mod root_tar; // the files in one tar
mod roots; // of several platforms, apart or together

mod load; // others' archives and layouts

mod error; // why an image could not be written
mod place; // files that appear whole

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
pub use clamp::clamp_times;
pub use error::ExportError;
pub use exportable::{ExportDocument, ExportLayer, Exportable, LayerSource, NamedImage};
pub use layout::{write_docker_layout, write_layout};
pub use load::{
    LayoutEntry, LoadError, LoadSource, Loaded, LoadedIndex, Platforms, load, load_from_layout,
};
pub use local_dir::{LocalReport, Stale, write_local};
pub use local_image::{StoreImageError, store_image, store_in_family, store_index};
pub use options::{ExistingLayers, Family, ImageOptions, MediaTypes, OptionError};
pub use place::write_file;
pub use push::{FetchAbsent, push_image};
pub use resolve::{
    FetchBlobs, Missing, PackObserver, PackProgress, ResolveError, resolve_for_export,
};
pub use root_tar::write_root_tar;
pub use roots::ExportRoot;
pub use sources::{layout_place, layouts, remember_place, remember_source, sources};
