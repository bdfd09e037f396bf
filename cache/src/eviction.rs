//! Which entries of the cache go when not all can stay.
//!
//! An entry is worth the seconds that making it again costs, for each byte that it takes, the less
//! the longer nobody used it. What is worth least goes first. An entry goes after those that were
//! made from it: before, it would give no bytes back. So that a small step does not guard a large
//! and cheap one below it, it counts together with what it alone keeps there, if that is worth less.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::{EvictionReason, Object, RefCounts};
use kiln_oci::Timestamp;

/// How much the cache may keep. The words are BuildKit's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that are never taken from it to make room (`--reserved-space`).
    pub reserved_bytes: u64,
    /// Bytes that it may have at most (`--max-used-space`).
    pub max_used_bytes: Option<u64>,
    /// Bytes of the disk that it leaves free if it can (`--min-free-space`).
    pub min_free_bytes: Option<u64>,
    /// How long an entry stays that nobody uses.
    pub max_age: Option<Duration>,
}

impl Limits {
    /// Returns how many bytes may stay of `used`, when so many are free on the disk, and which limit
    /// says so; none if all may.
    #[must_use]
    pub fn allowance(&self, used: u64, free: u64) -> Option<(u64, EvictionReason)> {
        let by_size = self
            .max_used_bytes
            .map(|bytes| (bytes, EvictionReason::SizeLimit(bytes)));
        let by_space = self.min_free_bytes.and_then(|least| {
            let lacking = least.checked_sub(free).filter(|lacking| *lacking > 0)?;
            let allowed = used.saturating_sub(lacking);
            Some((allowed, EvictionReason::FreeSpace(least)))
        });
        let (bytes, reason) = by_size
            .into_iter()
            .chain(by_space)
            .min_by_key(|(bytes, _)| *bytes)?;
        let bytes = bytes.max(self.reserved_bytes);
        (bytes < used).then_some((bytes, reason))
    }
}

/// What is known of an entry that may go.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What it holds.
    pub objects: Vec<Object>,
    /// What of that came into the store with it; the rest others brought.
    pub own: Vec<Object>,
    /// Seconds that making it again costs.
    pub cost: Duration,
    /// When it was used last.
    pub last_used: Timestamp,
    /// The entry that it was made from, which stays as long as it does.
    pub below: Option<usize>,
    /// Whether it may go at all.
    pub leaving: Leaving,
}

/// Whether an entry may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It may.
    May,
    /// It is in use, or was not asked for.
    MayNot,
}

/// What is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// All that may, for this reason.
    Everything(EvictionReason),
    /// What the limits do not allow, on a disk with so many bytes free.
    Beyond(Limits, u64),
}

/// Chooses the entries that go, in their order, and releases what they hold.
pub fn evict(
    ref_counts: &mut RefCounts,
    candidates: &[Candidate],
    demand: &Demand,
    now: Timestamp,
) -> Vec<(usize, EvictionReason)> {
    let mut above = vec![0_usize; candidates.len()];
    for below in candidates.iter().filter_map(|candidate| candidate.below) {
        above[below] += 1;
    }
    let worth = |ref_counts: &RefCounts, index: usize, above: &[usize]| {
        worth(ref_counts, candidates, above, index, now)
    };
    let may_go = |index: usize, above: &[usize]| {
        candidates[index].leaving == Leaving::May && above[index] == 0
    };
    let mut queue: BinaryHeap<Leaf> = (0..candidates.len())
        .filter(|index| may_go(*index, &above))
        .map(|index| Leaf {
            worth: worth(ref_counts, index, &above),
            index,
        })
        .collect();
    let mut gone = Vec::new();
    let mut take = |ref_counts: &mut RefCounts,
                    queue: &mut BinaryHeap<Leaf>,
                    above: &mut [usize],
                    index,
                    reason| {
        let candidate: &Candidate = &candidates[index];
        for object in &candidate.objects {
            ref_counts.release(*object);
        }
        gone.push((index, reason));
        if let Some(below) = candidate.below {
            above[below] -= 1;
            if may_go(below, above) {
                queue.push(Leaf {
                    worth: worth(ref_counts, below, above),
                    index: below,
                });
            }
        }
    };
    match demand {
        Demand::Everything(reason) => {
            while let Some(leaf) = queue.pop() {
                take(
                    ref_counts,
                    &mut queue,
                    &mut above,
                    leaf.index,
                    reason.clone(),
                );
            }
        }
        Demand::Beyond(limits, free_bytes) => {
            let before = ref_counts.cached_bytes();
            let mut young = Vec::new();
            while let Some(leaf) = queue.pop() {
                let age = now.since(candidates[leaf.index].last_used);
                match limits.max_age {
                    Some(limit) if age > limit => {
                        let reason = EvictionReason::Age(limit);
                        take(ref_counts, &mut queue, &mut above, leaf.index, reason);
                    }
                    _ => young.push(leaf),
                }
            }
            queue.extend(young);
            let used = ref_counts.cached_bytes();
            let free_bytes = free_bytes.saturating_add(before - used);
            let Some((allowed, reason)) = limits.allowance(used, free_bytes) else {
                return gone;
            };
            while ref_counts.cached_bytes() > allowed
                && let Some(leaf) = queue.pop()
            {
                // Shares grow when others let go.
                let current = worth(ref_counts, leaf.index, &above);
                if current < leaf.worth {
                    queue.push(Leaf {
                        worth: current,
                        index: leaf.index,
                    });
                    continue;
                }
                if gives_bytes(ref_counts, candidates, leaf.index) {
                    take(
                        ref_counts,
                        &mut queue,
                        &mut above,
                        leaf.index,
                        reason.clone(),
                    );
                }
            }
        }
    }
    gone
}

/// Says whether bytes come back when an entry goes, or one below it that it keeps. What images hold
/// too is a hit that costs nothing to keep.
fn gives_bytes(ref_counts: &RefCounts, candidates: &[Candidate], index: usize) -> bool {
    let chain = std::iter::successors(Some(index), |index| candidates[*index].below);
    let mut objects = chain.flat_map(|index| &candidates[index].own);
    objects.any(|object| ref_counts.share(*object) > 0)
}

/// Returns the seconds that a byte of an entry saves, halved for the first day without use, a third
/// after two, and so on; of it alone, or with what it alone keeps below it.
fn worth(
    ref_counts: &RefCounts,
    candidates: &[Candidate],
    above: &[usize],
    index: usize,
    now: Timestamp,
) -> f64 {
    /// What finding, checking and recording a step costs, however little it does.
    const LEAST_SECONDS: f64 = 0.01;
    /// A block of most file systems: the least that a record takes.
    const LEAST_BYTES: u64 = 4096;
    let (mut seconds, mut bytes, mut least) = (0.0, 0, f64::INFINITY);
    let mut next = Some(index);
    while let Some(current) = next {
        let candidate = &candidates[current];
        let goes_with_it = above[current] == 1 && candidate.leaving == Leaving::May;
        if current != index && !goes_with_it {
            break;
        }
        seconds += candidate.cost.as_secs_f64() + LEAST_SECONDS;
        bytes += candidate
            .own
            .iter()
            .map(|object| ref_counts.share(*object))
            .sum::<u64>();
        #[expect(
            clippy::cast_precision_loss,
            reason = "the order matters, not the digits"
        )]
        let per_byte = seconds / bytes.max(LEAST_BYTES) as f64;
        let days = now.since(candidate.last_used).as_secs_f64() / 86_400.0;
        least = least.min(per_byte / (1.0 + days));
        next = candidate.below;
    }
    least
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
    use crate::DiskUsage;

    const MEGABYTE: u64 = 1_000_000;
    const NOW: i64 = 10_000_000;

    #[derive(Default)]
    struct Bench {
        ref_counts: RefCounts,
        candidates: Vec<Candidate>,
    }

    impl Bench {
        fn object(&mut self, megabytes: u64) -> Object {
            self.ref_counts.add(&DiskUsage {
                own_bytes: megabytes * MEGABYTE,
                linked: Vec::new(),
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
                own: vec![own],
                cost: Duration::from_secs(seconds),
                last_used: Timestamp::from_seconds(NOW - days * 86_400),
                below,
                leaving: Leaving::May,
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
            self.evict(&Demand::Beyond(limits, u64::MAX))
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
        assert_eq!(bench.ref_counts.cached_bytes(), 20 * MEGABYTE);
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
        assert_eq!(bench.ref_counts.cached_bytes(), 0);
        let mut bench = Bench::default();
        bench.step(None, 500, 1, 9);
        bench.step(Some(base), 1, 100, 0);
        bench.candidates[above].leaving = Leaving::MayNot;
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
    fn what_an_image_holds_gives_nothing_back() {
        let mut bench = Bench::default();
        let layer = bench.object(100);
        bench.ref_counts.root(layer);
        let tagged = bench.step_of(None, layer, 1, 50);
        let other = bench.step(None, 100, 100, 0);
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
    fn age_alone_is_a_reason() {
        let mut bench = Bench::default();
        let base = bench.step(None, 1, 1, 8);
        let above = bench.step(Some(base), 1, 1, 8);
        bench.step(None, 1, 1, 6);
        let limits = Limits {
            max_age: Some(Duration::from_secs(7 * 86_400)),
            ..Limits::default()
        };
        assert_eq!(
            bench.evict(&Demand::Beyond(limits, u64::MAX)),
            [above, base]
        );
    }

    #[test]
    fn limits_are_buildkits() {
        let limits = Limits {
            reserved_bytes: 10,
            max_used_bytes: Some(100),
            min_free_bytes: Some(50),
            max_age: None,
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
            assert_eq!(limits.allowance(used, free), expected, "{used} {free}");
        }
        assert_eq!(Limits::default().allowance(u64::MAX, 0), None);
    }
}
