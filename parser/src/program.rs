//! The program that a `RUN` executes, with its heredocs.

use crate::ast::{CommandLine, Run};
use crate::heredoc::is_marker;

/// The program that a `RUN` executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// These arguments, without a shell.
    Exec(Vec<String>),
    /// This text, given to the shell. Heredocs the shell must understand stand in it.
    Shell(String),
    /// This file, made executable; its path is given to the shell: a lone heredoc that starts with
    /// `#!`.
    File {
        /// The file's name, the heredoc's delimiter.
        name: String,
        /// What it holds.
        body: String,
    },
}

impl Run {
    /// Returns the script that the whole command is: the body of a heredoc whose marker stands
    /// alone.
    #[must_use]
    pub fn script(&self) -> Option<&str> {
        match (&self.command, self.heredocs.as_slice()) {
            (CommandLine::Shell(text), [only]) if is_marker(&text.raw) => Some(&only.body),
            _ => None,
        }
    }

    /// Returns what is to be executed, heredocs resolved.
    #[must_use]
    pub fn program(&self) -> Program {
        let text = match &self.command {
            CommandLine::Exec(arguments) => return Program::Exec(arguments.clone()),
            CommandLine::Shell(text) => &text.raw,
        };
        match self.heredocs.as_slice() {
            [] => Program::Shell(text.clone()),
            // The whole command is the marker: the body is the script.
            [only] if is_marker(text) => {
                if only.body.starts_with("#!") {
                    Program::File {
                        name: only.name.clone(),
                        body: only.body.clone(),
                    }
                } else {
                    Program::Shell(only.body.clone())
                }
            }
            heredocs => {
                let mut script = text.clone();
                for heredoc in heredocs {
                    script.push('\n');
                    script.push_str(heredoc.verbatim());
                    script.push_str(&heredoc.name);
                }
                Program::Shell(script)
            }
        }
    }
}
