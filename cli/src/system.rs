//! `kiln system df` and whatever is called `prune`, except for the cache.

mod df; // what everything takes
mod prune; // what nobody needs

pub(crate) use df::{DfArguments, df};
pub(crate) use prune::{
    ContainerPruneArguments, ImagePruneArguments, SystemPruneArguments, prune_containers,
    prune_images, prune_system,
};
