//! Signal names, as `STOPSIGNAL` takes them.

use thiserror::Error;

/// A text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid signal: {0}")]
pub struct SignalError(String);

/// Linux's names and numbers, `RTMIN` and its kin apart.
const SIGNALS: [(&str, i32); 34] = [
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
];

/// The first real-time signal a program may use; the C library keeps 32 and 33.
const REAL_TIME_MIN: i32 = 34;
/// The last one.
const REAL_TIME_MAX: i32 = 64;

/// Returns a signal's number: `9`, `KILL`, `sigkill`, `RTMIN+3`, `RTMAX-1`.
///
/// # Errors
/// If the text is neither a number other than zero nor a signal's name.
pub fn parse(text: &str) -> Result<i32, SignalError> {
    let invalid = || SignalError(text.to_owned());
    if let Ok(number) = text.parse::<i32>() {
        return if number == 0 {
            Err(invalid())
        } else {
            Ok(number)
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    real_time(name).ok_or_else(invalid)
}

fn real_time(name: &str) -> Option<i32> {
    let (from, sign, distance) = if let Some(distance) = name.strip_prefix("RTMIN") {
        (REAL_TIME_MIN, '+', distance)
    } else {
        (REAL_TIME_MAX, '-', name.strip_prefix("RTMAX")?)
    };
    if distance.is_empty() {
        return Some(from);
    }
    let digits = distance.strip_prefix(sign)?;
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // The two families meet in the middle without overlapping.
    match (sign, digits.parse::<i32>().ok()?) {
        ('+', distance @ 1..=15) => Some(from + distance),
        ('-', distance @ 1..=14) => Some(from - distance),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_093_signals() {
        #[track_caller]
        fn check(text: &str, expected: Option<i32>) {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
        check("9", Some(9));
        check("KILL", Some(9));
        check("sigterm", Some(15));
        check("RTMIN", Some(34));
        check("SIGRTMIN+15", Some(49));
        check("RTMAX-14", Some(50));
        for wrong in [
            "FOO", "", "0", "SIG", "RTMIN+16", "RTMAX-15", "RTMIN-1", "RTMIN+01", "9x",
        ] {
            check(wrong, None);
        }
        assert_eq!(parse("FOO").unwrap_err().to_string(), "invalid signal: FOO");
    }
}
