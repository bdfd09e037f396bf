//! `kiln system df` and the commands called `prune`, except for the cache's.

mod df; // what everything takes
mod prune; // what is unused

pub(crate) use df::{DfArguments, df};
pub(crate) use prune::{
    ContainerPruneArguments, ImagePruneArguments, SystemPruneArguments, prune_containers,
    prune_images, prune_system,
};
