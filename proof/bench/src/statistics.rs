use std::time::Duration;

use crate::meter::Sample;

/// The figures of several turns of one contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) wall: Figures,
    pub(crate) cpu: Figures,
}

/// The middle and the least of some durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) median: Duration,
    pub(crate) minimum: Duration,
}

/// Sums samples up; there is nothing to say about none.
pub(crate) fn summarize(samples: &[Sample]) -> Option<Summary> {
    Some(Summary {
        wall: figures(samples.iter().map(|sample| sample.wall))?,
        cpu: figures(samples.iter().map(|sample| sample.cpu))?,
    })
}

/// Returns how many times the second duration fits into the first, unless the second is zero.
pub(crate) fn ratio(of: Duration, to: Duration) -> Option<f64> {
    (!to.is_zero()).then(|| of.as_secs_f64() / to.as_secs_f64())
}

fn figures(durations: impl Iterator<Item = Duration>) -> Option<Figures> {
    let mut sorted: Vec<Duration> = durations.collect();
    sorted.sort_unstable();
    let minimum = *sorted.first()?;
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2
    };
    Some(Figures { median, minimum })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn check(durations: &[u64], median: u64, minimum: u64) {
        let found = figures(durations.iter().copied().map(ms)).unwrap();
        assert_eq!(
            (found.median, found.minimum),
            (ms(median), ms(minimum)),
            "{durations:?}"
        );
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        check(&[7], 7, 7);
        check(&[9, 1, 5], 5, 1);
        check(&[3, 900, 2, 4, 5], 4, 2);
    }

    #[test]
    fn between_two_middles_lies_their_mean() {
        check(&[4, 2], 3, 2);
        check(&[10, 1, 4, 2], 3, 1);
    }

    #[test]
    fn wall_and_cpu_time_are_summed_up_apart() {
        let samples = [(10, 1), (20, 9), (30, 2)].map(|(wall, cpu)| Sample {
            wall: ms(wall),
            cpu: ms(cpu),
        });
        let summary = summarize(&samples).unwrap();
        assert_eq!(summary.wall.median, ms(20));
        assert_eq!(summary.cpu.median, ms(2));
        assert_eq!(summary.cpu.minimum, ms(1));
        assert_eq!(summarize(&[]), None);
    }

    #[test]
    fn ratios_need_something_to_compare_with() {
        assert_eq!(ratio(ms(3), ms(12)), Some(0.25));
        assert_eq!(ratio(ms(3), Duration::ZERO), None);
    }
}
