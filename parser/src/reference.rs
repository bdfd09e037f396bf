//! Remote sources: what `ADD` and build contexts take instead of a path.
//!
//! A text is a Git repository, some other HTTP resource, or, if it is neither, a path. Whether a
//! directory of that name exists is for whoever asks: for a build context it would go first.

mod address; // scheme, user, host, path
mod login; // who somebody is, amid other text
mod options; // ?name=value behind a repository's address
mod percent; // %20

use std::borrow::Cow;

pub use address::Address;
pub use login::{mask_logins, mask_logins_in, without_logins};
use percent::decode;
use thiserror::Error;

use crate::quote::quote;

/// Something to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSource {
    /// A Git repository.
    Git(GitSource),
    /// What an HTTP or HTTPS server answers; the text as it was written.
    Http(String),
}

/// A Git repository and what is wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// The address that Git takes: neither fragment nor query.
    pub remote: String,
    /// The branch, tag or commit to check out; a bare `commit` counts. `None` is the remote's HEAD.
    pub reference: Option<String>,
    /// The directory that is wanted instead of the whole tree, as it was written.
    pub subdirectory: Option<String>,
    /// The commit, or a prefix of its name, that the reference must turn out to be.
    pub commit: Option<String>,
    /// Whether `.git` stays, where the address says it.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are checked out too, where the address says it.
    pub submodules: Option<bool>,
    /// The times the files get.
    pub modified: Modified,
    /// Whether to ask the remote for the commit itself instead of for the reference.
    pub fetch_by_commit: bool,
}

/// The modification times of files from a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Modified {
    /// When they were checked out.
    #[default]
    Checkout,
    /// When their commit was made.
    Commit,
}

/// Where a source is named; the rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A source of `ADD` or `COPY`.
    Instruction,
    /// The context of a build, or one given by `--build-context`: `github.com/…` is Git there.
    BuildContext,
}

/// What is wrong with the address of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// An option nobody knows.
    #[error("unexpected query {}", quote(.0))]
    UnknownOption(String),
    /// An option that needs a value.
    #[error("query {} has no value", quote(.0))]
    NoValue(String),
    /// An option given twice.
    #[error("query {} has multiple values", quote(.0))]
    MultipleValues(String),
    /// A value the option does not take.
    #[error("invalid {option} value: {}", quote(.value))]
    InvalidValue {
        /// The option's name.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// Two different values for one thing.
    #[error("{what} conflicts: {} vs {}", quote(.first), quote(.second))]
    Conflict {
        /// `ref`, `subdir` or `commit`.
        what: &'static str,
        /// The value found first.
        first: String,
        /// The other one.
        second: String,
    },
    /// Both a branch and a tag.
    #[error("branch conflicts with tag")]
    BranchAndTag,
    /// A percent sign that escapes nothing.
    #[error("invalid URL escape {}", quote(.0))]
    Escape(String),
}

/// Returns what a text names, `None` if that is a path.
///
/// # Errors
/// The text names a Git repository, and what is said about it makes no sense.
#[must_use]
pub fn remote_source(text: &str, place: Place) -> Option<Result<RemoteSource, ReferenceError>> {
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
        None if place == Place::BuildContext && address.starts_with("github.com/") => {
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

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
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

#[cfg(test)]
mod tests;
