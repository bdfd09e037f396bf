//! The JSON form of arguments: `["a", "b"]`.

use serde_json::Value;

/// The strings of an array; each decoded, and as it stands in the text without its quotes.
pub(crate) type Strings<'a> = Vec<(String, &'a str)>;

/// The reading of a text that may be in JSON form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Array<'a> {
    /// Not a JSON array: the text means itself.
    No,
    /// An array of strings.
    Strings(Strings<'a>),
    /// An array with something else in it.
    NotStrings,
}

/// Reads `text` as a JSON array of strings.
pub(crate) fn array(text: &str) -> Array<'_> {
    if !text.trim_start().starts_with('[') {
        return Array::No;
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(text.trim()) else {
        return Array::No;
    };
    let mut slices = string_literals(text).into_iter();
    let strings = values
        .into_iter()
        .map(|value| match value {
            Value::String(string) => Some((string, slices.next().unwrap_or(text))),
            _ => None,
        })
        .collect::<Option<Vec<_>>>();
    strings.map_or(Array::NotStrings, Array::Strings)
}

/// Returns whether `text` is an array in JSON form, with elements of any kind.
pub(crate) fn is_array(text: &str) -> bool {
    array(text) != Array::No
}

/// Returns the string literals of valid JSON, without their quotes.
fn string_literals(text: &str) -> Vec<&str> {
    let mut literals = Vec::new();
    let mut open = None;
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match (open, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(start), b'"') => {
                literals.push(&text[start..index]);
                open = None;
            }
            (None, b'"') => open = Some(index + 1),
            _ => {}
        }
    }
    literals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_strings_are_read() {
        #[track_caller]
        fn check(text: &str, expected: &[(&str, &str)]) {
            let expected = expected
                .iter()
                .map(|(a, b)| ((*a).to_owned(), *b))
                .collect();
            assert_eq!(array(text), Array::Strings(expected));
        }
        check(r#" ["a", "b\"c" ]  "#, &[("a", "a"), ("b\"c", "b\\\"c")]);
        check("[]", &[]);
        check(r#"["\u00e9\\"]"#, &[("é\\", r"\u00e9\\")]);
        assert_eq!(array("['a']"), Array::No); // DF-022
        assert_eq!(array(r#"["a"] b"#), Array::No);
        assert_eq!(array(r#"["a"#), Array::No);
        assert_eq!(array("a"), Array::No);
        assert_eq!(array(r#"["a", 1]"#), Array::NotStrings); // DF-023
        assert_eq!(array(&"[".repeat(100_000)), Array::No);
    }
}
