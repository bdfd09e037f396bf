//! Points in time as docker writes and reads them.

use std::time::Duration;

use jiff::tz::TimeZone;
use kiln_oci::Timestamp;

use crate::units;

/// Returns how long ago something was: `2 hours ago`.
#[must_use]
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", units::age(now.since(time)))
}

/// Returns a time as Go prints it, in UTC: `2026-01-31 12:00:00 +0000 UTC`.
#[must_use]
pub fn date(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => time.to_string(),
    }
}

/// Returns a time with all nine digits of its second: RFC 3339 as docker stamps lines of logs.
#[must_use]
pub fn stamp(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.seconds) {
        Ok(second) => {
            let second = second.strftime("%Y-%m-%dT%H:%M:%S");
            format!("{second}.{:09}Z", time.nanoseconds)
        }
        Err(_) => time.to_string(),
    }
}

/// A text that is neither a point in time nor a distance from one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid time: {0}")]
pub struct InvalidTime(String);

/// Parses RFC 3339, seconds since 1970, how long ago, or a time without a zone, which is meant in
/// `zone`.
///
/// # Errors
/// When it is none of them.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, InvalidTime> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = seconds.parse::<i64>()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && fraction.len() <= 9
    {
        let nanoseconds = format!("{fraction:0<9}").parse().unwrap_or_default();
        return Ok(Timestamp {
            seconds,
            nanoseconds,
        });
    }
    if let Ok(local) = text.parse::<jiff::civil::DateTime>()
        && let Ok(time) = local.to_zoned(zone.clone())
    {
        return Ok(Timestamp::from_seconds(time.timestamp().as_second()));
    }
    let ago = text.parse::<jiff::SignedDuration>().ok();
    let ago = ago.and_then(|ago| Duration::try_from(ago).ok());
    let ago = ago.ok_or_else(|| InvalidTime(text.to_owned()))?;
    let seconds = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
    Ok(Timestamp {
        seconds: now.seconds.saturating_sub(seconds),
        ..now
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_distances() {
        let now = Timestamp::from_seconds(10_000);
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (text, seconds, nanoseconds) in [
            ("1970-01-01T00:01:00Z", 60, 0),
            ("1970-01-01T01:01:00+01:00", 60, 0),
            ("1970-01-01T01:01:00", 60, 0),
            ("1970-01-02", 23 * 3600, 0),
            ("1234", 1234, 0),
            ("1234.5", 1234, 500_000_000),
            ("42m", 10_000 - 42 * 60, 0),
            ("1h30m", 10_000 - 5400, 0),
        ] {
            let expected = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(parse(text, now, &zone), Ok(expected), "{text}");
        }
        assert!(parse("yesterday", now, &zone).is_err());
    }

    #[test]
    fn dates_are_gos() {
        let time = Timestamp::from_seconds(1_700_000_000);
        assert_eq!(date(time), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(
            ago(time, Timestamp::from_seconds(1_700_007_200)),
            "2 hours ago"
        );
    }

    #[test]
    fn stamps_have_nine_digits() {
        let time = Timestamp {
            seconds: 1_400_000_000,
            nanoseconds: 1,
        };
        assert_eq!(stamp(time), "2014-05-13T16:53:20.000000001Z");
    }
}
