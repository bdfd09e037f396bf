//! Which entries and roots hold which objects.
//!
//! Objects of the store (layers, blobs, directories) are held by entries of the cache and by roots:
//! images and containers. An object without a holder can be deleted. Two objects have no file in
//! common.

use crate::{DiskMeasure, DiskUsage};

/// An object in a [`RefCounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object(usize);

/// What is there or not as a whole.
#[derive(Clone, Copy, Debug, Default)]
struct RefCount {
    usage: DiskUsage,
    /// Entries of the cache that hold it.
    holders: u32,
    /// Whether an image or a container holds it.
    is_rooted: bool,
}

/// The objects of a store, with the entries and roots that hold them.
#[derive(Clone, Debug, Default)]
pub struct RefCounts {
    objects: Vec<RefCount>,
    /// What entries hold and roots do not.
    cached: DiskUsage,
}

impl RefCounts {
    /// Adds an object without a holder.
    pub fn add(&mut self, usage: DiskUsage) -> Object {
        self.objects.push(RefCount {
            usage,
            ..RefCount::default()
        });
        Object(self.objects.len() - 1)
    }

    /// Notes that an image or a container holds an object. Roots come before entries.
    pub fn root(&mut self, object: Object) {
        self.objects[object.0].is_rooted = true;
    }

    /// Notes that an entry holds an object.
    pub fn hold(&mut self, object: Object) {
        let count = &mut self.objects[object.0];
        count.holders += 1;
        if count.holders == 1 && !count.is_rooted {
            self.cached += count.usage;
        }
    }

    /// Notes that an entry that held an object does not any more.
    pub fn release(&mut self, object: Object) {
        let count = &mut self.objects[object.0];
        count.holders -= 1;
        if count.holders == 0 && !count.is_rooted {
            self.cached -= count.usage;
        }
    }

    /// Returns what entries hold and neither image nor container does.
    #[must_use]
    pub fn cached(&self) -> DiskUsage {
        self.cached
    }

    /// Says whether an object has no holder.
    #[must_use]
    pub fn is_free(&self, object: Object) -> bool {
        let count = &self.objects[object.0];
        count.holders == 0 && !count.is_rooted
    }

    /// Says whether an image or a container holds an object.
    #[must_use]
    pub fn is_rooted(&self, object: Object) -> bool {
        self.objects[object.0].is_rooted
    }

    /// Returns what an object takes.
    #[must_use]
    pub fn usage(&self, object: Object) -> DiskUsage {
        self.objects[object.0].usage
    }

    /// Returns what several objects take.
    #[must_use]
    pub fn usage_of(&self, objects: &[Object]) -> DiskUsage {
        objects.iter().map(|object| self.usage(*object)).sum()
    }

    /// Returns a holder's share of an object: what it takes divided among all that hold it, nothing
    /// of what roots hold.
    #[must_use]
    pub fn share(&self, object: Object, measure: DiskMeasure) -> f64 {
        let count = &self.objects[object.0];
        if count.is_rooted {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a weight, no amount")]
        let amount = count.usage.measured_in(measure) as f64;
        amount / f64::from(count.holders.max(1))
    }

    /// Returns what objects without a holder take.
    #[must_use]
    pub fn free(&self) -> DiskUsage {
        self.sum(|count| count.holders == 0 && !count.is_rooted)
    }

    /// Returns what both entries and images or containers hold.
    #[must_use]
    pub fn shared(&self) -> DiskUsage {
        self.sum(|count| count.is_rooted && count.holders > 0)
    }

    fn sum(&self, counts: impl Fn(&RefCount) -> bool) -> DiskUsage {
        let counted = self.objects.iter().filter(|count| counts(count));
        counted.map(|count| count.usage).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(bytes: u64) -> DiskUsage {
        DiskUsage { bytes, inodes: 2 }
    }

    #[test]
    fn an_object_of_two_entries_counts_once_and_goes_with_the_last() {
        let mut ref_counts = RefCounts::default();
        let [one, both] = [10, 100].map(|bytes| ref_counts.add(usage(bytes)));
        for object in [one, both, both] {
            ref_counts.hold(object);
        }
        assert_eq!(ref_counts.cached(), usage(10) + usage(100));
        for (measure, share) in [(DiskMeasure::Bytes, 50.0), (DiskMeasure::Inodes, 1.0)] {
            assert!((ref_counts.share(both, measure) - share).abs() < 1e-9);
        }
        assert_eq!(ref_counts.usage_of(&[one, both]).bytes, 110);
        ref_counts.release(one);
        ref_counts.release(both);
        assert_eq!(ref_counts.cached(), usage(100));
        assert!(ref_counts.is_free(one) && !ref_counts.is_free(both));
        ref_counts.release(both);
        assert_eq!(ref_counts.cached(), DiskUsage::default());
        assert_eq!(ref_counts.free(), usage(10) + usage(100));
    }

    #[test]
    fn objects_of_roots_do_not_count_as_cached() {
        let mut ref_counts = RefCounts::default();
        let layer = ref_counts.add(usage(10));
        ref_counts.root(layer);
        ref_counts.hold(layer);
        assert_eq!(ref_counts.cached(), DiskUsage::default());
        assert!(ref_counts.share(layer, DiskMeasure::Bytes) < 1e-9);
        assert_eq!(ref_counts.shared(), usage(10));
        ref_counts.release(layer);
        assert!(!ref_counts.is_free(layer) && ref_counts.is_rooted(layer));
        assert_eq!(ref_counts.free(), DiskUsage::default());
    }
}
