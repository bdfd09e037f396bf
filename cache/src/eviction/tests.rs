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
