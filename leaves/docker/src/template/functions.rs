//! The functions of Go's templates and those docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::printf;
use super::values::{display, is_true, type_name};

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "split", "title", "truncate", "upper",
];

/// Says whether there is a function of this name.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let call = CheckedCall { name, arguments };
    match name {
        "json" => {
            call.expect(1)?;
            Ok(arguments[0].to_string().into())
        }
        "len" => {
            call.expect(1)?;
            length(&arguments[0])
        }
        "index" => index(arguments),
        "print" => Ok(print(arguments).into()),
        "println" => {
            let words: Vec<String> = arguments.iter().map(display).collect();
            Ok(format!("{}\n", words.join(" ")).into())
        }
        "printf" => match arguments.split_first() {
            Some((Value::String(format), rest)) => Ok(printf::printf(format, rest).into()),
            _ => Err("printf needs a format".to_owned()),
        },
        "not" | "and" | "or" => call.logic(),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => call.comparison(),
        _ => call.text_function(),
    }
}

/// A call whose arguments are still to be checked.
struct CheckedCall<'a> {
    name: &'a str,
    arguments: &'a [Value],
}

impl CheckedCall<'_> {
    /// Fails unless there are `count` arguments.
    fn expect(&self, count: usize) -> Result<(), String> {
        let found = self.arguments.len();
        if found == count {
            return Ok(());
        }
        let name = self.name;
        Err(format!(
            "wrong number of args for {name}: want {count} got {found}"
        ))
    }

    fn text(&self, position: usize) -> Result<&str, String> {
        match &self.arguments[position] {
            Value::String(text) => Ok(text),
            other => Err(format!(
                "wrong type for {}: expected string, got {}",
                self.name,
                type_name(other)
            )),
        }
    }

    fn number(&self, position: usize) -> Result<usize, String> {
        let number = self.arguments[position].as_u64();
        number
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| format!("wrong type for {}: expected a whole number", self.name))
    }

    /// Calls one of the functions that docker adds to Go's.
    fn text_function(&self) -> Result<Value, String> {
        let count = match self.name {
            "join" | "split" | "truncate" => 2,
            "pad" => 3,
            _ => 1,
        };
        self.expect(count)?;
        Ok(match self.name {
            "upper" => self.text(0)?.to_uppercase().into(),
            "lower" => self.text(0)?.to_lowercase().into(),
            "title" => title(self.text(0)?).into(),
            "join" => {
                let Value::Array(items) = &self.arguments[0] else {
                    return Err("wrong type for join: expected a list".to_owned());
                };
                let items: Vec<String> = items.iter().map(display).collect();
                items.join(self.text(1)?).into()
            }
            "split" => {
                let pieces = self.text(0)?.split(self.text(1)?);
                pieces.map(Value::from).collect()
            }
            "truncate" => {
                let text = self.text(0)?.chars();
                text.take(self.number(1)?).collect::<String>().into()
            }
            "pad" => match self.text(0)? {
                "" => "".into(),
                inner => {
                    let (before, after) = (self.number(1)?, self.number(2)?);
                    let (before, after) = (" ".repeat(before), " ".repeat(after));
                    format!("{before}{inner}{after}").into()
                }
            },
            name => return Err(format!("function {name:?} not defined")),
        })
    }

    fn logic(&self) -> Result<Value, String> {
        if self.name == "not" {
            self.expect(1)?;
            return Ok((!is_true(&self.arguments[0])).into());
        }
        let ends_at = self.name == "or";
        let mut arguments = self.arguments.iter();
        let decides = arguments.find(|value| is_true(value) == ends_at);
        match decides.or(self.arguments.last()) {
            Some(value) => Ok(value.clone()),
            None => Err(format!(
                "wrong number of args for {}: want at least 1",
                self.name
            )),
        }
    }

    fn comparison(&self) -> Result<Value, String> {
        if self.name == "eq" {
            return match self.arguments.split_first() {
                Some((first, rest)) if !rest.is_empty() => {
                    let is_same = |other| compare(first, other) == Some(Ordering::Equal);
                    Ok(rest.iter().any(is_same).into())
                }
                _ => Err("missing argument for comparison".to_owned()),
            };
        }
        self.expect(2)?;
        let order = compare(&self.arguments[0], &self.arguments[1])
            .ok_or_else(|| "incompatible types for comparison".to_owned())?;
        Ok(match self.name {
            "ne" => order.is_ne(),
            "lt" => order.is_lt(),
            "le" => order.is_le(),
            "gt" => order.is_gt(),
            _ => order.is_ge(),
        }
        .into())
    }
}

fn length(value: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(members) => Ok(members.len().into()),
        other => Err(format!("len of type {}", type_name(other))),
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let (first, keys) = arguments
        .split_first()
        .ok_or_else(|| "wrong number of args for index: want at least 1 got 0".to_owned())?;
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            // A missing entry is Go's zero value, mostly of a map of strings.
            (Value::Object(members), Value::String(key)) => {
                members.get(key).cloned().unwrap_or_else(|| "".into())
            }
            (Value::Array(items), Value::Number(position)) => position
                .as_u64()
                .and_then(|position| items.get(usize::try_from(position).ok()?))
                .cloned()
                .ok_or_else(|| format!("index out of range: {position}"))?,
            (Value::Null, _) => return Err("index of nil pointer".to_owned()),
            (other, key) => {
                let (other, key) = (type_name(other), type_name(key));
                return Err(format!("cannot index {other} with {key}"));
            }
        };
    }
    Ok(value)
}

/// As Go's `Sprint`: blanks between operands of which neither is text.
fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut previous: Option<&Value> = None;
    for argument in arguments {
        if previous.is_some_and(|previous| !previous.is_string() && !argument.is_string()) {
            out.push(' ');
        }
        out.push_str(&display(argument));
        previous = Some(argument);
    }
    out
}

fn title(text: &str) -> String {
    let mut out = String::new();
    let mut starts_word = true;
    for character in text.chars() {
        if starts_word {
            out.extend(character.to_uppercase());
        } else {
            out.push(character);
        }
        starts_word = !character.is_alphanumeric();
    }
    out
}

fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}
