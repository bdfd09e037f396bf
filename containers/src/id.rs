//! What containers are called: ids and names (docs/spec/cli.md 0.3).

use std::fmt;
use std::str::FromStr;

use rustix::rand::GetRandomFlags;
use serde::{Deserialize, Serialize};

use crate::words::{ADJECTIVES, SURNAMES};

/// 64 hexadecimal digits that no other container has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// Digits of the short form.
const SHORT: usize = 12;

impl ContainerId {
    /// Rolls a new id.
    #[must_use]
    pub fn random() -> Self {
        loop {
            let id: String = random::<32>()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            // All digits: it would be taken for a number where both are allowed.
            if id.bytes().take(SHORT).any(|digit| !digit.is_ascii_digit()) {
                return Self(id);
            }
        }
    }

    /// Returns all 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 12 digits.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..SHORT]
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

/// Text that is no container id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no container id")]
pub struct InvalidContainerId(String);

impl TryFrom<String> for ContainerId {
    type Error = InvalidContainerId;

    fn try_from(text: String) -> Result<Self, InvalidContainerId> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits && text.len() == 64 {
            Ok(Self(text))
        } else {
            Err(InvalidContainerId(text))
        }
    }
}

/// The name of a container, given by the user or made up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

/// Text that is no container name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct InvalidContainerName(String);

impl ContainerName {
    /// Returns the name without a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes up a name; `attempt` counts from 0, later ones end in a digit.
    pub(crate) fn made_up(attempt: u32) -> Self {
        loop {
            let [a, b, c, d, digit] = random::<5>();
            let pick = |words: &[&'static str], high: u8, low: u8| {
                words[usize::from(u16::from_be_bytes([high, low])) % words.len()]
            };
            let adjective = pick(ADJECTIVES, a, b);
            let surname = pick(SURNAMES, c, d);
            // Steve Wozniak is not boring.
            if (adjective, surname) == ("boring", "wozniak") {
                continue;
            }
            return Self(match attempt {
                0 => format!("{adjective}_{surname}"),
                _ => format!("{adjective}_{surname}{}", digit % 10),
            });
        }
    }

    /// Names a container after its id, which is always free.
    pub(crate) fn after(id: &ContainerId) -> Self {
        Self(id.short().to_owned())
    }
}

impl FromStr for ContainerName {
    type Err = InvalidContainerName;

    fn from_str(text: &str) -> Result<Self, InvalidContainerName> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let mut bytes = name.bytes();
        let starts_well = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        let goes_on = bytes.len() > 0
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if starts_well && goes_on {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidContainerName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ContainerName {
    type Error = InvalidContainerName;

    fn try_from(text: String) -> Result<Self, InvalidContainerName> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled =
        rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()));
    assert_eq!(
        filled,
        Ok(N),
        "the kernel gives few bytes whole, and always"
    );
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_digits_and_not_all_decimal_at_first() {
        for _ in 0..200 {
            let id = ContainerId::random();
            assert_eq!(ContainerId::try_from(id.to_string()), Ok(id.clone()));
            assert!(id.short().bytes().any(|b| b.is_ascii_lowercase()));
        }
        assert!(ContainerId::try_from("abc".to_owned()).is_err());
        assert!(ContainerId::try_from("G".repeat(64)).is_err());
    }

    #[test]
    fn names_follow_the_pattern() {
        for good in ["ab", "/ab", "A.b-c_9", "0x"] {
            assert_eq!(
                good.parse::<ContainerName>().unwrap().as_str(),
                good.trim_start_matches('/')
            );
        }
        for bad in ["", "a", "/", "-a", "a b", "ä1", "a/b", "_x"] {
            let error = bad.parse::<ContainerName>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("Invalid container name ({bad}), only [")),
                "{error}"
            );
        }
    }

    #[test]
    fn made_up_names_are_valid() {
        for attempt in 0..50 {
            let name = ContainerName::made_up(attempt);
            assert_eq!(name.as_str().parse(), Ok(name.clone()));
            let last = name.as_str().bytes().last().unwrap();
            assert_eq!(last.is_ascii_digit(), attempt > 0);
        }
    }
}
