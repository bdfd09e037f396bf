//! Numbers as people read and write them: sizes and ages.

use std::time::Duration;

/// Returns bytes in decimal units with three or four significant digits: `7.81kB`, `1.98MB`, `0B`.
///
/// `%.4g` of Go, which docker prints sizes with.
#[must_use]
pub fn size(bytes: u64) -> String {
    decimal(bytes, 4)
}

/// As [`size`], with three digits: docker's lists of images and containers.
#[must_use]
pub fn short_size(bytes: u64) -> String {
    decimal(bytes, 3)
}

fn decimal(bytes: u64, digits: usize) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[expect(clippy::cast_precision_loss, reason = "at most four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// Returns a number below 10,000 with so many significant digits, without trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let mut whole_digits = 1;
    let mut limit = 10.0;
    while value >= limit {
        limit *= 10.0;
        whole_digits += 1;
    }
    let text = format!("{value:.*}", digits.saturating_sub(whole_digits));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid size: '{0}'")]
pub struct InvalidSize(String);

/// Parses a size such as `64m`, `1.5g` or `512`; units are powers of 1024.
///
/// # Errors
/// When it is none, or more than 9 EB.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let invalid = || InvalidSize(text.to_owned());
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    let bytes = number * 1024_f64.powi(power);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to lie in the range; fractions of a byte are dropped"
    )]
    if (0.0..9.0e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(invalid())
    }
}

/// Returns how long ago something was, as docker says it, without `ago`.
#[must_use]
pub fn age(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let minutes = seconds / 60;
    // Half hours count up, as in docker's go-units.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_up_to_four_digits() {
        for (bytes, long, short) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1_000, "1kB", "1kB"),
            (7_812, "7.812kB", "7.81kB"),
            (1_980_000, "1.98MB", "1.98MB"),
            (123_456_789, "123.5MB", "123MB"),
            (5_000_000_000, "5GB", "5GB"),
            (u64::MAX, "18.45EB", "18.4EB"),
        ] {
            assert_eq!(size(bytes), long);
            assert_eq!(short_size(bytes), short);
        }
    }

    #[test]
    fn sizes_of_flags_are_binary() {
        for (text, bytes) in [
            ("512", 512),
            ("1k", 1024),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("2GiB", 2 << 30),
            ("1.5g", 3 << 29),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1.2.3", "99999999p"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_are_dockers() {
        let day = 86_400;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (125, "2 minutes"),
            (3600, "About an hour"),
            (3600 * 2, "2 hours"),
            (day * 2, "2 days"),
            (day * 13, "13 days"),
            (day * 14, "2 weeks"),
            (day * 60, "2 months"),
            (day * 800, "2 years"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
