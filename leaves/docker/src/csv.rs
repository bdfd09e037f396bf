//! One record of comma-separated values, quoted as in RFC 4180: how `--output` and `--mount` are
//! written.

/// A record whose quotes do not fit, whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// A quote inside a field that does not begin with one.
    #[error("bare \" in non-quoted field: {0}")]
    BareQuote(String),
    /// A field begins with a quote and has no other.
    #[error("missing \" at the end of a field: {0}")]
    OpenQuote(String),
    /// There is something between the end of a quoted field and the next comma.
    #[error("extraneous text after a quoted field: {0}")]
    TextAfterQuote(String),
}

/// Splits a record into its fields.
///
/// # Errors
/// When quotes stand where none belong.
pub fn fields(text: &str) -> Result<Vec<String>, CsvError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find(',').unwrap_or(rest.len());
            let field = &rest[..end];
            if field.contains('"') {
                return Err(CsvError::BareQuote(text.to_owned()));
            }
            fields.push(field.to_owned());
            match rest.get(end + 1..) {
                Some(next) => rest = next,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut inside = quoted;
        loop {
            let end = inside
                .find('"')
                .ok_or_else(|| CsvError::OpenQuote(text.to_owned()))?;
            field.push_str(&inside[..end]);
            inside = &inside[end + 1..];
            // Two quotes stand for one.
            match inside.strip_prefix('"') {
                Some(next) => {
                    field.push('"');
                    inside = next;
                }
                None => break,
            }
        }
        fields.push(field);
        match inside.strip_prefix(',') {
            Some(next) => rest = next,
            None if inside.is_empty() => return Ok(fields),
            None => return Err(CsvError::TextAfterQuote(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_commas() {
        for (text, expected) in [
            ("type=oci,dest=x", &["type=oci", "dest=x"][..]),
            (r#"type=image,"name=a,b""#, &["type=image", "name=a,b"]),
            (r#""a ""b"" c",d"#, &[r#"a "b" c"#, "d"]),
            ("", &[""]),
            ("a,", &["a", ""]),
        ] {
            assert_eq!(fields(text).unwrap(), expected, "{text}");
        }
        for text in [r#"a"b"#, r#""a"#, r#""a"b"#] {
            assert!(fields(text).is_err(), "{text}");
        }
    }
}
