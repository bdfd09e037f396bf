//! From names to commits.

use crate::error::Error;
use crate::found::{FoundCommit, NamedObject};
use crate::program::{Git, GitReach};

impl Git<'_> {
    /// Asks the remote what a reference stands for; none means its default branch. A whole commit
    /// stands for itself, and the remote is not asked. Returns none if the remote has no such name,
    /// but it may be the beginning of a commit's.
    ///
    /// # Errors
    /// When the remote cannot be asked, or has no such name.
    pub fn find(&self, reference: Option<&str>) -> Result<Option<FoundCommit>, Error> {
        if let Some(reference) = reference
            && is_commit(reference)
        {
            return Ok(Some(FoundCommit::unnamed(reference.to_lowercase())));
        }
        let pattern = reference.unwrap_or("HEAD");
        let peeled = format!("{pattern}^{{}}");
        let arguments = ["ls-remote", "--", self.remote(), pattern, &peeled];
        let listed = self.run(None, GitReach::Network, arguments)?;
        let listed = String::from_utf8_lossy(&listed);
        match choose(&listed, pattern) {
            Some(found) => Ok(Some(found)),
            None if is_abbreviated(pattern) => Ok(None),
            None => Err(self.unknown(pattern)),
        }
    }

    /// Returns what is said of a reference that leads nowhere.
    #[must_use]
    pub fn unknown(&self, reference: &str) -> Error {
        let remote = self.shown().to_owned();
        match reference {
            "HEAD" => Error::NoDefaultBranch(remote),
            _ => Error::UnknownReference {
                remote,
                reference: reference.to_owned(),
            },
        }
    }
}

/// Chooses among the lines of `ls-remote`: a name written out, then a branch, then a tag. Of an
/// annotated tag, the commit counts.
// BuildKit: source/git/source.go, resolveMetadata.
fn choose(listed: &str, reference: &str) -> Option<FoundCommit> {
    let lines: Vec<(&str, &str)> = listed
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(object, _)| is_commit(object))
        .collect();
    let object = |name: &str| lines.iter().find(|(_, n)| *n == name).map(|(o, _)| *o);
    if reference == "HEAD" {
        let commit = object("HEAD")?.to_owned();
        return Some(FoundCommit::unnamed(commit));
    }
    let short = reference.strip_prefix("refs/").unwrap_or(reference);
    let names = [
        format!("refs/{short}"),
        format!("refs/heads/{short}"),
        format!("refs/tags/{short}"),
    ];
    names.into_iter().find_map(|name| {
        let named = object(&name)?.to_owned();
        let commit = object(&format!("{name}^{{}}")).unwrap_or(&named).to_owned();
        Some(FoundCommit {
            commit,
            name: Some(NamedObject {
                name,
                object: named,
            }),
        })
    })
}

/// Returns whether a text is the whole name of an object: SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether a text may be the beginning of one; git takes four digits and more.
fn is_abbreviated(text: &str) -> bool {
    (4..64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_go_before_tags_and_tags_are_peeled() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|digit| digit.repeat(40));
        let listed = format!(
            "{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/heads/v1\n{c}\trefs/tags/v1\n\
             {c}\trefs/tags/v2\n{d}\trefs/tags/v2^{{}}\n{d}\trefs/pull/1/head\n{b}\trefs/heads/x/main\n"
        );
        let commit = |reference| choose(&listed, reference).map(|found| found.commit);
        assert_eq!(commit("HEAD"), Some(a.clone()));
        assert_eq!(commit("main"), Some(a.clone()));
        assert_eq!(commit("refs/heads/main"), Some(a));
        assert_eq!(commit("v1"), Some(b));
        assert_eq!(commit("refs/tags/v1"), Some(c.clone()));
        assert_eq!(commit("tags/v1"), Some(c.clone()));
        assert_eq!(commit("refs/pull/1/head"), Some(d.clone()));
        assert_eq!(commit("nothing"), None);
        let tag = choose(&listed, "v2").unwrap();
        assert_eq!(tag.commit, d);
        assert_eq!(tag.called(), "refs/tags/v2");
        assert_eq!(tag.name.unwrap().object, c);
    }

    #[test]
    fn commits_are_told_by_their_length() {
        assert!(is_commit(&"aB".repeat(20)) && is_commit(&"0".repeat(64)));
        assert!(!is_commit(&"a".repeat(39)) && !is_commit(&"g".repeat(40)));
        assert!(is_abbreviated("abcd") && !is_abbreviated("abc") && !is_abbreviated("main"));
    }
}
