//! Points in time as images and file systems store them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds since the Unix epoch, before or after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded towards the past.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self::from_seconds(0);

    /// Returns the start of a second.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }

    /// Returns the start of the second that it lies in.
    #[must_use]
    pub const fn whole_seconds(self) -> Self {
        Self::from_seconds(self.seconds)
    }

    /// Reads the clock. The one place that does.
    #[must_use]
    pub fn now() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place the lint points to"
        )]
        Self::from(SystemTime::now())
    }

    /// Reads a date as HTTP servers write it, e.g. `Wed, 21 Oct 2015 07:28:00 GMT` (RFC 9110,
    /// section 5.6.7).
    #[must_use]
    pub fn from_http_date(text: &str) -> Option<Self> {
        let time = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(Self::from_seconds(time.timestamp().as_second()))
    }

    /// Returns how long `self` lies after `earlier`; zero if it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let nanoseconds = self.total_nanoseconds() - earlier.total_nanoseconds();
        u64::try_from(nanoseconds.max(0)).map_or(Duration::MAX, Duration::from_nanos)
    }

    fn total_nanoseconds(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: after.subsec_nanos(),
            },
            Err(before) => {
                let before = before.duration();
                let seconds = -i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Self::from_seconds(seconds),
                    nanoseconds => Self {
                        seconds: seconds - 1,
                        nanoseconds: 1_000_000_000 - nanoseconds,
                    },
                }
            }
        }
    }
}

/// RFC 3339 in UTC, fractional seconds without trailing zeros.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(self.total_nanoseconds()) {
            Ok(time) => fmt::Display::fmt(&time, f),
            // Outside the years -9999 to 9999 there is no RFC 3339 form.
            Err(_) => write!(f, "@{}", self.seconds),
        }
    }
}

/// A text that is not an RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid time {0:?}: expected RFC 3339, e.g. 2026-01-31T12:00:00Z")]
pub struct InvalidTimestamp(String);

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let time: jiff::Timestamp = text
            .parse()
            .map_err(|_| InvalidTimestamp(text.to_owned()))?;
        let nanoseconds = time.as_nanosecond();
        Ok(Self {
            seconds: i64::try_from(nanoseconds.div_euclid(1_000_000_000))
                .expect("jiff's years fit 64 bits of seconds"),
            nanoseconds: u32::try_from(nanoseconds.rem_euclid(1_000_000_000))
                .expect("a remainder below a thousand million"),
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_rfc_3339() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z"),
            (-1, 500_000_000, "1969-12-31T23:59:59.5Z"),
        ] {
            let time = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
    }

    #[test]
    fn dates_of_servers_are_read() {
        let seconds = |text| Timestamp::from_http_date(text).map(|time| time.seconds);
        assert_eq!(
            seconds("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(1_445_412_480)
        );
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn times_before_the_epoch_round_towards_the_past() {
        let time = UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(
            Timestamp::from(time),
            Timestamp {
                seconds: -1,
                nanoseconds: 500_000_000
            }
        );
    }

    #[test]
    fn time_between_is_never_negative() {
        let at = |seconds, nanoseconds| Timestamp {
            seconds,
            nanoseconds,
        };
        assert_eq!(
            at(5, 1).since(at(3, 2)),
            Duration::from_nanos(1_999_999_999)
        );
        assert_eq!(at(-1, 0).since(at(-3, 0)), Duration::from_secs(2));
        assert_eq!(at(3, 2).since(at(5, 1)), Duration::ZERO);
        assert_eq!(at(i64::MAX, 0).since(at(i64::MIN, 0)), Duration::MAX);
    }
}
