//! Which entries and roots hold which bytes.
//!
//! Objects of the store (layers, blobs, directories) are held by entries of the cache and by roots:
//! images and containers. An object without a holder can be deleted. A file with several names
//! counts once, however many layers it is in, and its bytes come back with the last of them.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use walkdir::WalkDir;

/// The space that a tree of files takes on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes that belong to it alone.
    pub own_bytes: u64,
    /// Files that have further names, perhaps elsewhere: device, inode, bytes. Each once.
    pub linked: Vec<((u64, u64), u64)>,
}

impl DiskUsage {
    /// Measures a file, or a directory with everything in it. What vanishes meanwhile, or is not
    /// there, takes nothing.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut usage = Self::default();
        let mut linked = HashMap::new();
        for entry in WalkDir::new(path) {
            let metadata = entry.and_then(|entry| entry.metadata());
            let metadata = match metadata.map_err(io::Error::from) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // stat(2): st_blocks counts 512 bytes on every file system.
            let bytes = metadata.blocks() * 512;
            if metadata.is_dir() || metadata.nlink() == 1 {
                usage.own_bytes += bytes;
            } else {
                linked.insert((metadata.dev(), metadata.ino()), bytes);
            }
        }
        usage.linked = linked.into_iter().collect();
        usage.linked.sort_unstable();
        Ok(usage)
    }

    /// Returns everything in it, shared or not.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.own_bytes + self.linked.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}

/// An object in a [`RefCounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object(usize);

/// Bytes that are there or not as a whole.
#[derive(Clone, Copy, Debug, Default)]
struct RefCount {
    bytes: u64,
    /// Entries of the cache that hold it.
    holders: u32,
    /// Whether an image or a container holds it.
    is_rooted: bool,
}

/// The objects of a store, with the entries and roots that hold them.
#[derive(Clone, Debug, Default)]
pub struct RefCounts {
    objects: Vec<(RefCount, Vec<usize>)>,
    files: Vec<RefCount>,
    file_of: HashMap<(u64, u64), usize>,
    /// Bytes that entries hold and roots do not.
    cached_bytes: u64,
}

impl RefCounts {
    /// Adds an object without a holder.
    pub fn add(&mut self, usage: &DiskUsage) -> Object {
        let linked = usage.linked.iter().map(|(inode, bytes)| {
            *self.file_of.entry(*inode).or_insert_with(|| {
                self.files.push(RefCount {
                    bytes: *bytes,
                    ..RefCount::default()
                });
                self.files.len() - 1
            })
        });
        let linked = linked.collect();
        let count = RefCount {
            bytes: usage.own_bytes,
            ..RefCount::default()
        };
        self.objects.push((count, linked));
        Object(self.objects.len() - 1)
    }

    /// Notes that an image or a container holds an object. Roots come before entries.
    pub fn root(&mut self, object: Object) {
        let (count, linked) = &mut self.objects[object.0];
        count.is_rooted = true;
        for file in linked {
            self.files[*file].is_rooted = true;
        }
    }

    /// Notes that an entry holds an object.
    pub fn hold(&mut self, object: Object) {
        let (count, linked) = &mut self.objects[object.0];
        count.holders += 1;
        if count.holders > 1 {
            return;
        }
        if !count.is_rooted {
            self.cached_bytes += count.bytes;
        }
        for file in linked {
            let file = &mut self.files[*file];
            file.holders += 1;
            if file.holders == 1 && !file.is_rooted {
                self.cached_bytes += file.bytes;
            }
        }
    }

    /// Notes that an entry that held an object does not any more.
    pub fn release(&mut self, object: Object) {
        let (count, linked) = &mut self.objects[object.0];
        count.holders -= 1;
        if count.holders > 0 {
            return;
        }
        if !count.is_rooted {
            self.cached_bytes -= count.bytes;
        }
        for file in linked {
            let file = &mut self.files[*file];
            file.holders -= 1;
            if file.holders == 0 && !file.is_rooted {
                self.cached_bytes -= file.bytes;
            }
        }
    }

    /// Returns the bytes that entries hold and neither image nor container does.
    #[must_use]
    pub fn cached_bytes(&self) -> u64 {
        self.cached_bytes
    }

    /// Says whether an object has no holder.
    #[must_use]
    pub fn is_free(&self, object: Object) -> bool {
        let (count, _) = &self.objects[object.0];
        count.holders == 0 && !count.is_rooted
    }

    /// Says whether an image or a container holds an object.
    #[must_use]
    pub fn is_rooted(&self, object: Object) -> bool {
        self.objects[object.0].0.is_rooted
    }

    /// Returns the bytes of an object, shared or not.
    #[must_use]
    pub fn bytes(&self, object: Object) -> u64 {
        let (count, linked) = &self.objects[object.0];
        let linked = linked.iter().map(|file| self.files[*file].bytes);
        count.bytes + linked.sum::<u64>()
    }

    /// Returns the bytes of objects together; a file of several of them counts once.
    #[must_use]
    pub fn bytes_of(&self, objects: &[Object]) -> u64 {
        let mut files: Vec<usize> = Vec::new();
        let mut bytes = 0;
        for object in objects {
            let (count, linked) = &self.objects[object.0];
            bytes += count.bytes;
            files.extend(linked);
        }
        files.sort_unstable();
        files.dedup();
        let linked = files.into_iter().map(|file| self.files[file].bytes);
        bytes + linked.sum::<u64>()
    }

    /// Returns a holder's share of an object: its bytes divided among all that hold them, nothing of
    /// what roots hold.
    #[must_use]
    pub fn share(&self, object: Object) -> u64 {
        let share = |count: &RefCount| {
            if count.is_rooted {
                0
            } else {
                count.bytes / u64::from(count.holders.max(1))
            }
        };
        let (count, linked) = &self.objects[object.0];
        let linked = linked.iter().map(|file| share(&self.files[*file]));
        share(count) + linked.sum::<u64>() / u64::from(count.holders.max(1))
    }

    /// Returns the bytes of objects without a holder that no other object shares.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let is_free = |count: &&RefCount| count.holders == 0 && !count.is_rooted;
        let objects = self.objects.iter().map(|(count, _)| count);
        objects
            .chain(&self.files)
            .filter(is_free)
            .map(|count| count.bytes)
            .sum()
    }

    /// Returns the bytes that both entries and images or containers hold.
    #[must_use]
    pub fn shared_bytes(&self) -> u64 {
        let objects = self.objects.iter().map(|(count, _)| count);
        objects
            .chain(&self.files)
            .filter(|count| count.is_rooted && count.holders > 0)
            .map(|count| count.bytes)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn usage(own_bytes: u64, linked: &[(u64, u64)]) -> DiskUsage {
        DiskUsage {
            own_bytes,
            linked: linked
                .iter()
                .map(|(ino, bytes)| ((1, *ino), *bytes))
                .collect(),
        }
    }

    #[test]
    fn a_file_in_two_layers_counts_once_and_goes_with_the_last() {
        let mut ref_counts = RefCounts::default();
        let one = ref_counts.add(&usage(10, &[(7, 100)]));
        let two = ref_counts.add(&usage(20, &[(7, 100), (8, 5)]));
        ref_counts.hold(one);
        ref_counts.hold(two);
        assert_eq!(ref_counts.cached_bytes(), 135);
        assert_eq!((ref_counts.bytes(one), ref_counts.share(one)), (110, 60));
        assert_eq!(ref_counts.bytes_of(&[one, two]), 135);
        ref_counts.release(one);
        assert_eq!(ref_counts.cached_bytes(), 125);
        assert!(ref_counts.is_free(one) && !ref_counts.is_free(two));
        ref_counts.release(two);
        assert_eq!(
            (ref_counts.cached_bytes(), ref_counts.free_bytes()),
            (0, 135)
        );
    }

    #[test]
    fn objects_of_roots_do_not_count_as_cached() {
        let mut ref_counts = RefCounts::default();
        let layer = ref_counts.add(&usage(10, &[(7, 100)]));
        let newer = ref_counts.add(&usage(1, &[(7, 100)]));
        ref_counts.root(layer);
        for object in [layer, layer, newer] {
            ref_counts.hold(object);
        }
        assert_eq!((ref_counts.cached_bytes(), ref_counts.share(newer)), (1, 1));
        for object in [layer, layer, newer] {
            ref_counts.release(object);
        }
        assert!(!ref_counts.is_free(layer) && ref_counts.is_free(newer));
        assert_eq!(ref_counts.free_bytes(), 1);
    }

    #[test]
    fn names_of_one_file_are_measured_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("one"), [1; 10_000]).unwrap();
        fs::hard_link(path.join("one"), path.join("two")).unwrap();
        fs::write(path.join("alone"), [1; 10_000]).unwrap();
        let usage = DiskUsage::of(path).unwrap();
        assert_eq!(usage.linked.len(), 1);
        assert!(usage.total_bytes() >= 20_000 && usage.total_bytes() < 40_000);
        let nothing = DiskUsage::of(&path.join("missing")).unwrap();
        assert_eq!(nothing, DiskUsage::default());
    }
}
