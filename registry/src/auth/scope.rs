//! What a token is good for: `repository:library/x:pull,push`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Actions by resource. Equal sets print alike, so one can be a cache key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn pull(repository: &str) -> Self {
        Self::none().with(repository, &["pull"])
    }

    pub(crate) fn push(repository: &str) -> Self {
        Self::none().with(repository, &["pull", "push"])
    }

    /// Adds actions on a repository.
    pub(crate) fn with(mut self, repository: &str, actions: &[&str]) -> Self {
        self.0
            .entry(format!("repository:{repository}"))
            .or_default()
            .extend(actions.iter().map(|&action| action.to_owned()));
        self
    }

    /// Adds what a challenge's `scope` asks for.
    pub(crate) fn union(mut self, challenge: &str) -> Self {
        for scope in challenge.split_ascii_whitespace() {
            // The resource's name may hold colons of its own (a port).
            if let Some((resource, actions)) = scope.rsplit_once(':') {
                self.0
                    .entry(resource.to_owned())
                    .or_default()
                    .extend(actions.split(',').map(str::to_owned));
            }
        }
        self
    }

    /// Says whether a token for `self` serves `wanted`.
    pub(crate) fn covers(&self, wanted: &Self) -> bool {
        wanted.0.iter().all(|(resource, actions)| {
            self.0
                .get(resource)
                .is_some_and(|ours| actions.is_subset(ours))
        })
    }

    /// Returns each scope as text, sorted.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.texts().collect();
        f.write_str(&texts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_merge_and_cover() {
        let scopes = Scopes::push("a/b").with("c", &["pull"]);
        assert_eq!(
            scopes.to_string(),
            "repository:a/b:pull,push repository:c:pull"
        );
        let asked = Scopes::none().union("repository:a/b:push,pull  repository:c:pull");
        assert_eq!(asked, scopes);
        assert!(scopes.covers(&Scopes::pull("a/b")));
        assert!(!Scopes::pull("a/b").covers(&scopes));
        assert!(!scopes.covers(&Scopes::pull("d")));
        assert!(scopes.covers(&Scopes::none()));
    }
}
