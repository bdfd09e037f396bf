//! What kiln is to reach, as ratios within one run.

use std::fmt;
use std::time::Duration;

/// The most that kiln may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Target {
    /// Times what the fastest peer takes.
    pub(crate) peer: Option<f64>,
    pub(crate) limit: Option<LimitTarget>,
}

/// The most that kiln may take, seen from below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LimitTarget {
    /// So many times what the limit takes.
    Times(f64),
    /// So much more than the limit takes.
    Above(Duration),
    /// So much, whatever the limit takes.
    Within(Duration),
}

/// Whether a target was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    Yes,
    No,
    /// There are no figures to tell by.
    Unknown,
}

impl Target {
    /// No expectations.
    pub(crate) const NONE: Self = Self {
        peer: None,
        limit: None,
    };

    /// At most so many times the fastest peer, and so many times the limit.
    pub(crate) const fn times(peer: f64, limit: f64) -> Self {
        Self {
            peer: Some(peer),
            limit: Some(LimitTarget::Times(limit)),
        }
    }

    /// Compares kiln with the fastest peer; nothing where nothing is expected.
    pub(crate) fn against_peer(
        &self,
        kiln: Option<Duration>,
        peer: Option<Duration>,
    ) -> Option<Reached> {
        let most = peer.map(|peer| peer.mul_f64(self.peer.unwrap_or_default()));
        self.peer.map(|_| within(kiln, most))
    }

    /// Compares kiln with the limit; nothing where nothing is expected.
    pub(crate) fn against_limit(
        &self,
        kiln: Option<Duration>,
        limit: Option<Duration>,
    ) -> Option<Reached> {
        self.limit.map(|target| {
            let most = match target {
                LimitTarget::Times(times) => limit.map(|limit| limit.mul_f64(times)),
                LimitTarget::Above(more) => limit.map(|limit| limit + more),
                LimitTarget::Within(most) => Some(most),
            };
            within(kiln, most)
        })
    }
}

fn within(kiln: Option<Duration>, most: Option<Duration>) -> Reached {
    match kiln.zip(most) {
        None => Reached::Unknown,
        Some((kiln, most)) if kiln <= most => Reached::Yes,
        Some(_) => Reached::No,
    }
}

impl fmt::Display for LimitTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(formatter, "{}", fraction(*times)),
            Self::Above(more) => write!(formatter, "limit + {} ms", more.as_millis()),
            Self::Within(most) => write!(formatter, "{} ms", most.as_millis()),
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Yes => "yes",
            Self::No => "**no**",
            Self::Unknown => "?",
        })
    }
}

/// Returns a ratio as people say it: `1/15`, `0.8`, `1.2`.
pub(crate) fn fraction(ratio: f64) -> String {
    let inverse = 1.0 / ratio;
    if inverse > 1.5 && (inverse - inverse.round()).abs() < 1e-9 {
        format!("1/{inverse:.0}")
    } else {
        format!("{ratio}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_target_is_reached_at_its_bound_and_missed_above() {
        let target = Target::times(1.0 / 15.0, 3.0);
        let peer = |kiln| target.against_peer(Some(ms(kiln)), Some(ms(150)));
        assert_eq!(peer(10), Some(Reached::Yes));
        assert_eq!(peer(11), Some(Reached::No));
        let limit = |kiln| target.against_limit(Some(ms(kiln)), Some(ms(4)));
        assert_eq!(limit(12), Some(Reached::Yes));
        assert_eq!(limit(13), Some(Reached::No));
    }

    #[test]
    fn limits_can_be_moved_up_or_left_out_of_account() {
        let reached = |limit, kiln| {
            let target = Target {
                peer: None,
                limit: Some(limit),
            };
            assert_eq!(target.against_peer(Some(ms(1)), Some(ms(1))), None);
            target.against_limit(Some(ms(kiln)), Some(ms(5)))
        };
        assert_eq!(reached(LimitTarget::Above(ms(15)), 20), Some(Reached::Yes));
        assert_eq!(reached(LimitTarget::Above(ms(15)), 21), Some(Reached::No));
        assert_eq!(reached(LimitTarget::Within(ms(9)), 9), Some(Reached::Yes));
        assert_eq!(reached(LimitTarget::Within(ms(9)), 10), Some(Reached::No));
    }

    #[test]
    fn nothing_is_known_without_figures() {
        let target = Target::times(1.0, 1.0);
        assert_eq!(
            target.against_peer(Some(ms(1)), None),
            Some(Reached::Unknown)
        );
        assert_eq!(
            target.against_limit(None, Some(ms(1))),
            Some(Reached::Unknown)
        );
        assert_eq!(Target::NONE.against_limit(None, None), None);
    }

    #[test]
    fn targets_read_as_people_write_them() {
        assert_eq!(fraction(1.0 / 15.0), "1/15");
        assert_eq!(fraction(0.5), "1/2");
        assert_eq!(fraction(0.8), "0.8");
        assert_eq!(fraction(1.05), "1.05");
        assert_eq!(LimitTarget::Times(3.0).to_string(), "3");
        assert_eq!(LimitTarget::Above(ms(15)).to_string(), "limit + 15 ms");
        assert_eq!(LimitTarget::Within(ms(1150)).to_string(), "1150 ms");
    }
}
