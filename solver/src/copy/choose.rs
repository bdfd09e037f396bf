//! What is copied of a directory: `--exclude`, and the patterns of `--parents`.

use kiln_files::GuestPath;
use kiln_parser::{MatchState, PathPatterns, has_wildcards};
use kiln_tree::Entry;

use crate::files::Files;

/// Something in a directory that is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen<'a> {
    pub(crate) entry: Entry<'a>,
    pub(crate) part: ChosenPart,
}

/// How much of something is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChosenPart {
    /// It was chosen itself.
    Whole,
    /// A directory that was not, but something in it was.
    OnTheWay,
}

/// Which of the files in a directory are copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'p> {
    /// Only these; all if there is none.
    pub(crate) include: Option<&'p PathPatterns>,
    /// But not these.
    pub(crate) exclude: Option<&'p PathPatterns>,
    /// A path that everything chosen is at, above or below.
    pub(crate) within: &'p str,
}

/// Returns what is chosen of a directory, in the order of a walk.
///
/// As in BuildKit each directory hands down what matched it, and links are not followed.
pub(crate) fn choose<'a>(
    files: &'a dyn Files,
    directory: &GuestPath,
    choice: Choice<'_>,
) -> Vec<Chosen<'a>> {
    let mut walk = ChoiceWalk {
        choice,
        root: DirectoryMatches {
            include: choice.include.map(PathPatterns::state_for_root),
            exclude: choice.exclude.map(PathPatterns::state_for_root),
        },
        inside: Vec::new(),
        chosen: Vec::new(),
    };
    let mut start = directory.clone();
    for name in choice.within.split('/').filter(|name| !name.is_empty()) {
        start = start.join(name);
        let Some(entry) = files.get(start.as_bytes()) else {
            return Vec::new();
        };
        walk.meet(entry);
    }
    for entry in files.below(start.as_bytes()) {
        walk.meet(entry);
    }
    walk.chosen
}

/// Returns the beginning of a pattern that names directories: what it matches is at or below that.
pub(crate) fn plain_beginning(pattern: &str) -> String {
    let is_plain = |name: &&str| !has_wildcards(name) && !name.contains('\\');
    let names: Vec<&str> = pattern.split('/').take_while(is_plain).collect();
    names.join("/")
}

struct ChoiceWalk<'a, 'p> {
    choice: Choice<'p>,
    root: DirectoryMatches,
    /// The directories around what comes next.
    inside: Vec<Directory<'a>>,
    chosen: Vec<Chosen<'a>>,
}

struct Directory<'a> {
    entry: Entry<'a>,
    state: DirectoryMatches,
    is_chosen: bool,
}

/// What the patterns say of a directory.
struct DirectoryMatches {
    include: Option<MatchState>,
    exclude: Option<MatchState>,
}

impl<'a> ChoiceWalk<'a, '_> {
    fn meet(&mut self, entry: Entry<'a>) {
        let is_inside = |directory: &Directory<'_>| {
            entry
                .path
                .strip_prefix(directory.entry.path)
                .is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        while self.inside.last().is_some_and(|last| !is_inside(last)) {
            self.inside.pop();
        }
        let above = self.inside.last().map_or(&self.root, |last| &last.state);
        let start = entry.path.iter().rposition(|&byte| byte == b'/');
        let name = String::from_utf8_lossy(&entry.path[start.map_or(0, |at| at + 1)..]);
        let (is_included, include) = decide(self.choice.include, above.include.as_ref(), &name);
        let (is_excluded, exclude) = decide(self.choice.exclude, above.exclude.as_ref(), &name);
        let is_chosen = is_included.unwrap_or(true) && !is_excluded.unwrap_or(false);
        if is_chosen {
            for directory in &mut self.inside {
                if !std::mem::replace(&mut directory.is_chosen, true) {
                    self.chosen.push(Chosen {
                        entry: directory.entry,
                        part: ChosenPart::OnTheWay,
                    });
                }
            }
            self.chosen.push(Chosen {
                entry,
                part: ChosenPart::Whole,
            });
        }
        if entry.is_directory() {
            self.inside.push(Directory {
                entry,
                state: DirectoryMatches { include, exclude },
                is_chosen,
            });
        }
    }
}

/// Says whether patterns match a directory's entry, and what they say of what is in it. None
/// without patterns.
fn decide(
    patterns: Option<&PathPatterns>,
    above: Option<&MatchState>,
    name: &str,
) -> (Option<bool>, Option<MatchState>) {
    match (patterns, above) {
        (Some(patterns), Some(above)) => {
            let (matches, state) = patterns.child(above, name);
            (Some(matches), Some(state))
        }
        _ => (None, None),
    }
}
