//! Requests that failed for the moment, repeated.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::StatusCode;
use reqwest::header::{DATE, RETRY_AFTER};

use crate::answer::HttpAnswer;
use crate::call::Repeat;
use crate::error::Error;
use crate::notice::Notice;
use crate::session::RegistrySession;
use crate::url_text::authority;

impl RegistrySession {
    /// Repeats what failed for the moment, as the policy says.
    pub(crate) fn repeated(
        &self,
        repeat: Repeat,
        mut attempt: impl FnMut() -> Result<HttpAnswer, Error>,
    ) -> Result<HttpAnswer, Error> {
        let mut delays = match repeat {
            Repeat::Yes => self.retry.delays.iter(),
            Repeat::No => [].iter(),
        };
        loop {
            self.transport.check_cancelled()?;
            let outcome = attempt();
            let (host, reason, asked) = match &outcome {
                Err(error) if error.is_transient() => (String::new(), error.to_string(), None),
                Ok(answer) if is_momentary(answer.status) => (
                    authority(&answer.url),
                    format!("status {}", answer.status.as_u16()),
                    retry_after(answer.header(RETRY_AFTER), answer.header(DATE)),
                ),
                _ => return outcome,
            };
            let Some(&delay) = delays.next() else {
                return outcome;
            };
            let delay = asked.unwrap_or(delay);
            if delay > self.retry.longest_wait {
                return outcome;
            }
            (self.notice)(Notice::Retrying {
                host,
                reason,
                delay,
            });
            self.transport.sleep(delay)?;
        }
    }
}

/// Says whether the server may answer otherwise a moment later.
fn is_momentary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
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
