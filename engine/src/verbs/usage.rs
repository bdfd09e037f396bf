//! What images, containers and the cache take together.

use std::collections::HashMap;

use kiln_cache::{DiskUsage, Object};
use kiln_containers::ContainerStatus;
use kiln_oci::{ImageId, TaggedRef, Timestamp};

use super::images;
use crate::Error;
use crate::containers;
use crate::storage::entry::{CacheEntry, CacheUsage, Usability};
use crate::storage::holdings::{self, Inventory};
use crate::storage::inventory;
use crate::storage::reach::ManifestReach;
use crate::storage::roots::UnnamedImages;
use crate::stores::Stores;

/// What images, containers and the cache take.
#[derive(Clone, Debug)]
pub struct StorageSummary {
    /// The images, the newest first.
    pub images: Vec<ImageDiskUsage>,
    /// Bytes of all images together.
    pub images_bytes: u64,
    /// Bytes that only images have that no container uses.
    pub images_reclaimable_bytes: u64,
    /// The containers, by id.
    pub containers: Vec<ContainerDiskUsage>,
    /// The cache.
    pub cache: CacheUsage,
}

/// What an image takes.
#[derive(Clone, Debug)]
pub struct ImageDiskUsage {
    /// Its id.
    pub id: ImageId,
    /// Its names.
    pub names: Vec<TaggedRef>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Bytes of these that no other image has.
    pub unique_bytes: u64,
    /// How many containers were made of it.
    pub containers: usize,
}

/// What a container takes.
#[derive(Clone, Debug)]
pub struct ContainerDiskUsage {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image, as the user called it.
    pub image: String,
    /// Its command.
    pub command: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it runs.
    pub status: ContainerStatus,
    /// Bytes that it wrote, its log included.
    pub size_bytes: u64,
    image_id: String,
}

/// Says what images, containers and the cache take.
///
/// # Errors
/// When the state directory cannot be read.
pub fn usage(stores: &Stores, unnamed: UnnamedImages) -> Result<StorageSummary, Error> {
    let (inventory, roots) = inventory::inventory(stores, unnamed)?;
    let containers = container_usage(stores)?;
    let mut made_of: HashMap<&str, usize> = HashMap::new();
    for container in &containers {
        *made_of.entry(&container.image_id).or_default() += 1;
    }
    let mut images: Vec<(ImageDiskUsage, Vec<Object>)> = Vec::new();
    let mut places: HashMap<ImageId, usize> = HashMap::new();
    for row in images::list(stores, &roots.known) {
        if let Some(place) = places.get(&row.id) {
            images[*place].0.names.extend(row.name);
            continue;
        }
        places.insert(row.id, images.len());
        let mut reach = ManifestReach::default();
        roots.add_reach(stores, row.manifest, &mut reach);
        let objects = holdings::objects_of(stores, &inventory, &reach);
        let containers = made_of.get(&*row.id.to_string());
        images.push((
            ImageDiskUsage {
                id: row.id,
                names: row.name.into_iter().collect(),
                created: row.created,
                size_bytes: inventory.ref_counts.usage_of(&objects).bytes,
                unique_bytes: 0,
                containers: containers.copied().unwrap_or_default(),
            },
            objects,
        ));
    }
    let mut holders: HashMap<Object, usize> = HashMap::new();
    for object in images.iter().flat_map(|(_, objects)| objects) {
        *holders.entry(*object).or_default() += 1;
    }
    for (image, objects) in &mut images {
        let unique: Vec<Object> = objects
            .iter()
            .filter(|object| holders[object] == 1)
            .copied()
            .collect();
        image.unique_bytes = inventory.ref_counts.usage_of(&unique).bytes;
    }
    let all = |is_wanted: &dyn Fn(&ImageDiskUsage) -> bool| {
        let wanted = images.iter().filter(|(image, _)| is_wanted(image));
        let mut objects: Vec<Object> = wanted.flat_map(|(_, objects)| objects).copied().collect();
        objects.sort_unstable();
        objects.dedup();
        inventory.ref_counts.usage_of(&objects).bytes
    };
    let images_bytes = all(&|_| true);
    let active_bytes = all(&|image| image.containers > 0);
    Ok(StorageSummary {
        images_bytes,
        images_reclaimable_bytes: images_bytes - active_bytes,
        images: images.into_iter().map(|(image, _)| image).collect(),
        containers,
        cache: CacheUsage::of(inventory),
    })
}

fn container_usage(stores: &Stores) -> Result<Vec<ContainerDiskUsage>, Error> {
    let mut usage = Vec::new();
    for container in containers::containers(stores)?
        .list()
        .map_err(Error::from)?
    {
        let look = || -> Result<_, Error> {
            Ok((container.name()?, container.spec()?, container.state()?))
        };
        // Another kiln removed it meanwhile.
        let Ok((name, spec, state)) = look() else {
            continue;
        };
        let size = DiskUsage::of_tree(container.directory())
            .map_err(Error::at("cannot measure", container.directory()))?;
        usage.push(ContainerDiskUsage {
            id: container.id().to_string(),
            name: name.to_string(),
            image: spec.config.image.clone(),
            command: spec.command(),
            created: spec.created,
            status: state.status,
            size_bytes: size.bytes,
            image_id: spec.image_id,
        });
    }
    Ok(usage)
}

impl CacheUsage {
    pub(crate) fn of(inventory: Inventory) -> Self {
        let private_bytes = inventory.ref_counts.cached().bytes;
        let shared_bytes = inventory.ref_counts.shared().bytes;
        let unused_bytes = inventory.ref_counts.free().bytes;
        let mut entries: Vec<CacheEntry> = inventory
            .entries
            .into_iter()
            .map(|held| held.entry)
            .collect();
        entries.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then(a.id.cmp(&b.id)));
        let busy = entries
            .iter()
            .filter(|entry| entry.usability == Usability::InUse);
        let busy: u64 = busy.map(|entry| entry.size_bytes).sum();
        Self {
            entries,
            shared_bytes,
            private_bytes,
            unused_bytes,
            reclaimable_bytes: (private_bytes + unused_bytes).saturating_sub(busy),
        }
    }
}

/// Says what the cache takes.
///
/// # Errors
/// When the state directory cannot be read.
pub fn cache_usage(stores: &Stores, unnamed: UnnamedImages) -> Result<CacheUsage, Error> {
    let (inventory, _) = inventory::inventory(stores, unnamed)?;
    Ok(CacheUsage::of(inventory))
}
