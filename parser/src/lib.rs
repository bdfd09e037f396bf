//! Dockerfile text in; syntax tree and diagnostics out.
//!
//! [`parse`] never fails: what it cannot understand becomes a [`Diagnostic`], and it goes on with
//! the next instruction. Beside the grammar live the small languages inside it: variable
//! expansion, mount options, ports, modes, ignore patterns, path patterns, lint rules.
//!
//! The parser does no I/O. It knows no images, no platforms and no build context, and it resolves
//! nothing: words come out as they were written, and whoever knows the variables calls [`expand`].

mod ast;
mod diagnostic; // what is wrong with them
mod span; // where things stand // what the text says

mod directives; // `# escape=` and friends
mod flags; // `--name=value`
mod heredoc; // `<<EOF`
mod instruction; // one logical line to one instruction
mod json; // `["a", "b"]`
mod lines; // bytes to physical lines
mod logical; // continuations joined, with a map back to the source
mod parse;
mod words; // quotes and blanks // all of it

mod expand; // `$name`, `${name:-word}`
mod shell_pattern; // the patterns of `${name#pattern}`

mod quote; // strings as messages show them
mod suggest; // "did you mean"

pub mod chmod;
pub mod duration;
pub mod expose;
pub mod mount;
pub mod signal;

pub use ast::{
    Add, Arg, CommandLine, Copy, Directives, Dockerfile, From, Healthcheck, Heredoc, Instruction,
    Kind, MountFlag, Onbuild, Pairs, Program, Run, Site, Source, Stage, Text, description,
};
pub use diagnostic::{Diagnostic, Label, Origin, Severity};
pub use directives::syntax_image;
pub use expand::{ExpandError, Expansion, Quoting, expand};
pub use parse::{Parsed, parse, parse_instruction};
pub use quote::quote;
pub use span::Span;
pub use suggest::suggest;
