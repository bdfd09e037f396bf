//! The kind of a source: a repository, a download, or, if it is neither, a path.

use std::borrow::Cow;

use super::options::{self, non_empty};
use super::percent::decode;
use super::source::{GitSource, ReferenceError, RemoteSource, SourcePlace};

/// Returns what a text names, `None` if that is a path.
///
/// # Errors
/// The text names a Git repository, and what is said about it makes no sense.
#[must_use]
pub fn remote_source(
    text: &str,
    place: SourcePlace,
) -> Option<Result<RemoteSource, ReferenceError>> {
    let (address, fragment) = cut(text, '#');
    let (address, query) = cut(address, '?');
    let decoded = || fragment.map(decode).transpose();
    let (remote, fragment) = match scheme(address) {
        Some((scheme, rest)) => match scheme.as_str() {
            "git" | "ssh" => (format!("{scheme}://{rest}"), decoded()),
            "http" | "https" if is_repository(rest) => (format!("{scheme}://{rest}"), decoded()),
            "http" | "https" => return Some(Ok(RemoteSource::Http(text.to_owned()))),
            _ => return None,
        },
        None if place == SourcePlace::BuildContext && address.starts_with("github.com/") => {
            (format!("https://{address}"), decoded())
        }
        // Such an address is no URL: nothing is escaped in its fragment.
        None if is_scp_style(address) => (address.to_owned(), Ok(fragment.map(Cow::from))),
        None => return None,
    };
    let source = fragment.and_then(|fragment| {
        let mut source = GitSource {
            remote,
            ..GitSource::default()
        };
        if let Some(fragment) = fragment {
            let (reference, subdirectory) = cut(&fragment, ':');
            source.reference = non_empty(reference);
            source.subdirectory = subdirectory.and_then(non_empty);
        }
        options::read(&mut source, query.unwrap_or_default())?;
        Ok(RemoteSource::Git(source))
    });
    Some(source)
}

/// Returns the name a download gets in a directory: the last segment of the URL's path, or
/// `__unnamed__` where that is no file name.
#[must_use]
pub fn download_name(url: &str) -> String {
    let (address, _) = cut(url, '#');
    let (address, _) = cut(address, '?');
    let path = address
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or("", |(_, path)| path);
    let Ok(path) = decode(path) else {
        return UNNAMED.to_owned();
    };
    match path.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | "." | "..") => UNNAMED.to_owned(),
        Some(name) if name.contains('\0') => UNNAMED.to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// The name of a download whose URL gives none.
const UNNAMED: &str = "__unnamed__";

/// Splits at the first separator, which belongs to neither part.
fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

/// Splits a URL's scheme off, in lower case.
fn scheme(address: &str) -> Option<(String, &str)> {
    let (scheme, rest) = address.split_once("://")?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_scheme.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// Returns whether what follows `http://` names a repository: its path ends in `.git`.
fn is_repository(rest: &str) -> bool {
    rest.split_once('/')
        .and_then(|(_, path)| decode(path).ok())
        .is_some_and(|path| path.ends_with(".git"))
}

/// Returns whether an address has the form `user@host:path`.
fn is_scp_style(address: &str) -> bool {
    let Some((user, rest)) = address.split_once('@') else {
        return false;
    };
    let Some((host, _)) = rest.split_once(':') else {
        return false;
    };
    let name = |text: &str, others: &[u8]| {
        // What starts with a dash would be an option of the program it is handed to.
        !text.is_empty()
            && !text.starts_with('-')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
    };
    name(user, b"-_") && name(host, b"-.")
}
