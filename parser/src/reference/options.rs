//! The query of a repository's address: `?ref=main&subdir=docs`.

use std::collections::HashSet;

use super::percent::decode;
use super::source::{GitSource, Modified, ReferenceError};
use crate::boolean;

/// Adds what a query says to what the fragment said.
pub(super) fn read(source: &mut GitSource, query: &str) -> Result<(), ReferenceError> {
    let mut seen = HashSet::new();
    let mut tag = None;
    let mut branch = None;
    for field in query.split('&').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let name = decoded(name)?;
        let value = decoded(value)?;
        if !seen.insert(name.clone()) {
            return Err(ReferenceError::MultipleValues(name));
        }
        let text = || non_empty(&value).ok_or_else(|| ReferenceError::NoValue(name.clone()));
        match &*name {
            "ref" => agree("ref", &mut source.reference, text()?)?,
            "tag" => tag = Some(qualified("refs/tags/", text()?)),
            "branch" => branch = Some(qualified("refs/heads/", text()?)),
            "commit" | "checksum" => agree("commit", &mut source.commit, text()?)?,
            "subdir" => agree("subdir", &mut source.subdirectory, text()?)?,
            "keep-git-dir" => source.keep_git_dir = Some(switch("keep-git-dir", value)?),
            "submodules" => source.submodules = Some(switch("submodules", value)?),
            "fetch-by-commit" => source.fetch_by_commit = switch("fetch-by-commit", value)?,
            "mtime" => {
                source.modified = match text()?.as_str() {
                    "checkout" => Modified::Checkout,
                    "commit" => Modified::Commit,
                    _ => {
                        let option = "mtime";
                        return Err(ReferenceError::InvalidValue { option, value });
                    }
                }
            }
            _ => return Err(ReferenceError::UnknownOption(name)),
        }
    }
    if tag.is_some() && branch.is_some() {
        return Err(ReferenceError::BranchAndTag);
    }
    if let Some(reference) = tag.or(branch) {
        agree("ref", &mut source.reference, reference)?;
    }
    if source.reference.is_none() {
        source.reference.clone_from(&source.commit);
    }
    Ok(())
}

/// Decodes a name or a value, in which a plus stands for a blank.
fn decoded(text: &str) -> Result<String, ReferenceError> {
    Ok(decode(&text.replace('+', " "))?.into_owned())
}

/// Sets what is not set yet, and refuses to set it to something else.
fn agree(
    what: &'static str,
    slot: &mut Option<String>,
    value: String,
) -> Result<(), ReferenceError> {
    match slot {
        Some(first) if *first != value => Err(ReferenceError::Conflict {
            what,
            first: first.clone(),
            second: value,
        }),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// Puts a prefix in front of a name that lacks it.
fn qualified(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) {
        name
    } else {
        format!("{prefix}{name}")
    }
}

/// Reads a switch, which is on where it has no value.
fn switch(option: &'static str, value: String) -> Result<bool, ReferenceError> {
    if value.is_empty() {
        return Ok(true);
    }
    boolean::parse(&value).ok_or(ReferenceError::InvalidValue { option, value })
}

pub(super) fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
