//! From a template's text to pieces: text and the tokens of actions.

use serde_json::Value;

use super::error::{TemplateError, syntax};

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TemplatePiece {
    /// What stands between actions.
    Text(String),
    /// What stands between braces.
    Action {
        /// As it is written, for messages.
        text: String,
        /// Its tokens.
        tokens: Vec<Token>,
    },
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.`
    Dot,
    /// `.A.B`; what it starts from is the token before, if nothing separates them.
    Fields {
        /// The names.
        names: Vec<String>,
        /// Whether it continues the token before.
        is_joined: bool,
    },
    /// `$` or `$name`.
    Variable(String),
    /// A function, a keyword, `true`, `false` or `nil`.
    Word(String),
    /// Text or a number.
    Literal(Value),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `:=` or `=`.
    Assign,
    /// `,`
    Comma,
}

/// Splits a template.
pub(super) fn split(template: &str) -> Result<Vec<TemplatePiece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trims_next = false;
    while !rest.is_empty() {
        let (text, action) = match rest.find("{{") {
            Some(start) => (&rest[..start], Some(&rest[start + 2..])),
            None => (rest, None),
        };
        let text = if trims_next { text.trim_start() } else { text };
        let Some(action) = action else {
            push_text(&mut pieces, text);
            break;
        };
        // "{{- " trims the text before, " -}}" the text after.
        let (text, action) = match action.strip_prefix('-') {
            Some(inner) if inner.starts_with(char::is_whitespace) => (text.trim_end(), inner),
            _ => (text, action),
        };
        push_text(&mut pieces, text);
        let end = end_of_action(action)?;
        let inside = &action[..end];
        rest = &action[end + 2..];
        let (inside, trims) = match inside.strip_suffix('-') {
            Some(inner) if inner.ends_with(char::is_whitespace) => (inner, true),
            _ => (inside, false),
        };
        trims_next = trims;
        let inside = inside.trim();
        if !(inside.starts_with("/*") && inside.ends_with("*/")) {
            pieces.push(TemplatePiece::Action {
                text: inside.to_owned(),
                tokens: tokens(inside)?,
            });
        }
    }
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<TemplatePiece>, text: &str) {
    if !text.is_empty() {
        pieces.push(TemplatePiece::Text(text.to_owned()));
    }
}

/// Finds `}}` outside of quotes and comments.
fn end_of_action(action: &str) -> Result<usize, TemplateError> {
    if action.trim_start().starts_with("/*") {
        let comment = action
            .find("*/")
            .ok_or_else(|| syntax("unclosed comment"))?;
        let end = action[comment..].find("}}");
        return end
            .map(|end| comment + end)
            .ok_or_else(|| syntax("comment ends before closing delimiter"));
    }
    let mut quote = None;
    let mut characters = action.char_indices();
    while let Some((position, character)) = characters.next() {
        match (quote, character) {
            (Some('"'), '\\') => {
                characters.next();
            }
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(character),
            (None, '}') if action[position..].starts_with("}}") => return Ok(position),
            (None, _) => {}
        }
    }
    Err(syntax(match quote {
        Some(_) => "unterminated quoted string",
        None => "unclosed action",
    }))
}

fn tokens(action: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action;
    let mut is_joined = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                is_joined = false;
                continue;
            }
            '|' => push(&mut tokens, Token::Pipe, 1),
            '(' => push(&mut tokens, Token::Open, 1),
            ')' => push(&mut tokens, Token::Close, 1),
            ',' => push(&mut tokens, Token::Comma, 1),
            ':' if rest.starts_with(":=") => push(&mut tokens, Token::Assign, 2),
            '=' => push(&mut tokens, Token::Assign, 1),
            '"' => quoted(rest, &mut tokens)?,
            '`' => {
                let end = rest[1..].find('`');
                let end = end.ok_or_else(|| syntax("unterminated raw quoted string"))?;
                let text = rest[1..=end].to_owned();
                push(&mut tokens, Token::Literal(text.into()), end + 2)
            }
            '.' => fields(rest, is_joined, &mut tokens),
            '$' => {
                let name = word(&rest[1..]);
                let length = 1 + name.len();
                push(&mut tokens, Token::Variable(name.to_owned()), length)
            }
            c if c.is_ascii_digit() || c == '-' || c == '+' => number(rest, &mut tokens)?,
            c if c.is_alphabetic() || c == '_' => {
                let name = word(rest);
                push(&mut tokens, Token::Word(name.to_owned()), name.len())
            }
            other => {
                return Err(syntax(&format!(
                    "unexpected {:?} in operand",
                    other.to_string()
                )));
            }
        };
        rest = &rest[length..];
        is_joined = true;
    }
    Ok(tokens)
}

fn push(tokens: &mut Vec<Token>, token: Token, length: usize) -> usize {
    tokens.push(token);
    length
}

/// Returns the letters, digits and underscores at the start.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

fn fields(text: &str, is_joined: bool, tokens: &mut Vec<Token>) -> usize {
    let mut names = Vec::new();
    let mut length = 0;
    while let Some(rest) = text[length..].strip_prefix('.') {
        let name = word(rest);
        if name.is_empty() {
            break;
        }
        length += 1 + name.len();
        names.push(name.to_owned());
    }
    if names.is_empty() {
        push(tokens, Token::Dot, 1)
    } else {
        push(tokens, Token::Fields { names, is_joined }, length)
    }
}

fn quoted(text: &str, tokens: &mut Vec<Token>) -> Result<usize, TemplateError> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return Ok(push(tokens, Token::Literal(value.into()), position + 1)),
            '\\' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c @ ('"' | '\\' | '\'')) => value.push(c),
                _ => return Err(syntax("invalid escape in a quoted string")),
            },
            other => value.push(other),
        }
    }
    Err(syntax("unterminated quoted string"))
}

fn number(text: &str, tokens: &mut Vec<Token>) -> Result<usize, TemplateError> {
    let end = text[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'));
    let length = 1 + end.unwrap_or(text.len() - 1);
    let digits = text[..length].trim_start_matches('+');
    let value = match digits.parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => {
            let number: f64 = digits
                .parse()
                .map_err(|_| syntax(&format!("bad number syntax: {digits:?}")))?;
            Value::from(number)
        }
    };
    Ok(push(tokens, Token::Literal(value), length))
}
