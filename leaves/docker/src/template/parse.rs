//! From tokens to nodes.

use std::iter::Peekable;
use std::vec;

use serde_json::Value;

use super::error::{TemplateError, syntax};
use super::functions;
use super::lex::{TemplatePiece, Token, split};

/// A template that can be executed.
#[derive(Clone, Debug)]
pub struct Template {
    pub(super) nodes: Vec<Node>,
}

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Range {
        over: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
    With {
        value: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
}

/// Commands that hand their values on, and the variables the last value is given to.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// As it is written, for messages.
    pub(super) text: String,
    pub(super) variables: Vec<String>,
    pub(super) commands: Vec<FunctionCall>,
}

/// A value or function, and arguments.
#[derive(Clone, Debug)]
pub(super) struct FunctionCall {
    pub(super) head: Operand,
    pub(super) arguments: Vec<Operand>,
}

/// A value to be found.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Dot,
    Variable(String),
    Literal(Value),
    Function(String),
    Fields(Box<Self>, Vec<String>),
    Pipeline(Box<Pipeline>),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser {
            pieces: split(text)?.into_iter().peekable(),
            variables: vec!["".to_owned()],
        };
        let (nodes, end) = parser.list()?;
        match end {
            Close::EndOfInput => Ok(Self { nodes }),
            Close::End => Err(syntax("unexpected {{end}}")),
            Close::Else(_) => Err(syntax("unexpected {{else}}")),
        }
    }
}

struct Parser {
    pieces: Peekable<vec::IntoIter<TemplatePiece>>,
    /// Variables in scope; the empty name is `$`.
    variables: Vec<String>,
}

/// What ended a list of nodes.
enum Close {
    EndOfInput,
    End,
    /// What stands after `else`.
    Else(Vec<Token>),
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, Close), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (text, tokens) = match piece {
                TemplatePiece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                TemplatePiece::Action { text, tokens } => (text, tokens),
            };
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            let rest = || tokens.iter().skip(1).cloned().collect::<Vec<_>>();
            match keyword {
                "end" => return Ok((nodes, Close::End)),
                "else" => return Ok((nodes, Close::Else(rest()))),
                "if" | "with" | "range" => {
                    let keyword = keyword.to_owned();
                    nodes.push(self.block(&keyword, &text, rest())?);
                }
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(syntax(&format!("{keyword} is not supported")));
                }
                _ => nodes.push(Node::Print(self.pipeline(&text, tokens, "command")?)),
            }
        }
        Ok((nodes, Close::EndOfInput))
    }

    fn block(
        &mut self,
        keyword: &str,
        text: &str,
        tokens: Vec<Token>,
    ) -> Result<Node, TemplateError> {
        let scope = self.variables.len();
        let pipeline = self.pipeline(text, tokens, keyword)?;
        let (body, end) = self.list()?;
        let otherwise = match end {
            Close::EndOfInput => return Err(syntax("unexpected EOF")),
            Close::End => Vec::new(),
            Close::Else(tokens) => match tokens.split_first() {
                None => match self.list()? {
                    (nodes, Close::End) => nodes,
                    _ => return Err(syntax("expected end; found {{else}}")),
                },
                // `else if` opens a block that shares its end with this one.
                Some((Token::Word(word), rest)) if word == "if" || word == "with" => {
                    vec![self.block(word, text, rest.to_vec())?]
                }
                Some(_) => return Err(syntax("unexpected token after else")),
            },
        };
        self.variables.truncate(scope);
        Ok(match keyword {
            "if" => Node::If {
                condition: pipeline,
                then: body,
                otherwise,
            },
            "with" => Node::With {
                value: pipeline,
                body,
                otherwise,
            },
            _ => Node::Range {
                over: pipeline,
                body,
                otherwise,
            },
        })
    }

    fn pipeline(
        &mut self,
        text: &str,
        tokens: Vec<Token>,
        context: &str,
    ) -> Result<Pipeline, TemplateError> {
        let mut tokens = tokens.as_slice();
        let mut variables = Vec::new();
        if let Some(position) = tokens.iter().position(|token| *token == Token::Assign) {
            for token in &tokens[..position] {
                match token {
                    Token::Variable(name) => variables.push(name.clone()),
                    Token::Comma => {}
                    _ => return Err(syntax("only variables can be given a value")),
                }
            }
            tokens = &tokens[position + 1..];
        }
        let mut tokens = Tokens(tokens);
        let pipeline = self.commands(text, &mut tokens, context)?;
        if tokens.next().is_some() {
            return Err(syntax("unexpected right paren"));
        }
        // A variable is not known within its own value.
        self.variables.extend(variables.iter().cloned());
        Ok(Pipeline {
            variables,
            ..pipeline
        })
    }

    /// Parses commands up to the end or a closing parenthesis.
    fn commands(
        &self,
        text: &str,
        tokens: &mut Tokens<'_>,
        context: &str,
    ) -> Result<Pipeline, TemplateError> {
        let mut commands = Vec::new();
        loop {
            let mut operands = Vec::new();
            while let Some(token) = tokens.next_if(|t| !matches!(t, Token::Pipe | Token::Close)) {
                operands.push(self.operand(text, token, tokens)?);
            }
            let mut operands = operands.into_iter();
            let head = operands
                .next()
                .ok_or_else(|| syntax(&format!("missing value for {context}")))?;
            commands.push(FunctionCall {
                head,
                arguments: operands.collect(),
            });
            if tokens.next_if(|token| *token == Token::Pipe).is_none() {
                return Ok(Pipeline {
                    text: text.to_owned(),
                    variables: Vec::new(),
                    commands,
                });
            }
        }
    }

    fn operand(
        &self,
        text: &str,
        token: &Token,
        tokens: &mut Tokens<'_>,
    ) -> Result<Operand, TemplateError> {
        let operand = match token {
            Token::Dot => Operand::Dot,
            Token::Fields { names, .. } => Operand::Fields(Box::new(Operand::Dot), names.clone()),
            Token::Variable(name) if self.variables.contains(name) => {
                Operand::Variable(name.clone())
            }
            Token::Variable(name) => {
                return Err(syntax(&format!("undefined variable \"${name}\"")));
            }
            Token::Literal(value) => Operand::Literal(value.clone()),
            Token::Word(word) => match word.as_str() {
                "true" => Operand::Literal(Value::Bool(true)),
                "false" => Operand::Literal(Value::Bool(false)),
                "nil" => Operand::Literal(Value::Null),
                name if functions::is_known(name) => Operand::Function(name.to_owned()),
                name => return Err(syntax(&format!("function {name:?} not defined"))),
            },
            Token::Open => {
                let pipeline = self.commands(text, tokens, "parenthesized pipeline")?;
                if tokens.next() != Some(&Token::Close) {
                    return Err(syntax("unclosed left paren"));
                }
                Operand::Pipeline(Box::new(pipeline))
            }
            Token::Pipe | Token::Close | Token::Assign | Token::Comma => {
                return Err(syntax("unexpected punctuation in operand"));
            }
        };
        let is_joined = |token: &Token| {
            matches!(
                token,
                Token::Fields {
                    is_joined: true,
                    ..
                }
            )
        };
        Ok(match tokens.next_if(is_joined) {
            Some(Token::Fields { names, .. }) => Operand::Fields(Box::new(operand), names.clone()),
            _ => operand,
        })
    }
}

/// Tokens that have not been looked at.
struct Tokens<'t>(&'t [Token]);

impl<'t> Tokens<'t> {
    fn next(&mut self) -> Option<&'t Token> {
        self.next_if(|_| true)
    }

    fn next_if(&mut self, accepts: impl Fn(&Token) -> bool) -> Option<&'t Token> {
        let (first, rest) = self.0.split_first()?;
        if !accepts(first) {
            return None;
        }
        self.0 = rest;
        Some(first)
    }
}
