//! Percent escapes in URLs.

use std::borrow::Cow;

use super::source::ReferenceError;

/// Replaces `%XX` by the byte it stands for. A text that would no longer be UTF-8 stays as it is.
///
/// # Errors
/// A percent sign without two hexadecimal digits behind it.
pub(super) fn decode(text: &str) -> Result<Cow<'_, str>, ReferenceError> {
    let Some(first) = text.find('%') else {
        return Ok(Cow::Borrowed(text));
    };
    let mut bytes = text.as_bytes()[..first].to_vec();
    let mut rest = &text[first..];
    while let Some(behind) = rest.strip_prefix('%') {
        let digits = behind.get(..2).filter(|digits| {
            // `from_str_radix` would take a sign too.
            digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let Some(byte) = byte else {
            return Err(ReferenceError::Escape(rest.chars().take(3).collect()));
        };
        bytes.push(byte);
        let plain = &behind[2..];
        let next = plain.find('%').unwrap_or(plain.len());
        bytes.extend_from_slice(&plain.as_bytes()[..next]);
        rest = &plain[next..];
    }
    Ok(String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_escapes_are_decoded() {
        assert_eq!(decode("a").unwrap(), "a");
        assert_eq!(decode("%41b%2fc%20").unwrap(), "Ab/c ");
        assert_eq!(decode("%C3%A9é").unwrap(), "éé");
        assert_eq!(decode("a%FF").unwrap(), "a%FF");
        for (text, escape) in [("a%zz", "%zz"), ("%4", "%4"), ("%+1", "%+1"), ("%é", "%é")] {
            assert_eq!(decode(text), Err(ReferenceError::Escape(escape.to_owned())));
        }
    }
}
