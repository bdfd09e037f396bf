//! One record of comma-separated values, quoted as in RFC 4180: how `--output` and `--mount` are
//! written.

/// Splits a record into its fields.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find(',').unwrap_or(rest.len());
            let field = &rest[..end];
            if field.contains('"') {
                return Err(format!("bare \" in non-quoted field: {text}"));
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
                .ok_or_else(|| format!("missing \" at the end of a field: {text}"))?;
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
            None => return Err(format!("extraneous text after a quoted field: {text}")),
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
