//! What of a context BuildKit would send: what instructions name, and where links lead from there.
//!
//! kiln sends nothing, but what is not sent shows: where a wildcard matches nothing, whether the
//! directory that it stands in is there decides between an empty copy and an error.

use std::collections::BTreeSet;

use kiln_files::GuestPath;
use kiln_parser::{PathPatterns, clean, glob_match, has_wildcards};
use kiln_tree::NodeKind;

use crate::copy::{Choice, choose};
use crate::files::Files;

/// Says whether anything at a path, or below it, is sent for one of these arguments.
pub(crate) fn is_sent<'r>(
    files: &dyn Files,
    arguments: impl Iterator<Item = &'r str>,
    path: &GuestPath,
) -> bool {
    let mut names = SentNames {
        files,
        sent: BTreeSet::new(),
    };
    for argument in arguments {
        names.follow(&clean(&format!("/{argument}"))[1..]);
    }
    if path.is_root() || names.sent.contains("") {
        return true;
    }
    let Ok(patterns) = PathPatterns::new(names.sent.iter().map(String::as_str)) else {
        return true;
    };
    let choice = Choice {
        include: Some(&patterns),
        exclude: None,
        within: &String::from_utf8_lossy(path.as_bytes()),
    };
    !choose(files, &GuestPath::ROOT, choice).is_empty()
}

/// What is sent, as patterns.
struct SentNames<'a> {
    files: &'a dyn Files,
    sent: BTreeSet<String>,
}

impl SentNames<'_> {
    /// Adds what is sent for an argument: the first component that is a link, or a wildcard that
    /// matches links, with all that is in it; and likewise what the rest names where those lead. A
    /// circle of links ends the search: its links are noted already.
    fn follow(&mut self, argument: &str) {
        let mut waiting = vec![argument.to_owned()];
        while let Some(path) = waiting.pop() {
            let ends = path.match_indices('/').map(|(end, _)| end);
            let first = ends.chain([path.len()]).find_map(|end| {
                let targets = self.targets(&path[..end]);
                (!targets.is_empty()).then_some((end, targets))
            });
            let Some((end, targets)) = first else {
                self.sent.insert(path);
                continue;
            };
            if self.sent.insert(path[..end].to_owned()) {
                let rest = &path[end..];
                let led = targets
                    .iter()
                    .map(|target| clean(&format!("/{target}{rest}"))[1..].to_owned());
                waiting.extend(led);
            }
        }
    }

    /// Returns where the links lead that a path is, or that the wildcard at its end matches. In
    /// front of that, a wildcard is a name like others: BuildKit looks no further.
    fn targets(&self, path: &str) -> Vec<String> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = GuestPath::new(directory);
        if !has_wildcards(name) {
            return self.target(&directory, name).into_iter().collect();
        }
        let names = self.files.names(directory.as_bytes()).into_iter();
        names
            .map(|found| String::from_utf8_lossy(&found).into_owned())
            .filter(|found| glob_match(name, found).unwrap_or(false))
            .filter_map(|found| self.target(&directory, &found))
            .collect()
    }

    fn target(&self, directory: &GuestPath, name: &str) -> Option<String> {
        let link = self.files.get(directory.join(name).as_bytes())?;
        let NodeKind::Symlink { target } = link.kind else {
            return None;
        };
        let target = String::from_utf8_lossy(target);
        Some(if target.starts_with('/') {
            target.into_owned()
        } else {
            format!("{}/{target}", String::from_utf8_lossy(directory.as_bytes()))
        })
    }
}
