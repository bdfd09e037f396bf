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

use crate::{DiskMeasure, DiskUsage, EvictionReason, Object, RefCounts};
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

/// Returns so many hundredths of a number.
#[must_use]
pub fn hundredths(of: u64, count: u8) -> u64 {
    let part = u128::from(of) * u128::from(count) / 100;
    u64::try_from(part).unwrap_or(u64::MAX)
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
mod tests {
    use super::*;
    fn beyond(limits: Limits) -> Demand {
        Demand::Beyond {
            limits,
            free: DiskUsage {
                bytes: u64::MAX,
                inodes: u64::MAX,
            },
        }
    }

    const MEGABYTE: u64 = 1_000_000;
    const NOW: i64 = 10_000_000;

    #[derive(Default)]
    struct Bench {
        ref_counts: RefCounts,
        candidates: Vec<Candidate>,
    }

    impl Bench {
        fn object(&mut self, megabytes: u64) -> Object {
            self.ref_counts.add(DiskUsage {
                bytes: megabytes * MEGABYTE,
                inodes: 1,
            })
        }

        /// Adds a step on top of another, of so many megabytes and seconds, used so long ago.
        fn step(&mut self, below: Option<usize>, megabytes: u64, seconds: u64, days: i64) -> usize {
            let own = self.object(megabytes);
            self.step_of(below, own, seconds, days)
        }

        fn step_of(&mut self, below: Option<usize>, own: Object, seconds: u64, days: i64) -> usize {
            let mut objects = below.map_or_else(Vec::new, |i| self.candidates[i].objects.clone());
            objects.push(own);
            for object in &objects {
                self.ref_counts.hold(*object);
            }
            self.candidates.push(Candidate {
                objects,
                added: vec![own],
                cost: Duration::from_secs(seconds),
                last_used: Timestamp::from_seconds(NOW - days * 86_400),
                below,
                eviction: Eviction::Allowed,
            });
            self.candidates.len() - 1
        }

        fn evict(&mut self, demand: &Demand) -> Vec<usize> {
            let now = Timestamp::from_seconds(NOW);
            let gone = evict(&mut self.ref_counts, &self.candidates, demand, now);
            gone.into_iter().map(|(index, _)| index).collect()
        }

        fn evict_down_to(&mut self, megabytes: u64) -> Vec<usize> {
            let limits = Limits {
                max_used_bytes: Some(megabytes * MEGABYTE),
                ..Limits::default()
            };
            self.evict(&beyond(limits))
        }
    }

    #[test]
    fn the_cheap_big_step_goes_before_the_expensive_small_one() {
        let mut bench = Bench::default();
        let expensive = bench.step(None, 10, 100, 1);
        let cheap = bench.step(None, 500, 1, 0);
        let middling = bench.step(None, 10, 1, 0);
        assert!(bench.evict_down_to(600).is_empty());
        assert_eq!(bench.evict_down_to(100), [cheap]);
        assert_eq!(bench.ref_counts.cached().bytes, 20 * MEGABYTE);
        let mut bench = Bench::default();
        for (megabytes, seconds, days) in [(10, 100, 1), (500, 1, 0), (10, 1, 0)] {
            bench.step(None, megabytes, seconds, days);
        }
        assert_eq!(bench.evict_down_to(0), [cheap, middling, expensive]);
    }

    #[test]
    fn of_equals_the_longest_unused_goes_first() {
        let mut bench = Bench::default();
        let recent = bench.step(None, 10, 5, 1);
        let old = bench.step(None, 10, 5, 30);
        assert_eq!(bench.evict_down_to(15), [old]);
        assert_eq!(bench.candidates.len() - 2, recent);
    }

    #[test]
    fn a_step_goes_after_those_made_from_it() {
        let mut bench = Bench::default();
        let base = bench.step(None, 500, 1, 9);
        let above = bench.step(Some(base), 1, 100, 0);
        assert_eq!(bench.evict_down_to(400), [above, base]);
        assert_eq!(bench.ref_counts.cached().bytes, 0);
        let mut bench = Bench::default();
        bench.step(None, 500, 1, 9);
        bench.step(Some(base), 1, 100, 0);
        bench.candidates[above].eviction = Eviction::Refused;
        assert!(bench.evict_down_to(0).is_empty());
    }

    #[test]
    fn a_small_step_does_not_guard_what_is_below_it() {
        let mut bench = Bench::default();
        let big = bench.step(None, 500, 1, 0);
        let guard = bench.step(Some(big), 1, 1, 0);
        bench.step(None, 10, 2, 0);
        assert_eq!(bench.evict_down_to(100), [guard, big]);
    }

    #[test]
    fn an_entry_that_an_image_holds_gives_nothing_back() {
        let mut bench = Bench::default();
        let layer = bench.object(100);
        bench.ref_counts.root(layer);
        let tagged = bench.step_of(None, layer, 1, 50);
        // Worth more, and yet it goes: it is the only one that gives something.
        let other = bench.step(None, 100, 100_000, 0);
        assert_eq!(bench.evict_down_to(10), [other]);
        bench.candidates.truncate(1);
        let everything = Demand::Everything(EvictionReason::Asked("test"));
        assert_eq!(bench.evict(&everything), [tagged]);
    }

    #[test]
    fn two_records_of_one_layer_can_both_go() {
        let mut bench = Bench::default();
        let layer = bench.object(100);
        let one = bench.step_of(None, layer, 1, 1);
        let two = bench.step_of(None, layer, 1, 2);
        assert_eq!(bench.evict_down_to(10), [two, one]);
        assert!(bench.ref_counts.is_free(layer));
    }

    #[test]
    fn an_entry_is_not_made_cheap_by_what_stays_below_it() {
        let mut bench = Bench::default();
        let kept = bench.step(None, 500, 1, 0);
        bench.candidates[kept].eviction = Eviction::Refused;
        bench.step(Some(kept), 1, 1, 0);
        let other = bench.step(None, 10, 2, 0);
        assert_eq!(bench.evict_down_to(505), [other]);
        let mut bench = Bench::default();
        let shared = bench.step(None, 500, 1, 0);
        bench.step(Some(shared), 1, 1, 0);
        bench.step(Some(shared), 1, 1, 0);
        let other = bench.step(None, 10, 2, 0);
        assert_eq!(bench.evict_down_to(505), [other]);
    }

    #[test]
    fn of_entries_that_cost_nothing_the_bigger_goes_first() {
        let mut bench = Bench::default();
        bench.step(None, 10, 0, 0);
        let big = bench.step(None, 100, 0, 0);
        assert_eq!(bench.evict_down_to(50), [big]);
    }

    #[test]
    fn an_entry_past_the_age_limit_is_evicted() {
        let mut bench = Bench::default();
        let base = bench.step(None, 1, 1, 8);
        let above = bench.step(Some(base), 1, 1, 8);
        bench.step(None, 1, 1, 6);
        let limits = Limits {
            max_age: Some(Duration::from_secs(7 * 86_400)),
            ..Limits::default()
        };
        assert_eq!(bench.evict(&beyond(limits)), [above, base]);
        // At the limit is not past it.
        let mut bench = Bench::default();
        bench.step(None, 1, 1, 7);
        assert!(bench.evict(&beyond(limits)).is_empty());
    }

    #[test]
    fn limits_are_buildkits() {
        let limits = Limits {
            reserved_bytes: 10,
            max_used_bytes: Some(100),
            min_free_bytes: Some(50),
            ..Limits::default()
        };
        let size = || EvictionReason::SizeLimit(100);
        let space = || EvictionReason::FreeSpace(50);
        for (used, free, expected) in [
            (100, 50, None),
            (120, 50, Some((100, size()))),
            (90, 20, Some((60, space()))),
            (200, 20, Some((100, size()))),
            (20, 0, Some((10, space()))),
            (10, 0, None),
        ] {
            let [used, free] = [used, free].map(|bytes| DiskUsage { bytes, inodes: 0 });
            let found = limits.allowance(DiskMeasure::Bytes, used, free);
            assert_eq!(found, expected, "{used:?} {free:?}");
        }
        let roomy = Limits {
            max_used_bytes: Some(1000),
            headroom: 10,
            ..Limits::default()
        };
        for (used, expected) in [
            (900, None),
            (901, Some((900, EvictionReason::SizeLimit(1000)))),
        ] {
            let used = DiskUsage {
                bytes: used,
                inodes: 0,
            };
            let allowed = roomy.allowance(DiskMeasure::Bytes, used, DiskUsage::default());
            assert_eq!(allowed, expected);
        }
        let much = DiskUsage {
            bytes: u64::MAX,
            inodes: u64::MAX,
        };
        for measure in [DiskMeasure::Bytes, DiskMeasure::Inodes] {
            let allowed = Limits::default().allowance(measure, much, DiskUsage::default());
            assert_eq!(allowed, None);
        }
    }

    #[test]
    fn too_many_inodes_go_by_their_worth_whatever_is_reserved() {
        let mut bench = Bench::default();
        let files = |bench: &mut Bench, inodes, seconds| {
            let object = bench.ref_counts.add(DiskUsage {
                bytes: MEGABYTE,
                inodes,
            });
            bench.step_of(None, object, seconds, 0)
        };
        let few = files(&mut bench, 10, 1);
        let many = files(&mut bench, 1000, 10);
        let limits = Limits {
            reserved_bytes: u64::MAX,
            max_used_inodes: Some(500),
            ..Limits::default()
        };
        assert_eq!(bench.evict(&beyond(limits)), [many]);
        assert_eq!(bench.ref_counts.cached().inodes, 10);
        let pressed = Limits {
            min_free_inodes: Some(20),
            ..Limits::default()
        };
        bench.candidates.truncate(1);
        let free = |inodes| Demand::Beyond {
            limits: pressed,
            free: DiskUsage { bytes: 0, inodes },
        };
        assert!(bench.evict(&free(20)).is_empty());
        assert_eq!(bench.evict(&free(19)), [few]);
    }

    #[test]
    fn an_entry_that_gave_no_bytes_may_give_inodes() {
        let mut bench = Bench::default();
        let empty = bench.object(0);
        let empty = bench.step_of(None, empty, 1, 0);
        let large = bench.step(None, 100, 1, 0);
        let limits = Limits {
            max_used_bytes: Some(10 * MEGABYTE),
            max_used_inodes: Some(0),
            ..Limits::default()
        };
        assert_eq!(bench.evict(&beyond(limits)), [large, empty]);
    }
}
