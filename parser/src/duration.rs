//! Durations such as `1h30m` or `1.5s`, in Go's notation.

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::{char, digit0, satisfy};
use nom::combinator::{map, opt, recognize, value};
use nom::multi::many0;
use nom::sequence::preceded;
use nom::{IResult, Parser};
use thiserror::Error;

use crate::quote::quote;

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not numbers and units, or too large.
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {}", quote(.0))]
    MissingUnit(String),
    /// An unknown unit.
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.duration))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        duration: String,
    },
}

/// Returns a duration in nanoseconds.
///
/// # Errors
/// If the text is not a sequence of decimal numbers with units, or does not fit.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (behind, (whole, fraction)) = number(rest).map_err(|_| invalid())?;
        let (behind, unit) = unit_word(behind).map_err(|_| invalid())?;
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let scale = unit_scale(unit).ok_or_else(|| DurationError::UnknownUnit {
            unit: unit.to_owned(),
            duration: text.to_owned(),
        })?;
        let nanoseconds = scaled(whole, fraction, scale).ok_or_else(invalid)?;
        total = total.checked_add(nanoseconds).ok_or_else(invalid)?;
        rest = behind;
    }
    match i64::try_from(total) {
        Ok(total) => Ok(if negative { -total } else { total }),
        // The most negative value has no positive counterpart.
        Err(_) if negative && total == i64::MIN.unsigned_abs() => Ok(i64::MIN),
        Err(_) => Err(invalid()),
    }
}

/// Digits, and digits behind a point; at least one digit in all.
fn number(text: &str) -> IResult<&str, (&str, &str)> {
    let (rest, (whole, fraction)) = (
        digit0,
        map(opt(preceded(char('.'), digit0)), Option::unwrap_or_default),
    )
        .parse(text)?;
    if whole.is_empty() && fraction.is_empty() {
        return Err(nom::Err::Error(nom::error::make_error(
            text,
            nom::error::ErrorKind::Digit,
        )));
    }
    Ok((rest, (whole, fraction)))
}

/// Everything up to the next number.
fn unit_word(text: &str) -> IResult<&str, &str> {
    recognize(many0(satisfy(|c| c != '.' && !c.is_ascii_digit()))).parse(text)
}

/// Returns a unit's length in nanoseconds.
fn unit_scale(unit: &str) -> Option<u64> {
    let parsed: IResult<&str, u64> = alt((
        value(1, tag("ns")),
        // With the micro sign and with the Greek letter.
        value(1_000, alt((tag("us"), tag("µs"), tag("μs")))),
        value(1_000_000, tag("ms")),
        value(1_000_000_000, tag("s")),
        value(60_000_000_000, tag("m")),
        value(3_600_000_000_000, tag("h")),
    ))
    .parse(unit);
    match parsed {
        Ok(("", scale)) => Some(scale),
        _ => None,
    }
}

/// Multiplies `whole.fraction` by `scale`, rounding down; `None` if it does not fit.
fn scaled(whole: &str, fraction: &str, scale: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // More digits than these are worth less than a nanosecond of an hour.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = if fraction.is_empty() {
        0
    } else {
        let numerator: u128 = fraction.parse().ok()?;
        let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        u64::try_from(numerator * u128::from(scale) / denominator).ok()?
    };
    whole.checked_mul(scale)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_094_durations() {
        #[track_caller]
        fn check(text: &str, expected: i64) {
            assert_eq!(parse(text), Ok(expected));
        }
        check("30s", 30_000_000_000);
        check("1h30m", 5_400_000_000_000);
        check("1.5s", 1_500_000_000);
        check(".5ms", 500_000);
        check("2.us", 2_000);
        check("3µs", 3_000);
        check("-1ms", -1_000_000);
        check("+1ns", 1);
        check("0", 0);
        check("0.3333333333333333333h", 1_199_999_999_999);
        check("2562047h47m16.854775807s", i64::MAX);
        check("-2562047h47m16.854775808s", i64::MIN);
    }

    #[test]
    fn malformed_durations_are_refused() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        check("", "time: invalid duration \"\"");
        check("abc", "time: invalid duration \"abc\"");
        check("10", "time: missing unit in duration \"10\"");
        check("1d", "time: unknown unit \"d\" in duration \"1d\"");
        check("1 s", "time: unknown unit \" s\" in duration \"1 s\"");
        check(".s", "time: invalid duration \".s\"");
        check("9999999h", "time: invalid duration \"9999999h\"");
        check(
            "99999999999999999999s",
            "time: invalid duration \"99999999999999999999s\"",
        );
    }
}
