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
    let count = |wanted: usize| {
        let message = format!(
            "wrong number of args for {name}: want {wanted} got {}",
            arguments.len()
        );
        (arguments.len() == wanted).then_some(()).ok_or(message)
    };
    let text = |position: usize| match &arguments[position] {
        Value::String(text) => Ok(text.as_str()),
        other => Err(format!(
            "wrong type for {name}: expected string, got {}",
            type_name(other)
        )),
    };
    let number = |position: usize| {
        let number = arguments[position]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        number.ok_or_else(|| format!("wrong type for {name}: expected a whole number"))
    };
    Ok(match name {
        "json" => {
            count(1)?;
            arguments[0].to_string().into()
        }
        "upper" => {
            count(1)?;
            text(0)?.to_uppercase().into()
        }
        "lower" => {
            count(1)?;
            text(0)?.to_lowercase().into()
        }
        "title" => {
            count(1)?;
            title(text(0)?).into()
        }
        "join" => {
            count(2)?;
            let Value::Array(items) = &arguments[0] else {
                return Err("wrong type for join: expected a list".to_owned());
            };
            let items: Vec<String> = items.iter().map(display).collect();
            items.join(text(1)?).into()
        }
        "split" => {
            count(2)?;
            text(0)?.split(text(1)?).map(Value::from).collect()
        }
        "pad" => {
            count(3)?;
            match text(0)? {
                "" => "".into(),
                inner => {
                    let (before, after) = (" ".repeat(number(1)?), " ".repeat(number(2)?));
                    format!("{before}{inner}{after}").into()
                }
            }
        }
        "truncate" => {
            count(2)?;
            text(0)?.chars().take(number(1)?).collect::<String>().into()
        }
        "len" => {
            count(1)?;
            match &arguments[0] {
                Value::String(text) => text.len().into(),
                Value::Array(items) => items.len().into(),
                Value::Object(members) => members.len().into(),
                other => return Err(format!("len of type {}", type_name(other))),
            }
        }
        "index" => return index(arguments),
        "print" => print(arguments).into(),
        "println" => {
            let words: Vec<String> = arguments.iter().map(display).collect();
            format!("{}\n", words.join(" ")).into()
        }
        "printf" => match arguments.split_first() {
            Some((Value::String(format), rest)) => printf::printf(format, rest).into(),
            _ => return Err("printf needs a format".to_owned()),
        },
        "not" => {
            count(1)?;
            (!is_true(&arguments[0])).into()
        }
        "and" | "or" => {
            let ends_at = name == "or";
            let decides = arguments.iter().find(|value| is_true(value) == ends_at);
            match decides.or(arguments.last()) {
                Some(value) => value.clone(),
                None => return Err(format!("wrong number of args for {name}: want at least 1")),
            }
        }
        "eq" => match arguments.split_first() {
            Some((first, rest)) if !rest.is_empty() => {
                let is_same = |other| compare(first, other) == Some(Ordering::Equal);
                rest.iter().any(is_same).into()
            }
            _ => return Err("missing argument for comparison".to_owned()),
        },
        _ => {
            count(2)?;
            let order = compare(&arguments[0], &arguments[1])
                .ok_or_else(|| "incompatible types for comparison".to_owned())?;
            match name {
                "ne" => order.is_ne(),
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }
            .into()
        }
    })
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
