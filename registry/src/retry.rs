//! Pauses between attempts, and how many there are.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

/// When and how often to repeat a request that failed for the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pause before each repetition; their number is the number of repetitions.
    pub delays: Vec<Duration>,
    /// The longest pause that a server may ask for. If it asks for more, its refusal is final.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// As BuildKit: 1, 2 and 4 seconds.
    fn default() -> Self {
        Self {
            delays: [1, 2, 4].map(Duration::from_secs).into(),
            longest_wait: Duration::from_secs(60),
        }
    }
}

/// Reads `Retry-After`: seconds, or a date, which is compared with the server's own `Date`.
pub(crate) fn retry_after(value: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let value = value?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let parse = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
    let wait = parse(value)?.duration_since(parse(date?)?);
    Some(wait.max(jiff::SignedDuration::ZERO).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(Some(value), now), expected, "{value}");
        }
        assert_eq!(
            retry_after(Some("Sun, 06 Nov 1994 08:50:07 GMT"), None),
            None
        );
        assert_eq!(retry_after(None, now), None);
    }
}
