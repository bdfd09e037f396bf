//! What a source argument says, before anything is looked up.

use kiln_files::GuestPath;
use kiln_parser::{PathPatterns, PatternError, SourcePattern, clean, has_wildcards};

use super::choose::plain_beginning;
use super::select_error::CopySelectError;
use crate::graph::{CopyLayout, Wildcards};

/// A source argument.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    /// The file or directory, or several.
    pub(crate) source: SourcePattern,
    /// What is copied of it, if not all.
    pub(crate) part: Option<Selected>,
}

/// What `--parents` takes of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    pub(crate) patterns: PathPatterns,
    /// The beginning of the pattern that has no wildcards.
    pub(crate) within: String,
    /// What there must be, if there are no wildcards anywhere.
    pub(crate) required: Option<GuestPath>,
}

impl Argument {
    /// Takes an argument as the Dockerfile has it, variables expanded.
    pub(crate) fn parse(
        text: &str,
        layout: CopyLayout,
        wildcards: Wildcards,
    ) -> Result<Self, CopySelectError> {
        let source = |path: &str| match wildcards {
            Wildcards::Expanded => {
                SourcePattern::parse(path).map_err(|_| CopySelectError::Pattern(text.to_owned()))
            }
            Wildcards::Literal => Ok(SourcePattern::literal(path)),
        };
        if layout != CopyLayout::Parents {
            let part = None;
            return Ok(Self {
                source: source(text)?,
                part,
            });
        }
        // What stands in front of `/./` is not reproduced.
        let (base, pattern) = text.split_once("/./").unwrap_or(("", text));
        let pattern = clean(&format!("/{pattern}"));
        let pattern = pattern.trim_start_matches('/');
        let patterns = PathPatterns::new([pattern]).map_err(|error| match error {
            PatternError::LoneExclamationMark | PatternError::TooLong => {
                CopySelectError::Pattern(format!("{text}: {error}"))
            }
            PatternError::Pattern(_) => CopySelectError::Pattern(text.to_owned()),
        })?;
        let is_plain = !has_wildcards(base) && !has_wildcards(pattern);
        Ok(Self {
            source: source(base)?,
            part: Some(Selected {
                patterns,
                within: plain_beginning(pattern),
                required: is_plain.then(|| GuestPath::new(base).join(pattern)),
            }),
        })
    }

    /// Returns the path that everything is at or below.
    pub(crate) fn beginning(&self) -> GuestPath {
        let base = GuestPath::new(self.source.base());
        match &self.part {
            Some(part) if self.source.depth() == 0 => base.join(&*part.within),
            _ => base,
        }
    }
}
