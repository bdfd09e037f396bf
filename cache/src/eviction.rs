//! Which entries of the cache are evicted, and in which order.
//!
//! An entry is worth the seconds that making it again costs, for each byte that it takes, the less
//! the longer it was not used. The entry that is worth least goes first, but after those that were
//! made from it: before, it would give no bytes back. So that a small step does not guard a large
//! and cheap one below it, it counts together with the entries below that it alone keeps, if that is
//! worth less.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::{DiskMeasure, DiskUsage, EvictionReason, Object, RefCounts, hundredths};
use kiln_oci::Timestamp;

/// Limits of what the cache may keep. The words for bytes are BuildKit's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that are never taken from it to make room for bytes (`--reserved-space`).
    pub reserved_bytes: u64,
    /// Bytes that it may have at most (`--max-used-space`).
    pub max_used_bytes: Option<u64>,
    /// Bytes of the disk that it leaves free if it can (`--min-free-space`).
    pub min_free_bytes: Option<u64>,
    /// Inodes that it may have at most.
    pub max_used_inodes: Option<u64>,
    /// Inodes of the disk that it leaves free if it can.
    pub min_free_inodes: Option<u64>,
    /// How long an entry stays without being used.
    pub max_age: Option<Duration>,
    /// Hundredths of the most that it may have which are kept free, so that it does not have more
    /// before it is looked at again.
    pub headroom: u8,
}

impl Limits {
    /// Returns how much may stay of `used`, when so much is free on the disk, and which limit says
    /// so; none if all may.
    #[must_use]
    pub fn allowance(
        &self,
        measure: DiskMeasure,
        used: DiskUsage,
        free: DiskUsage,
    ) -> Option<(u64, EvictionReason)> {
        let (used, free) = (used.measured_in(measure), free.measured_in(measure));
        let below = |most: u64| most - hundredths(most, self.headroom.min(100));
        let by_size = match measure {
            DiskMeasure::Bytes => self
                .max_used_bytes
                .map(|most| (below(most), EvictionReason::SizeLimit(most))),
            DiskMeasure::Inodes => self
                .max_used_inodes
                .map(|most| (below(most), EvictionReason::InodeLimit(most))),
        };
        let least = match measure {
            DiskMeasure::Bytes => self
                .min_free_bytes
                .map(|least| (least, EvictionReason::FreeSpace(least))),
            DiskMeasure::Inodes => self
                .min_free_inodes
                .map(|least| (least, EvictionReason::FreeInodes(least))),
        };
        let by_space = least.and_then(|(least, reason)| {
            let lacking = least.checked_sub(free).filter(|lacking| *lacking > 0)?;
            Some((used.saturating_sub(lacking), reason))
        });
        let (allowed, reason) = by_size
            .into_iter()
            .chain(by_space)
            .min_by_key(|(allowed, _)| *allowed)?;
        let allowed = match measure {
            DiskMeasure::Bytes => allowed.max(self.reserved_bytes),
            DiskMeasure::Inodes => allowed,
        };
        (allowed < used).then_some((allowed, reason))
    }
}

/// An entry that may be evicted.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The objects that it holds.
    pub objects: Vec<Object>,
    /// Those of its objects that the entry below does not hold; all where there is none.
    pub added: Vec<Object>,
    /// Seconds that making it again costs.
    pub cost: Duration,
    /// When it was used last.
    pub last_used: Timestamp,
    /// The entry that it was made from, which stays as long as it does.
    pub below: Option<usize>,
    /// Whether it may be evicted at all.
    pub eviction: Eviction,
}

/// Whether an entry may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It may.
    Allowed,
    /// It may not: a build uses it, or the request is not about it.
    Refused,
}

/// The entries to be evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Every entry that may be, for this reason.
    Everything(EvictionReason),
    /// Entries until the limits are kept.
    Beyond {
        /// How much may stay.
        limits: Limits,
        /// What is free on the disk before.
        free: DiskUsage,
    },
}

/// Chooses the entries that are evicted, in their order, and releases the objects that they hold.
pub fn evict(
    ref_counts: &mut RefCounts,
    candidates: &[Candidate],
    demand: &Demand,
    now: Timestamp,
) -> Vec<(usize, EvictionReason)> {
    let mut sweep = Sweep::new(ref_counts, candidates, now);
    match demand {
        Demand::Everything(reason) => sweep.evict_all(reason),
        Demand::Beyond { limits, free } => {
            let before = sweep.ref_counts.cached();
            if let Some(limit) = limits.max_age {
                sweep.evict_unused_for(limit);
            }
            for measure in [DiskMeasure::Bytes, DiskMeasure::Inodes] {
                let used = sweep.ref_counts.cached();
                let free = *free + (before - used);
                if let Some((allowed, reason)) = limits.allowance(measure, used, free) {
                    sweep.measure_by(measure);
                    sweep.evict_down_to(allowed, &reason);
                }
            }
        }
    }
    sweep.evicted
}

/// An eviction in progress.
#[derive(Debug)]
struct Sweep<'a> {
    ref_counts: &'a mut RefCounts,
    candidates: &'a [Candidate],
    now: Timestamp,
    /// What there is too much of.
    measure: DiskMeasure,
    /// How many entries were made from each and are still there.
    above: Vec<usize>,
    /// The entries that can be evicted next.
    queue: BinaryHeap<Leaf>,
    is_gone: Vec<bool>,
    evicted: Vec<(usize, EvictionReason)>,
}

impl<'a> Sweep<'a> {
    fn new(ref_counts: &'a mut RefCounts, candidates: &'a [Candidate], now: Timestamp) -> Self {
        let mut above = vec![0; candidates.len()];
        for below in candidates.iter().filter_map(|candidate| candidate.below) {
            above[below] += 1;
        }
        let mut sweep = Self {
            ref_counts,
            candidates,
            now,
            measure: DiskMeasure::Bytes,
            above,
            queue: BinaryHeap::new(),
            is_gone: vec![false; candidates.len()],
            evicted: Vec::new(),
        };
        for index in 0..candidates.len() {
            sweep.queue_if_leaf(index);
        }
        sweep
    }

    /// Says what there is too much of. What was passed over for giving none of the other may give
    /// some of this.
    fn measure_by(&mut self, measure: DiskMeasure) {
        self.measure = measure;
        self.queue.clear();
        for index in 0..self.candidates.len() {
            if !self.is_gone[index] {
                self.queue_if_leaf(index);
            }
        }
    }

    /// Queues an entry if it may be evicted and nothing that was made from it is there.
    fn queue_if_leaf(&mut self, index: usize) {
        if self.candidates[index].eviction == Eviction::Allowed && self.above[index] == 0 {
            let worth = self.worth(index);
            self.queue.push(Leaf { worth, index });
        }
    }

    fn evict(&mut self, index: usize, reason: EvictionReason) {
        let candidate = &self.candidates[index];
        for object in &candidate.objects {
            self.ref_counts.release(*object);
        }
        self.is_gone[index] = true;
        self.evicted.push((index, reason));
        if let Some(below) = candidate.below {
            self.above[below] -= 1;
            self.queue_if_leaf(below);
        }
    }

    fn evict_all(&mut self, reason: &EvictionReason) {
        while let Some(leaf) = self.queue.pop() {
            self.evict(leaf.index, reason.clone());
        }
    }

    /// Evicts the entries that were not used for longer than `limit`.
    fn evict_unused_for(&mut self, limit: Duration) {
        let mut young = Vec::new();
        while let Some(leaf) = self.queue.pop() {
            if self.now.since(self.candidates[leaf.index].last_used) > limit {
                self.evict(leaf.index, EvictionReason::Age(limit));
            } else {
                young.push(leaf);
            }
        }
        self.queue.extend(young);
    }

    /// Evicts the entries that are worth least until no more than `allowed` is left of what there is
    /// too much of, or no entry gives any back.
    fn evict_down_to(&mut self, allowed: u64, reason: &EvictionReason) {
        while self.ref_counts.cached().measured_in(self.measure) > allowed
            && let Some(leaf) = self.queue.pop()
        {
            // An entry's share of an object grows when others that hold it are evicted.
            let worth = self.worth(leaf.index);
            if worth < leaf.worth {
                self.queue.push(Leaf { worth, ..leaf });
            } else if self.gives_back(leaf.index) {
                self.evict(leaf.index, reason.clone());
            }
        }
    }

    /// Says whether room comes back when an entry is evicted, or one below it that it keeps. An entry
    /// whose bytes images hold too costs nothing to keep.
    fn gives_back(&self, index: usize) -> bool {
        let below = |index: &usize| self.candidates[*index].below;
        let mut objects = std::iter::successors(Some(index), below)
            .flat_map(|index| &self.candidates[index].added);
        objects.any(|object| self.ref_counts.share(*object, self.measure) > 0.0)
    }

    /// Returns the seconds that a byte (or an inode) of an entry saves, divided by one and the days without use:
    /// half of them after a day, a third after two. Counts the entry alone, or together with the
    /// entries below that only it keeps, whichever is less.
    fn worth(&self, index: usize) -> f64 {
        /// Seconds that finding, checking and recording a step cost, however little it does.
        const LEAST_SECONDS: f64 = 0.01;
        // The least that a record takes.
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let least_taken = match self.measure {
            DiskMeasure::Bytes => DiskUsage::BLOCK as f64,
            DiskMeasure::Inodes => 1.0,
        };
        let (mut seconds, mut taken, mut least) = (0.0, 0.0, f64::INFINITY);
        let mut next = Some(index);
        while let Some(current) = next {
            let candidate = &self.candidates[current];
            let goes_with_it = self.above[current] == 1 && candidate.eviction == Eviction::Allowed;
            if current != index && !goes_with_it {
                break;
            }
            seconds += candidate.cost.as_secs_f64() + LEAST_SECONDS;
            let shares = candidate.added.iter();
            taken += shares
                .map(|object| self.ref_counts.share(*object, self.measure))
                .sum::<f64>();
            let saved = seconds / taken.max(least_taken);
            let days = self.now.since(candidate.last_used).as_secs_f64() / 86_400.0;
            least = least.min(saved / (1.0 + days));
            next = candidate.below;
        }
        least
    }
}

/// An entry that nothing else was made from. The one worth least is the greatest.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    worth: f64,
    index: usize,
}

impl Ord for Leaf {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .worth
            .total_cmp(&self.worth)
            .then(other.index.cmp(&self.index))
    }
}

impl PartialOrd for Leaf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Leaf {}

#[cfg(test)]
mod tests;
