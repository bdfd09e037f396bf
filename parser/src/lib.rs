//! Dockerfile text in; syntax tree and diagnostics out.
//!
//! [`parse`] never fails: what it cannot understand becomes a [`Diagnostic`], and it goes on with
//! the next instruction. Beside the grammar live the small languages inside it: variable
//! expansion, mount options, ports, modes, ignore patterns, path patterns, lint rules.
//!
//! The parser does no I/O. It knows no images, no platforms and no build context, and it resolves
//! nothing: words come out as they were written, and whoever knows the variables calls [`expand`].

// What comes out: the tree, its places in the text, and what is wrong with them.
mod ast;
mod diagnostic;
mod span;

// From bytes to lines: physical ones, then logical ones with a map back to the source.
mod directives;
mod lines;
mod logical;

// Inside one logical line.
mod flags;
mod heredoc;
mod json;
mod words;

// From lines to instructions, and from all of them to a file.
mod instruction;
mod parse;
mod program;

// Variables, and the patterns of `${name#pattern}`.
mod expand;
mod shell_pattern;

// Values after expansion.
pub mod chmod;
pub mod duration;
pub mod expose;
pub mod mount;
pub mod signal;

// Paths: patterns, ignore files, the sources of COPY; and what is fetched instead of read.
mod clean;
mod glob;
mod ignore;
mod patterns;
mod reference;
mod sources;

// Advice, and text for people.
mod boolean;
mod excerpt;
pub mod lint;
mod print;
mod quote;
mod suggest;

pub use ast::{
    Add, Arg, CommandLine, Copy, Directives, Dockerfile, From, Healthcheck, Heredoc, Instruction,
    InstructionKind, MountFlag, Onbuild, Pairs, Run, Site, Source, Stage, Text, description,
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
