//! The columns of docker's listings, and each object in them as a row: JSON by names of columns.

mod width; // whether columns are cut

mod build_cache; // buildx du
mod containers; // ps
mod history; // history
mod images; // images

mod cache_filters; // buildx du --filter
mod usage; // system df

pub use build_cache::{
    BUILD_CACHE, BUILD_CACHE_USAGE, CacheRecord, RecordMutability, RecordSharing, RecordUse,
};
pub use cache_filters::CacheFilters;
pub use containers::{CONTAINER_FILTERS, CONTAINERS, ContainerRow, ContainerState};
pub use history::{HISTORY, HistoryRow, Numbers};
pub use images::{
    IMAGE_FILTERS, IMAGES, IMAGES_WITH_DIGESTS, ImageRow, is_named, matches_reference,
};
pub use usage::{CONTAINER_USAGE, ContainerUsage, IMAGE_USAGE, ImageUsage, USAGE, UsageRow};
pub use width::Width;
