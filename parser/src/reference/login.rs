//! Logins (user and password) of addresses in the middle of other text.
//!
//! `https://name:password@host/` may stand anywhere in a Dockerfile, and what is quoted of a
//! Dockerfile goes to terminals and logs.

use std::ops::Range;

/// Returns text of the same length with asterisks for the passwords and tokens of its addresses.
#[must_use]
pub fn mask_logins(text: &[u8]) -> Vec<u8> {
    let mut masked = text.to_vec();
    for login in logins(text) {
        masked[login].fill(b'*');
    }
    masked
}

/// As [`mask_logins`], for what is text already.
#[must_use]
pub fn mask_logins_in(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut end = 0;
    for login in logins(text.as_bytes()) {
        masked.push_str(&text[end..login.start]);
        masked.extend(std::iter::repeat_n('*', login.len()));
        end = login.end;
    }
    masked + &text[end..]
}

/// Returns text whose addresses have no login.
#[must_use]
pub fn without_logins(text: &str) -> String {
    let mut rest = String::with_capacity(text.len());
    let mut end = 0;
    for login in logins(text.as_bytes()) {
        rest.push_str(&text[end..login.start]);
        end = login.end;
        // Of ssh the name stays, and so does what parts it from the host.
        if text[..login.start].ends_with("://") {
            end += "@".len();
        }
    }
    rest + &text[end..]
}

/// Finds what stands before the `@` of each address; of ssh, whose users are no secret, only the
/// password with its colon.
fn logins(text: &[u8]) -> Vec<Range<usize>> {
    const BEGINNING: &[u8] = b"://";
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..]
        .windows(BEGINNING.len())
        .position(|window| window == BEGINNING)
    {
        let scheme = &text[..at + next];
        at += next + BEGINNING.len();
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'`<>,".contains(byte);
        let end = text[at..].iter().position(is_end);
        let place = &text[at..end.map_or(text.len(), |end| at + end)];
        let Some(length) = place.iter().rposition(|byte| *byte == b'@') else {
            continue;
        };
        let is_ssh = scheme.ends_with(b"ssh");
        let start = match (
            is_ssh,
            place[..length].iter().position(|byte| *byte == b':'),
        ) {
            (true, None) => continue,
            (true, Some(colon)) => colon,
            (false, _) => 0,
        };
        found.push(at + start..at + length);
        at += length;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_wherever_they_stand() {
        for (text, masked, without) in [
            (
                "ADD http://u:pw@h/x /",
                "ADD http://****@h/x /",
                "ADD http://h/x /",
            ),
            (
                r#"ADD ["https://t@h/a", "http://u:p@i/b", "/"]"#,
                r#"ADD ["https://*@h/a", "http://***@i/b", "/"]"#,
                r#"ADD ["https://h/a", "http://i/b", "/"]"#,
            ),
            ("'http://u:p@ss@h'", "'http://******@h'", "'http://h'"),
            ("http://${U}:${P}@h", "http://*********@h", "http://h"),
            ("http://ü:é@h", "http://*****@h", "http://h"),
            ("ssh://git@h/x", "ssh://git@h/x", "ssh://git@h/x"),
            ("ssh://git:pw@h/x", "ssh://git***@h/x", "ssh://git@h/x"),
            (
                "git@h:x http://h/a@b ://",
                "git@h:x http://h/a@b ://",
                "git@h:x http://h/a@b ://",
            ),
            (
                "http://h?a@b http://h#a@b",
                "http://h?a@b http://h#a@b",
                "http://h?a@b http://h#a@b",
            ),
            ("", "", ""),
        ] {
            assert_eq!(mask_logins(text.as_bytes()), masked.as_bytes(), "{text}");
            assert_eq!(mask_logins_in(text), masked, "{text}");
            assert_eq!(without_logins(text), without, "{text}");
        }
        assert_eq!(mask_logins(b"\xff http://\xfe@h"), b"\xff http://*@h");
    }
}
