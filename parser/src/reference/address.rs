//! The addresses of what is fetched, in parts.

use super::percent::decode;

/// An address, cut. A text that is none is cut somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// `https`; empty for `git@host:path`.
    pub scheme: &'a str,
    /// What stands before the host's `@`; may hold a password.
    pub user: Option<&'a str>,
    /// Host, and port if there is one.
    pub authority: &'a str,
    /// What follows, with its separator.
    pub rest: &'a str,
}

impl<'a> Address<'a> {
    /// Cuts a URL or an address like `git@host:path`.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
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
    #[must_use]
    pub fn host(&self) -> &'a str {
        match self.authority.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => self.authority,
        }
    }

    /// Returns whether ssh is how one gets there.
    #[must_use]
    pub fn is_ssh(&self) -> bool {
        matches!(self.scheme, "ssh" | "")
    }

    /// Returns the name and the password before the host's `@`, decoded.
    #[must_use]
    pub fn login(&self) -> Option<(String, String)> {
        let (name, password) = match self.user?.split_once(':') {
            Some(pair) => pair,
            None => (self.user?, ""),
        };
        let decoded = |text| decode(text).map_or_else(|_| String::from(text), String::from);
        Some((decoded(name), decoded(password)))
    }

    /// Returns what may be shown: no password, and nothing behind a question mark or a hash, where
    /// signatures stand.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut shown = self.without_password();
        if let Some(end) = shown.find(['?', '#']) {
            shown.truncate(end);
        }
        shown
    }

    /// Returns the address with nothing in it that is secret in itself: no password.
    #[must_use]
    pub fn without_password(&self) -> String {
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
            // The user of ssh is no secret, and the server refuses a login without it.
            ("", Some(user)) => format!("{user}@{authority}{rest}"),
            ("ssh", Some(user)) => format!("{scheme}://{user}@{authority}{rest}"),
            ("", None) => format!("{authority}{rest}"),
            _ => format!("{scheme}://{authority}{rest}"),
        }
    }
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
        for (text, shown) in [
            ("https://u:p@h/a?sig=1#x", "https://h/a"),
            ("git@h:a/b.git", "git@h:a/b.git"),
            ("ssh://git:p@h/a.git", "ssh://git@h/a.git"),
        ] {
            assert_eq!(Address::of(text).shown(), shown);
        }
        let login = |text| Address::of(text).login();
        let is = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(login("https://a%40b:c%3a@h/"), is("a@b", "c:"));
        assert_eq!(login("https://a%4@h/"), is("a%4", ""));
        assert_eq!(login("https://h/"), None);
    }
}
