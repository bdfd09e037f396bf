//! Commits, as they are called and as they are promised.

use crate::error::Error;

/// A commit that was found, and how the remote calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCommit {
    /// The commit's full name.
    pub commit: String,
    /// The branch or tag that leads to it.
    pub name: Option<NamedObject>,
}

/// A branch or tag, and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedObject {
    /// `refs/…`.
    pub name: String,
    /// The commit, or an annotated tag.
    pub object: String,
}

impl FoundCommit {
    /// Returns a commit that no branch or tag was named for.
    #[must_use]
    pub fn unnamed(commit: String) -> Self {
        Self { commit, name: None }
    }

    /// Returns how it is called: the branch or tag, or `HEAD`.
    #[must_use]
    pub fn called(&self) -> &str {
        self.name.as_ref().map_or("HEAD", |named| &named.name)
    }
}

/// What a commit must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise(Option<String>);

impl Promise {
    /// Parses the beginning of a commit's name; none promises nothing.
    ///
    /// # Errors
    /// When it is not hexadecimal.
    pub fn parse(beginning: Option<&str>) -> Result<Self, Error> {
        let promised = beginning.map(str::to_lowercase);
        match promised {
            Some(text) if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Err(Error::InvalidPromise(text))
            }
            promised => Ok(Self(promised)),
        }
    }

    /// Checks that a commit is the one that was promised.
    ///
    /// # Errors
    /// When it is another.
    pub fn keep(self, found: FoundCommit) -> Result<FoundCommit, Error> {
        match self.0 {
            Some(promised) if !found.commit.starts_with(&promised) => Err(Error::BrokenPromise {
                promised,
                found: found.commit,
            }),
            _ => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_beginnings_in_either_case() {
        let found = || FoundCommit::unnamed("ab".repeat(20));
        for (promised, is_kept) in [(None, true), (Some("ABab"), true), (Some("abb"), false)] {
            let promise = Promise::parse(promised).unwrap();
            assert_eq!(promise.keep(found()).is_ok(), is_kept, "{promised:?}");
        }
        assert!(Promise::parse(Some("main")).is_err());
    }
}
