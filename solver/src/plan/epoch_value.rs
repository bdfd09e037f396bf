//! What stages see of `SOURCE_DATE_EPOCH`.

use kiln_oci::Timestamp;

/// The build argument.
pub(crate) const NAME: &str = "SOURCE_DATE_EPOCH";

/// Returns what stages see of a value: seconds; nothing if it stands for no time.
pub(crate) fn seconds(text: &str, found: Option<Timestamp>) -> Option<String> {
    match text.parse::<i64>() {
        Ok(seconds) => Some(seconds.to_string()),
        Err(_) if text.is_empty() => None,
        Err(_) => found.map(|time| time.seconds.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_seconds() {
        let found = Some(Timestamp::from_seconds(7));
        for (text, found, expected) in [
            ("1700000000", found, Some("1700000000")),
            ("+5", None, Some("5")),
            ("", found, None),
            ("context", found, Some("7")),
            ("context", None, None),
        ] {
            assert_eq!(seconds(text, found).as_deref(), expected, "{text}");
        }
    }
}
