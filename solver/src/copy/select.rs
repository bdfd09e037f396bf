//! From source arguments to sources: wildcards, symbolic links, exclusions.

use kiln_cache::{Blake3, Encoder, Entry, GuestPath, Kind};
use kiln_parser::{IgnoreRules, glob_match, has_wildcards};

use crate::files::{Files, LinkLoop, follow_hard_link, resolve_in};
use crate::graph::{Copy, CopyPart};

/// What one source argument, or one match of its wildcard, stands for.
#[derive(Clone, Debug)]
pub(crate) struct Selection<'a> {
    /// The name a file gets in a destination directory: that of the argument, not of the file a
    /// link leads to.
    pub(crate) name: Vec<u8>,
    /// With `--parents`: the path in front of `/./`.
    pub(crate) pivot: GuestPath,
    /// With `--parents`: the path to be reproduced, from the pivot on.
    pub(crate) reproduced: GuestPath,
    /// Where it is, links resolved.
    pub(crate) path: GuestPath,
    /// What it is; none for the root directory.
    pub(crate) entry: Option<Entry<'a>>,
    children: Children<'a>,
}

/// What is in a directory that is copied.
#[derive(Clone, Debug)]
enum Children<'a> {
    /// All that is there, to be looked up when it is needed: most copies are of whole directories,
    /// and a list of a big one takes more memory than its index.
    All,
    /// What is not excluded, in the order of a walk.
    These(Vec<Entry<'a>>),
}

impl<'a> Selection<'a> {
    /// Returns what is in it and not excluded, in the order of a walk; `files` are those that it
    /// was selected from.
    pub(crate) fn children(
        &self,
        files: &'a dyn Files,
    ) -> Box<dyn Iterator<Item = Entry<'a>> + '_> {
        match &self.children {
            Children::All if self.is_directory() => files.below(self.path.as_bytes()),
            Children::All => Box::new(std::iter::empty()),
            Children::These(children) => Box::new(children.iter().copied()),
        }
    }

    /// Says whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.entry.is_none_or(|entry| entry.is_directory())
    }
}

/// Why a source argument stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// There is no such file.
    #[error("failed to compute cache key: failed to calculate checksum: {:?}: not found", .0.to_string())]
    Missing(GuestPath),
    /// Links lead in a circle.
    #[error(transparent)]
    Loop(#[from] LinkLoop),
    /// The wildcard is malformed.
    #[error("invalid wildcard {0:?}: syntax error in pattern")]
    Pattern(String),
    /// An `--exclude` pattern is malformed.
    #[error("invalid --exclude pattern: {0}")]
    Exclude(String),
}

/// Finds what the source arguments of a part of a copy stand for, in order.
///
/// # Errors
/// When an argument without wildcards does not exist, or one is malformed.
pub(crate) fn select<'a>(
    files: &'a dyn Files,
    copy: &Copy,
    part: &CopyPart,
) -> Result<Vec<Selection<'a>>, SelectError> {
    let excludes = exclude_rules(&copy.excludes)?;
    let mut selected = Vec::new();
    for argument in &part.paths {
        let (base, argument) = match (copy.parents, argument.split_once("/./")) {
            (true, Some((base, rest))) => (GuestPath::new(base), rest),
            _ => (GuestPath::ROOT, argument.as_str()),
        };
        let matches = match has_wildcards(argument) {
            true => expand(files, &base, argument, copy.parents)?,
            false => vec![base.join(argument.trim_start_matches('/'))],
        };
        for written in matches {
            let path = resolve_in(files, &written)?;
            let entry = files.get(path.as_bytes());
            if entry.is_none() && !path.is_root() {
                return Err(SelectError::Missing(written));
            }
            let children = match &excludes {
                Some(rules) if entry.is_none_or(|entry| entry.is_directory()) => {
                    Children::These(not_excluded(files, &path, rules))
                }
                _ => Children::All,
            };
            selected.push(Selection {
                name: written.name().to_vec(),
                reproduced: written.strip_prefix(&base).unwrap_or(written),
                pivot: base.clone(),
                path,
                entry: entry.map(|entry| follow_hard_link(files, entry)),
                children,
            });
        }
    }
    Ok(selected)
}

/// Returns the digest of what a copy reads: everything that decides what it writes, except
/// modification times.
pub(crate) fn digest<'a>(files: &'a dyn Files, copy: &Copy, selected: &[Selection<'a>]) -> Blake3 {
    let mut encoder = Encoder::new("kiln.selection.3");
    encoder.number(selected.len() as u64);
    for selection in selected {
        if copy.parents {
            encoder.value(&selection.reproduced);
            for parent in selection.reproduced.ancestors() {
                // Their owners and modes are copied too.
                let path = selection.pivot.join(parent.as_bytes());
                if let Some(entry) = files.get(path.as_bytes()) {
                    encode_node(&mut encoder, files, entry);
                }
            }
        }
        if selection.is_directory() {
            encoder.text("directory");
            if let (true, Some(entry)) = (copy.parents, selection.entry) {
                encode_node(&mut encoder, files, entry);
            }
            let start = match selection.path.is_root() {
                true => 0,
                false => selection.path.as_bytes().len() + 1,
            };
            for child in selection.children(files) {
                encoder.text("child").bytes(&child.path[start..]);
                encode_node(&mut encoder, files, child);
                if let Kind::HardLink { target } = child.kind {
                    encode_first_name(&mut encoder, selected, target);
                }
            }
            encoder.text("end");
        } else if let Some(entry) = selection.entry {
            encoder.text("file").bytes(&selection.name);
            encode_node(&mut encoder, files, entry);
        }
    }
    encoder.finish()
}

/// Two names of one file are copied as two names of one file, and two equal files as two: which
/// it is has to be told by the name that comes first, in terms of what is copied.
fn encode_first_name(encoder: &mut Encoder, selected: &[Selection<'_>], target: &[u8]) {
    let within = selected
        .iter()
        .enumerate()
        .find_map(|(position, selection)| {
            let path = selection.path.as_bytes();
            let inside = match path {
                b"" => target,
                _ => target.strip_prefix(path)?.strip_prefix(b"/")?,
            };
            selection.is_directory().then_some((position, inside))
        });
    match within {
        Some((position, inside)) => encoder
            .text("further name inside")
            .number(position as u64)
            .bytes(inside),
        None => encoder.text("further name").bytes(target),
    };
}

fn encode_node(encoder: &mut Encoder, files: &dyn Files, entry: Entry<'_>) {
    let entry = follow_hard_link(files, entry);
    encoder
        .number(u64::from(entry.mode))
        .number(u64::from(entry.uid))
        .number(u64::from(entry.gid));
    match entry.kind {
        Kind::File { size, hash } => encoder.text("file").number(size).value(&hash),
        Kind::HardLink { target } => encoder.text("link").bytes(target),
        Kind::Directory { .. } => encoder.text("directory"),
        Kind::Symlink { target } => encoder.text("symlink").bytes(target),
        Kind::CharDevice(device) => encoder
            .text("char")
            .number(u64::from(device.major))
            .number(u64::from(device.minor)),
        Kind::BlockDevice(device) => encoder
            .text("block")
            .number(u64::from(device.major))
            .number(u64::from(device.minor)),
        Kind::Fifo => encoder.text("fifo"),
        Kind::Whiteout => encoder.text("whiteout"),
    };
    encoder.number(entry.xattrs.iter().count() as u64);
    for (name, value) in entry.xattrs.iter() {
        encoder.bytes(name).bytes(value);
    }
}

/// Returns the digest of what is at a path, links followed: everything that a command can see of
/// it, except modification times.
pub(crate) fn digest_at(files: &dyn Files, written: &GuestPath) -> Result<Blake3, SelectError> {
    let path = resolve_in(files, written)?;
    let mut encoder = Encoder::new("kiln.part.3");
    match files.get(path.as_bytes()) {
        None if !path.is_root() => return Err(SelectError::Missing(written.clone())),
        None => {}
        Some(entry) => encode_node(&mut encoder, files, entry),
    }
    for child in files.below(path.as_bytes()) {
        encoder.bytes(&child.path[path.as_bytes().len()..]);
        encode_node(&mut encoder, files, child);
        if let Kind::HardLink { target } = child.kind {
            let inside = target.strip_prefix(path.as_bytes()).unwrap_or(target);
            encoder.text("further name").bytes(inside);
        }
    }
    Ok(encoder.finish())
}

/// Returns the directories that a scan of a context must cover for a part of a copy.
pub(crate) fn wanted(part: &CopyPart) -> Vec<GuestPath> {
    part.paths
        .iter()
        .map(|argument| {
            let plain: Vec<&str> = argument
                .split('/')
                .take_while(|component| !has_wildcards(component))
                .collect();
            GuestPath::new(plain.join("/"))
        })
        .collect()
}

fn exclude_rules(patterns: &[String]) -> Result<Option<IgnoreRules>, SelectError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    IgnoreRules::from_patterns(patterns.iter().map(String::as_str))
        .map(Some)
        .map_err(|error| SelectError::Exclude(error.to_string()))
}

/// Returns what is in a directory without what the rules exclude.
fn not_excluded<'a>(
    files: &'a dyn Files,
    directory: &GuestPath,
    rules: &IgnoreRules,
) -> Vec<Entry<'a>> {
    let start = match directory.is_root() {
        true => 0,
        false => directory.as_bytes().len() + 1,
    };
    let mut kept: Vec<Entry<'a>> = Vec::new();
    // Directories that are excluded themselves, kept only if something below them is.
    let mut open: Vec<Entry<'a>> = Vec::new();
    for entry in files.below(directory.as_bytes()) {
        open.retain(|directory| {
            entry.path.starts_with(directory.path)
                && entry.path.get(directory.path.len()) == Some(&b'/')
        });
        let relative = String::from_utf8_lossy(&entry.path[start..]);
        match rules.is_ignored(&relative) {
            false => {
                kept.append(&mut open);
                kept.push(entry);
            }
            true if entry.is_directory() => open.push(entry),
            true => {}
        }
    }
    kept
}

/// Whether a component matches, and how.
enum Component<'p> {
    Literal(&'p str),
    Pattern(&'p str),
    /// `**` of `--parents`: any number of directories.
    AnyDepth,
}

/// Returns the paths that a wildcard argument matches, in the order of a walk.
fn expand(
    files: &dyn Files,
    base: &GuestPath,
    argument: &str,
    recursive: bool,
) -> Result<Vec<GuestPath>, SelectError> {
    let mut start = base.clone();
    let mut components = Vec::new();
    for text in argument.split('/') {
        let component = match text {
            "" | "." => continue,
            "**" if recursive => Component::AnyDepth,
            text if has_wildcards(text) => Component::Pattern(text),
            text => Component::Literal(text),
        };
        match component {
            Component::Literal(text) if components.is_empty() => start = start.join(text),
            component => components.push(component),
        }
    }
    let mut found = Vec::new();
    descend(files, &start, &components, &mut found)?;
    found.sort();
    found.dedup();
    Ok(found)
}

fn descend(
    files: &dyn Files,
    directory: &GuestPath,
    components: &[Component<'_>],
    found: &mut Vec<GuestPath>,
) -> Result<(), SelectError> {
    let Some((first, rest)) = components.split_first() else {
        found.push(directory.clone());
        return Ok(());
    };
    let resolved = resolve_in(files, directory)?;
    match first {
        Component::Literal(name) => {
            let next = directory.join(name);
            let target = resolve_in(files, &next)?;
            if files.get(target.as_bytes()).is_some() {
                descend(files, &next, rest, found)?;
            }
        }
        Component::Pattern(pattern) => {
            for name in files.names(resolved.as_bytes()) {
                let text = String::from_utf8_lossy(&name);
                let matches = glob_match(pattern, &text)
                    .map_err(|_| SelectError::Pattern((*pattern).to_owned()))?;
                if matches {
                    descend(files, &directory.join(&name), rest, found)?;
                }
            }
        }
        Component::AnyDepth => {
            descend(files, directory, rest, found)?;
            for name in files.names(resolved.as_bytes()) {
                let next = directory.join(&name);
                let is_directory = files
                    .get(resolved.join(&name).as_bytes())
                    .is_some_and(|entry| entry.is_directory());
                if is_directory {
                    descend(files, &next, components, found)?;
                }
            }
        }
    }
    Ok(())
}
