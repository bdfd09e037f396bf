//! Variables, quotes and escapes in a word: `$name`, `${name:-word}`, `'…'`, `"…"`.
//!
//! Substitutions nest, and people's files are not trusted to nest them a few levels only, so the
//! open ones stand in a list of frames instead of on the call stack.

use std::borrow::Cow;
use std::collections::HashSet;

use thiserror::Error;

use crate::quote::quote;
use crate::shell_pattern::{
    MAX_VALUE, MatchLength, ShellPatternError, StrippedEnd, replace, strip,
};

/// Most substitutions inside each other. Each copies what those in it came to.
const MAX_DEPTH: usize = 1000;

/// The meaning of quotes and escapes in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// Those of an instruction's argument: quotes group and vanish.
    Word,
    /// Those of a heredoc's body: quotes are text, and every escape token vanishes and makes the
    /// next character literal. The token is a backslash whatever the file says.
    HeredocBody,
    /// Those of a command that is shown and not run: quotes stay, and so do variables that are not
    /// set, for the shell may set them.
    Shown,
}

/// A word after expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The result.
    pub value: String,
    /// The names that were asked for and are not set, once each, in order of first use.
    pub undefined: Vec<String>,
}

/// A word that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ExpandError {
    /// What is wrong, the word included.
    pub message: String,
    /// Bytes of the word read when it was noticed.
    pub offset: usize,
}

/// Expands a word; `lookup` knows the variables.
///
/// The result is one word whatever blanks it holds: `EXPOSE`, which splits it, does so itself.
///
/// # Errors
/// If a quote or brace is not closed, a modifier is unknown, a pattern is malformed, or a required
/// variable (`${name:?message}`) is missing.
pub fn expand(
    word: &str,
    escape: char,
    quoting: Quoting,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expansion, ExpandError> {
    // Most words are plain.
    if !word.contains(['$', '\'', '"', '\\', escape]) {
        return Ok(Expansion {
            value: word.to_owned(),
            undefined: vec![],
        });
    }
    let escape = match quoting {
        Quoting::Word | Quoting::Shown => escape,
        Quoting::HeredocBody => '\\',
    };
    let mut expander = Expander {
        word,
        position: 0,
        escape,
        quoting,
        lookup,
        frames: vec![],
        undefined: vec![],
        missed: HashSet::new(),
    };
    match expander.run() {
        Ok(value) => Ok(Expansion {
            value,
            undefined: expander.undefined,
        }),
        Err(problem) => Err(ExpandError {
            message: format!(
                "failed to process {}: {}",
                quote(&shortened(word)),
                expander.explain(problem)
            ),
            offset: expander.position,
        }),
    }
}

/// Returns a word, its end left out if it is too long for a message.
fn shortened(word: &str) -> Cow<'_, str> {
    /// Longer than any word that a user writes by hand.
    const ENOUGH: usize = 1000;
    if word.len() <= ENOUGH {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("{}…", &word[..word.floor_char_boundary(ENOUGH)]))
}

/// A mistake in a word.
#[derive(Debug, Error)]
enum ExpansionProblem {
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    #[error("invalid pattern ({pattern}) in substitution: {error}")]
    Pattern {
        pattern: String,
        error: ShellPatternError,
    },
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("more than {MAX_DEPTH} substitutions inside each other")]
    TooDeep,
    #[error("expands to more than {MAX_VALUE} bytes")]
    TooLong,
}

impl ExpansionProblem {
    fn pattern(pattern: &str, error: ShellPatternError) -> Self {
        if error == ShellPatternError::ResultTooLong {
            return Self::TooLong;
        }
        let pattern = shortened(pattern).into_owned();
        Self::Pattern { pattern, error }
    }
}

/// A piece of the word that ends at its own delimiter.
struct Frame {
    purpose: OperandPurpose,
    /// What it has expanded to so far.
    value: String,
    /// Whether a `"` stands open in it.
    double_quoted: bool,
}

/// The purpose of a frame's value.
enum OperandPurpose {
    /// The whole word; ends with it.
    Whole,
    /// `${name` operator `…}`.
    Operand {
        name: String,
        operator: ExpansionOperator,
    },
    /// `${name/…/`.
    Pattern { name: String, all: bool },
    /// `${name/pattern/…}`.
    Replacement {
        name: String,
        all: bool,
        pattern: String,
    },
}

/// The character behind a name, and whether a colon stands before it.
struct ExpansionOperator {
    colon: bool,
    character: char,
}

impl OperandPurpose {
    fn delimiter(&self) -> Option<char> {
        match self {
            Self::Whole => None,
            Self::Pattern { .. } => Some('/'),
            Self::Operand { .. } | Self::Replacement { .. } => Some('}'),
        }
    }

    /// Whether escape tokens stay in the value, for a pattern to understand.
    fn keeps_escapes(&self) -> bool {
        match self {
            Self::Whole => false,
            Self::Operand { operator, .. } => matches!(operator.character, '#' | '%'),
            Self::Pattern { .. } | Self::Replacement { .. } => true,
        }
    }
}

struct Expander<'a> {
    word: &'a str,
    position: usize,
    escape: char,
    quoting: Quoting,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    frames: Vec<Frame>,
    undefined: Vec<String>,
    /// The same names, to find them quickly.
    missed: HashSet<String>,
}

impl Expander<'_> {
    fn run(&mut self) -> Result<String, ExpansionProblem> {
        self.open(OperandPurpose::Whole)?;
        while let Some(character) = self.next() {
            let top = self
                .frames
                .last_mut()
                .expect("the whole word's frame is never closed here");
            let double_quoted = top.double_quoted;
            if !double_quoted && top.purpose.delimiter() == Some(character) {
                self.close()?;
            } else if character == '$' {
                self.dollar()?;
            } else if self.quoting != Quoting::HeredocBody && character == '"' {
                top.double_quoted = !double_quoted;
                if self.quoting == Quoting::Shown {
                    top.value.push('"');
                }
            } else if self.quoting != Quoting::HeredocBody && character == '\'' && !double_quoted {
                self.single_quoted()?;
            } else if character == self.escape {
                self.escaped(double_quoted);
            } else {
                top.value.push(character);
            }
        }
        let last = self
            .frames
            .last_mut()
            .expect("the whole word's frame is still open");
        if last.double_quoted {
            return Err(ExpansionProblem::DoubleQuote);
        }
        match last.purpose {
            OperandPurpose::Whole => Ok(std::mem::take(&mut last.value)),
            OperandPurpose::Pattern { .. } => Err(ExpansionProblem::MissingSlash),
            OperandPurpose::Operand { .. } | OperandPurpose::Replacement { .. } => {
                Err(ExpansionProblem::MissingBrace)
            }
        }
    }

    /// At the end of the word the outermost open substitution is to blame, whatever was found.
    fn explain(&self, problem: ExpansionProblem) -> ExpansionProblem {
        let is_limit = matches!(
            problem,
            ExpansionProblem::TooDeep | ExpansionProblem::TooLong
        );
        if is_limit || self.position < self.word.len() {
            return problem;
        }
        match self.frames.get(1).map(|frame| &frame.purpose) {
            Some(OperandPurpose::Pattern { .. }) => ExpansionProblem::MissingSlash,
            Some(_) => ExpansionProblem::MissingBrace,
            None => problem,
        }
    }

    fn peek(&self) -> Option<char> {
        self.word[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += character.len_utf8();
        Some(character)
    }

    fn open(&mut self, purpose: OperandPurpose) -> Result<(), ExpansionProblem> {
        if self.frames.len() > MAX_DEPTH {
            return Err(ExpansionProblem::TooDeep);
        }
        self.frames.push(Frame {
            purpose,
            value: String::new(),
            double_quoted: false,
        });
        Ok(())
    }

    /// Adds what a substitution came to.
    fn insert(&mut self, value: &str) -> Result<(), ExpansionProblem> {
        let top = self.frames.last().expect("the whole word's frame is open");
        if top.value.len() + value.len() > MAX_VALUE {
            return Err(ExpansionProblem::TooLong);
        }
        self.push(value);
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.frames
            .last_mut()
            .expect("the whole word's frame is open")
            .value
            .push_str(text);
    }

    fn look_up(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() && self.missed.insert(name.to_owned()) {
            self.undefined.push(name.to_owned());
        }
        value
    }

    /// Returns what stands for a variable that is not set: nothing, or what is written.
    fn unset(&self, written: impl FnOnce() -> String) -> String {
        match self.quoting {
            Quoting::Shown => written(),
            Quoting::Word | Quoting::HeredocBody => String::new(),
        }
    }

    /// Reads up to the closing quote; nothing is special before it.
    fn single_quoted(&mut self) -> Result<(), ExpansionProblem> {
        let rest = &self.word[self.position..];
        let Some(length) = rest.find('\'') else {
            self.position = self.word.len();
            return Err(ExpansionProblem::SingleQuote);
        };
        self.position += length + 1;
        match self.quoting {
            Quoting::Shown => self.push(&format!("'{}'", &rest[..length])),
            Quoting::Word | Quoting::HeredocBody => self.push(&rest[..length]),
        }
        Ok(())
    }

    /// Reads what follows an escape token.
    fn escaped(&mut self, double_quoted: bool) {
        let escape = self.escape;
        let top = self.frames.last().expect("the whole word's frame is open");
        if top.purpose.keeps_escapes() {
            self.push(escape.encode_utf8(&mut [0; 4]));
        }
        match self.peek() {
            // A lone one at the end vanishes.
            None => {}
            Some(c) if double_quoted && !matches!(c, '"' | '$') && c != escape => {
                self.push(escape.encode_utf8(&mut [0; 4]));
            }
            Some(character) => {
                self.next();
                self.push(character.encode_utf8(&mut [0; 4]));
            }
        }
    }

    /// Reads what follows a `$`.
    fn dollar(&mut self) -> Result<(), ExpansionProblem> {
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                self.push("$");
            } else {
                let value = self.look_up(&name);
                let value = value.unwrap_or_else(|| self.unset(|| format!("${name}")));
                self.insert(&value)?;
            }
            return Ok(());
        }
        self.next();
        match self.peek() {
            None => return Err(ExpansionProblem::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpansionProblem::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err(ExpansionProblem::MissingBrace),
            Some('}') => {
                let value = self.look_up(&name);
                let value = value.unwrap_or_else(|| self.unset(|| format!("${{{name}}}")));
                self.insert(&value)
            }
            Some(':') => {
                let character = self.next().ok_or(ExpansionProblem::MissingBrace)?;
                let operator = ExpansionOperator {
                    colon: true,
                    character,
                };
                self.open(OperandPurpose::Operand { name, operator })
            }
            Some(character @ ('+' | '-' | '?' | '#' | '%')) => {
                let operator = ExpansionOperator {
                    colon: false,
                    character,
                };
                self.open(OperandPurpose::Operand { name, operator })
            }
            Some('/') => {
                let all = self.peek() == Some('/');
                if all {
                    self.next();
                }
                self.open(OperandPurpose::Pattern { name, all })
            }
            Some(other) => Err(ExpansionProblem::Modifier(other.to_string())),
        }
    }

    /// Reads a name; an empty one if none stands here.
    fn name(&mut self) -> String {
        let rest = &self.word[self.position..];
        let end = match rest.chars().next() {
            Some(c) if c.is_ascii_digit() => rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len()),
        };
        self.position += end;
        rest[..end].to_owned()
    }

    /// Ends the innermost frame and gives its result to the one around it.
    fn close(&mut self) -> Result<(), ExpansionProblem> {
        let frame = self.frames.pop().expect("a frame with a delimiter is open");
        let text = frame.value;
        let value = match frame.purpose {
            OperandPurpose::Whole => unreachable!("the whole word has no delimiter"),
            OperandPurpose::Pattern { name, all } => {
                return self.open(OperandPurpose::Replacement {
                    name,
                    all,
                    pattern: text,
                });
            }
            OperandPurpose::Replacement { name, all, pattern } => match self.look_up(&name) {
                None if self.quoting == Quoting::Shown => format!("${{{name}/{pattern}/{text}}}"),
                value => replace(&value.unwrap_or_default(), &pattern, &text, all)
                    .map_err(|error| ExpansionProblem::pattern(&pattern, error))?,
            },
            OperandPurpose::Operand { name, operator } => self.operate(name, &operator, text)?,
        };
        self.insert(&value)
    }

    fn operate(
        &mut self,
        name: String,
        operator: &ExpansionOperator,
        operand: String,
    ) -> Result<String, ExpansionProblem> {
        let ExpansionOperator { colon, character } = *operator;
        if colon && !matches!(character, '-' | '+' | '?') {
            return Err(ExpansionProblem::Modifier(format!(":{character}")));
        }
        let value = self.look_up(&name);
        if value.is_none() && self.quoting == Quoting::Shown {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{character}{operand}}}"));
        }
        let usable = value
            .as_ref()
            .is_some_and(|value| !colon || !value.is_empty());
        match character {
            '-' if usable => Ok(value.unwrap_or_default()),
            '-' => Ok(operand),
            '+' if usable => Ok(operand),
            '+' => Ok(String::new()),
            '?' if usable => Ok(value.unwrap_or_default()),
            '?' => {
                let message = match (operand.is_empty(), &value) {
                    (false, _) => operand,
                    (true, None) => "is not allowed to be unset".to_owned(),
                    (true, Some(_)) => "is not allowed to be empty".to_owned(),
                };
                Err(ExpansionProblem::Required { name, message })
            }
            _ => {
                let end = if character == '%' {
                    StrippedEnd::Suffix
                } else {
                    StrippedEnd::Prefix
                };
                let (pattern, extent) = match operand.strip_prefix(character) {
                    Some(pattern) => (pattern, MatchLength::Longest),
                    None => (operand.as_str(), MatchLength::Shortest),
                };
                strip(&value.unwrap_or_default(), pattern, end, extent)
                    .map_err(|error| ExpansionProblem::pattern(pattern, error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
