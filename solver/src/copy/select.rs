//! From source arguments to sources: wildcards, symbolic links, exclusions.

use kiln_files::{GuestPath, compare_paths};
use kiln_parser::{PathPatterns, SourcePattern, suggest};
use kiln_tree::Entry;

use super::argument::{Argument, Selected};
use super::choose::{Choice, Chosen, ChosenPart, choose};
use super::select_error::{CopySelectError, Suggestion};
use crate::files::{Files, follow_hard_link, links_on, resolve_in};
use crate::graph::{CopyLayout, CopyOp, CopyPart};

/// What one source argument, or one match of its wildcard, stands for.
#[derive(Clone, Debug)]
pub(crate) struct SelectedSource<'a> {
    /// The position of the argument.
    pub(crate) argument: usize,
    /// The name a file gets in a destination directory: that of the argument, not of the file a
    /// link leads to.
    pub(crate) name: Vec<u8>,
    /// Where it is, links resolved.
    pub(crate) path: GuestPath,
    /// What it is; none for the root directory.
    pub(crate) entry: Option<Entry<'a>>,
    children: SelectedChildren<'a>,
}

/// What is in a directory that is copied.
#[derive(Clone, Debug)]
enum SelectedChildren<'a> {
    /// All that is there, to be looked up when it is needed: most copies are of whole directories,
    /// and a list of a big one takes more memory than its index.
    All,
    /// What was chosen, in the order of a walk.
    These(Vec<Chosen<'a>>),
}

impl<'a> SelectedSource<'a> {
    /// Returns what is in it and copied, in the order of a walk; `files` are those that it was
    /// selected from.
    pub(crate) fn children(
        &self,
        files: &'a dyn Files,
    ) -> Box<dyn Iterator<Item = Chosen<'a>> + '_> {
        match &self.children {
            SelectedChildren::All if self.is_directory() => {
                let all = files.below(self.path.as_bytes());
                Box::new(all.map(|entry| Chosen {
                    entry,
                    part: ChosenPart::Whole,
                }))
            }
            SelectedChildren::All => Box::new(std::iter::empty()),
            SelectedChildren::These(children) => Box::new(children.iter().copied()),
        }
    }

    /// Says whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.entry.is_none_or(|entry| entry.is_directory())
    }

    /// Says whether nothing of it is copied, although it was searched.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.children, SelectedChildren::These(children) if children.is_empty())
    }
}

/// Finds what the source arguments of a part of a copy stand for, in order.
///
/// # Errors
/// When an argument without wildcards does not exist, or one is malformed.
pub(crate) fn select<'a>(
    files: &'a dyn Files,
    copy: &CopyOp,
    part: &CopyPart,
) -> Result<Vec<SelectedSource<'a>>, CopySelectError> {
    let excludes = exclude_rules(&copy.excludes)?;
    let mut selected = Vec::new();
    for (position, text) in part.paths.iter().enumerate() {
        if copy.layout == CopyLayout::InPlace {
            selected.push(in_place(files, position, &GuestPath::new(text))?);
            continue;
        }
        let argument = Argument::parse(text, copy.layout, part.wildcards)?;
        if let Some(required) = argument
            .part
            .as_ref()
            .and_then(|part| part.required.as_ref())
        {
            require(files, required)?;
        }
        for written in matches(files, &argument, text)? {
            let path = resolve_in(files, &written)?;
            let entry = files.get(path.as_bytes());
            if entry.is_none() && !path.is_root() {
                return Err(missing(files, &written));
            }
            let is_directory = entry.is_none_or(|entry| entry.is_directory());
            let children = match (&argument.part, &excludes) {
                (None, None) => SelectedChildren::All,
                (part, exclude) if is_directory => {
                    let choice = Choice {
                        include: part.as_ref().map(|part| &part.patterns),
                        exclude: exclude.as_ref(),
                        within: part.as_ref().map_or("", |part| part.within.as_str()),
                    };
                    SelectedChildren::These(choose(files, &path, choice))
                }
                _ => SelectedChildren::All,
            };
            selected.push(SelectedSource {
                argument: position,
                name: written.name().to_vec(),
                path,
                entry: entry.map(|entry| follow_hard_link(files, entry)),
                children,
            });
        }
    }
    Ok(selected)
}

/// Returns an error if nothing is at a path; the last component may be a link to nowhere.
fn require(files: &dyn Files, path: &GuestPath) -> Result<(), CopySelectError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let path_there = resolve_in(files, &parent)?.join(path.name());
    match files.get(path_there.as_bytes()) {
        Some(_) => Ok(()),
        None => Err(missing(files, path)),
    }
}

/// Returns the error for a path that nothing is at.
pub(super) fn missing(files: &dyn Files, path: &GuestPath) -> CopySelectError {
    let meant = if files.is_ignored(path) {
        Suggestion::Ignored
    } else {
        similar(files, path)
            .map(Suggestion::Similar)
            .or_else(|| link_target(files, path))
            .unwrap_or(Suggestion::Unknown)
    };
    CopySelectError::Missing {
        path: path.clone(),
        meant,
    }
}

/// Returns where a path leads that goes over a link.
fn link_target(files: &dyn Files, path: &GuestPath) -> Option<Suggestion> {
    let (links, target) = links_on(files, path).ok()?;
    Some(Suggestion::LinkTarget {
        link: links.first()?.to_string(),
        target: target.to_string(),
    })
}

/// Bytes of names for which similar ones are looked for.
const SHORTEST: usize = 4;

fn similar(files: &dyn Files, path: &GuestPath) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let parent = path.parent()?;
    let directory = resolve_in(files, &parent).ok()?;
    let names = files.unread_names(directory.as_bytes());
    let wanted = text(path.name());
    let names: Vec<String> = names.iter().map(|name| text(name)).collect();
    // What is wrong with a name that is there is not how it is written.
    if names.contains(&wanted) {
        return None;
    }
    let found = names.iter().find(|name| name.eq_ignore_ascii_case(&wanted));
    let found = match found {
        Some(name) => name,
        // Short names are a few edits away from all others.
        None if wanted.len() < SHORTEST => return None,
        None => suggest(&wanted, names.iter().map(String::as_str))?,
    };
    let similar = parent.join(found.as_bytes()).to_string();
    Some(similar.trim_start_matches('/').to_owned())
}

/// Selects of the root what is at a path and leads to it.
fn in_place<'a>(
    files: &'a dyn Files,
    argument: usize,
    written: &GuestPath,
) -> Result<SelectedSource<'a>, CopySelectError> {
    let root = |children| SelectedSource {
        argument,
        name: Vec::new(),
        path: GuestPath::ROOT,
        entry: None,
        children,
    };
    if written.is_root() {
        return Ok(root(SelectedChildren::All));
    }
    let (links, path) = links_on(files, written)?;
    let there = files.get(path.as_bytes());
    if there.is_none() && !path.is_root() {
        return Err(missing(files, written));
    }
    let whole = |entry| Chosen {
        entry,
        part: ChosenPart::Whole,
    };
    let links = links.iter().chain([&path]);
    let mut chosen: Vec<Chosen<'a>> = links
        .flat_map(|path| path.ancestors().into_iter().chain([path.clone()]))
        .filter_map(|path| files.get(path.as_bytes()))
        .chain(files.below(path.as_bytes()))
        .map(whole)
        .collect();
    chosen.sort_by(|a, b| compare_paths(a.entry.path, b.entry.path));
    chosen.dedup_by(|a, b| a.entry.path == b.entry.path);
    Ok(root(SelectedChildren::These(chosen)))
}

/// Returns the paths that an argument means, in the order of a walk.
fn matches(
    files: &dyn Files,
    argument: &Argument,
    text: &str,
) -> Result<Vec<GuestPath>, CopySelectError> {
    let base = GuestPath::new(argument.source.base());
    let has_pattern = argument.source.depth() > 0;
    if !has_pattern && argument.part.is_none() {
        return Ok(vec![base]);
    }
    let directory = resolve_in(files, &base)?;
    if files.get(directory.as_bytes()).is_none() && !directory.is_root() {
        return Err(CopySelectError::NoDirectory(directory));
    }
    let mut found = Vec::new();
    if has_pattern {
        expand(files, &argument.source, 0, &directory, &mut found);
    } else {
        found.push(directory.clone());
    }
    if has_pattern && argument.part.is_some() {
        // In front of `/./` only what is sent for the sake of what is behind it can match.
        found.retain(|path| files.is_sent(path));
    }
    let finds_nothing = match &argument.part {
        Some(Selected {
            patterns, within, ..
        }) if !has_pattern && !directory.is_root() => {
            let choice = Choice {
                include: Some(patterns),
                exclude: None,
                within,
            };
            choose(files, &directory, choice).is_empty()
        }
        _ => found.is_empty(),
    };
    if finds_nothing && !files.is_sent(&directory) {
        return Err(CopySelectError::NoMatch {
            directory,
            argument: text.to_owned(),
        });
    }
    Ok(found)
}

/// Adds what matches a pattern from a depth on. Links are not followed, and a match is not searched
/// for further ones.
fn expand(
    files: &dyn Files,
    pattern: &SourcePattern,
    depth: usize,
    directory: &GuestPath,
    found: &mut Vec<GuestPath>,
) {
    for name in files.names(directory.as_bytes()) {
        if !pattern.matches_at(depth, &String::from_utf8_lossy(&name)) {
            continue;
        }
        let path = directory.join(&name);
        if depth + 1 == pattern.depth() {
            found.push(path);
        } else if files
            .get(path.as_bytes())
            .is_some_and(|entry| entry.is_directory())
        {
            expand(files, pattern, depth + 1, &path, found);
        }
    }
}

fn exclude_rules(patterns: &[String]) -> Result<Option<PathPatterns>, CopySelectError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    PathPatterns::new(patterns.iter().map(String::as_str))
        .map(Some)
        .map_err(|error| CopySelectError::Exclude(error.to_string()))
}
