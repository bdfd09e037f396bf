//! Words that mean yes or no, in the spellings Go's `strconv.ParseBool` takes.

/// Returns what a word means; `None` if it is neither.
#[must_use]
pub fn parse(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn booleans_take_gos_spellings() {
        assert_eq!(super::parse("T"), Some(true));
        assert_eq!(super::parse("0"), Some(false));
        assert_eq!(super::parse("tRUE"), None);
        assert_eq!(super::parse(""), None);
    }
}
