//! Dockerfile text in; syntax tree and diagnostics out.
//!
//! [`parse`] never fails: what it cannot understand becomes a [`Diagnostic`], and it goes on with
//! the next instruction. Beside the grammar live the small languages inside it: variable
//! expansion, mount options, ports, modes, ignore patterns, path patterns, lint rules.
//!
//! The parser does no I/O. It knows no images, no platforms and no build context, and it resolves
//! nothing: words come out as they were written. The planner, which knows the variables, calls
//! [`expand`].

// The result: the tree, its places in the text, and what is wrong with them.
mod ast; // the syntax tree
mod diagnostic; // findings about the source text
mod span; // places in the source text

// From bytes to lines.
mod directives; // `# name=value` at the top: syntax, escape, check
mod lines; // the file cut into physical lines
mod logical; // continuations joined, each character traceable to its source

// Inside one logical line.
mod flags; // `--name=value` before the arguments
mod heredoc; // `<<EOF`, and the bodies that follow the line
mod json; // `["a", "b"]`
mod words; // arguments cut at blanks

// From lines to instructions, and from all of them to a file.
mod instruction; // one logical line to one instruction
mod parse; // a whole file to a tree and its diagnostics
mod program; // what a RUN executes, with its heredocs

// Variables.
mod expand; // `$name`, `${name:-word}`, quotes and escapes
mod shell_pattern; // the patterns of `${name#pattern}`

// Values after expansion.
mod boolean; // yes or no
pub mod chmod; // file modes, of `--chmod`
pub mod duration; // `1h30m`, of HEALTHCHECK
pub mod expose; // ports
pub mod mount; // `RUN --mount`
pub mod signal; // STOPSIGNAL

// Paths, and what is fetched instead of read.
mod clean; // `a/./b/../c` to `a/c`
mod glob; // `*`, `?`, `[a-z]`, `**` in one path
mod ignore; // .dockerignore: paths that do not exist for the build
mod patterns; // several patterns in order, with exceptions
mod reference; // URLs and repositories
mod sources; // the sources of COPY and ADD

// Text for people.
mod excerpt; // the lines that a message is about
pub mod lint; // rules that need the tree alone
mod print; // a tree back to Dockerfile text
mod quote; // strings in error messages
mod suggest; // "did you mean"

pub use ast::{
    Add, Arg, CommandLine, Copy, CopyFlags, Directives, Dockerfile, From, Healthcheck, Heredoc,
    Instruction, InstructionKind, MountFlag, Onbuild, Pairs, Run, Site, Source, Stage, Text,
    description,
};
pub use boolean::parse as parse_bool;
pub use clean::clean;
pub use diagnostic::{Diagnostic, Label, Origin, Severity};
pub use directives::{is_builtin_syntax, syntax_image};
pub use excerpt::excerpt;
pub use expand::{ExpandError, Expansion, Quoting, expand};
pub use glob::{BadPattern, glob_match, has_wildcards};
pub use ignore::{IgnoreRules, Verdict, WalkState};
pub use lint::lint;
pub use parse::{Parsed, parse, parse_instruction};
pub use patterns::{MatchState, PathPatterns, PatternError};
pub use print::to_source;
pub use program::Program;
pub use quote::quote;
pub use reference::{
    Address, GitSource, Modified, ReferenceError, RemoteSource, SourcePlace, download_name,
    mask_logins, mask_logins_in, remote_source, without_logins,
};
pub use sources::SourcePattern;
pub use span::{LineIndex, Span};
pub use suggest::{hint, suggest};
