//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signal of Linux, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalNumber(i32);

/// Text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid signal: {0}")]
pub struct InvalidSignal(String);

/// signal(7); the numbers are those of x86 and ARM.
const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// SIGRTMIN as the C libraries number it, past those they keep for themselves.
const FIRST_REAL_TIME: i32 = 34;

impl SignalNumber {
    /// Cannot be caught.
    pub const KILL: Self = Self(9);
    /// Asks to end.
    pub const TERM: Self = Self(15);

    /// Returns the number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    pub(crate) fn from_number(number: i32) -> Option<Self> {
        (1..=64).contains(&number).then_some(Self(number))
    }
}

impl FromStr for SignalNumber {
    type Err = InvalidSignal;

    /// Takes `15`, `TERM`, `SIGTERM`, `RTMIN+3`, in any case.
    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let invalid = || InvalidSignal(text.to_owned());
        if let Ok(number) = text.parse::<i32>() {
            return Self::from_number(number).ok_or_else(invalid);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(other, _)| *other == name) {
            return Ok(Self(*number));
        }
        let real_time = match name {
            "RTMIN" => Some(FIRST_REAL_TIME),
            "RTMAX" => Some(64),
            _ => {
                let up = name.strip_prefix("RTMIN+").map(|n| (FIRST_REAL_TIME, 1, n));
                let down = name.strip_prefix("RTMAX-").map(|n| (64, -1, n));
                up.or(down).and_then(|(base, sign, text)| {
                    let offset: i32 = text.parse().ok()?;
                    Some(base + sign * offset)
                })
            }
        };
        real_time
            .filter(|number| (FIRST_REAL_TIME..=64).contains(number))
            .map(Self)
            .ok_or_else(invalid)
    }
}

impl fmt::Display for SignalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let cases = [
            ("15", 15),
            ("TERM", 15),
            ("sigterm", 15),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("KILL", 9),
        ];
        for (text, number) in cases {
            assert_eq!(
                text.parse::<SignalNumber>().unwrap().number(),
                number,
                "{text}"
            );
        }
        for bad in ["", "0", "65", "SIG", "NOPE", "RTMIN+40", "-9"] {
            assert!(bad.parse::<SignalNumber>().is_err(), "{bad}");
        }
        assert_eq!(SignalNumber::KILL.to_string(), "SIGKILL");
    }
}
