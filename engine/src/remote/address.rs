//! URLs in parts, as far as they matter here.

/// A URL's text, cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    /// `https`; empty for `git@host:path`.
    pub(super) scheme: &'a str,
    /// What stands before the host's `@`; may hold a password.
    pub(super) user: Option<&'a str>,
    /// Host, and port if there is one.
    pub(super) authority: &'a str,
    /// What follows, with its separator.
    pub(super) rest: &'a str,
}

impl<'a> Address<'a> {
    /// Cuts a URL or an address like `git@host:path`.
    pub(super) fn of(text: &'a str) -> Self {
        let (scheme, behind, end) = match text.split_once("://") {
            Some((scheme, behind)) => (scheme, behind, ['/', '?', '#'].as_slice()),
            None => ("", text, [':'].as_slice()),
        };
        let end = behind.find(end).unwrap_or(behind.len());
        let (place, rest) = behind.split_at(end);
        let (user, authority) = match place.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, place),
        };
        Self {
            scheme,
            user,
            authority,
            rest,
        }
    }

    /// Returns the host without its port.
    pub(super) fn host(&self) -> &'a str {
        match self.authority.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => self.authority,
        }
    }

    /// Returns whether ssh is how one gets there.
    pub(super) fn is_ssh(&self) -> bool {
        matches!(self.scheme, "ssh" | "")
    }

    /// Returns the address with nothing in it that is secret in itself: no password.
    pub(super) fn without_password(&self) -> String {
        let Self {
            scheme,
            user,
            authority,
            rest,
        } = self;
        match (
            *scheme,
            user.map(|user| user.split(':').next().unwrap_or("")),
        ) {
            // The user of ssh is no secret, and without it nobody gets in.
            ("", Some(user)) => format!("{user}@{authority}{rest}"),
            ("ssh", Some(user)) => format!("{scheme}://{user}@{authority}{rest}"),
            ("", None) => format!("{authority}{rest}"),
            _ => format!("{scheme}://{authority}{rest}"),
        }
    }
}

/// Returns what of a URL may be shown: neither passwords nor what follows a question mark.
pub(crate) fn shown(url: &str) -> String {
    let url = Address::of(url).without_password();
    match url.find(['?', '#']) {
        Some(end) => url[..end].to_owned(),
        None => url,
    }
}

/// Replaces `%XX` by the bytes they stand for.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digits = behind.get(..2).filter(|_| *first == b'%');
        let value = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut() {
        for (text, scheme, user, authority, host) in [
            ("https://h/x?q#f", "https", None, "h", "h"),
            ("http://u:p@h:81/x", "http", Some("u:p"), "h:81", "h"),
            ("http://[::1]:81", "http", None, "[::1]:81", "[::1]"),
            ("https://h?a@b", "https", None, "h", "h"),
            ("git@h:a/b.git", "", Some("git"), "h", "h"),
            ("ssh://git@h:22/a", "ssh", Some("git"), "h:22", "h"),
        ] {
            let address = Address::of(text);
            assert_eq!(
                (address.scheme, address.user, address.authority),
                (scheme, user, authority),
                "{text}"
            );
            assert_eq!(address.host(), host, "{text}");
        }
    }

    #[test]
    fn passwords_and_signatures_are_not_shown() {
        assert_eq!(shown("https://u:p@h/a?sig=1#x"), "https://h/a");
        assert_eq!(shown("git@h:a/b.git"), "git@h:a/b.git");
        assert_eq!(shown("ssh://git:p@h/a.git"), "ssh://git@h/a.git");
        assert_eq!(percent_decoded("a%40b%2"), "a@b%2");
    }
}
