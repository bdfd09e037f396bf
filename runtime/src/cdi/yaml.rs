//! YAML as far as it says what JSON can say.
//!
//! Plain scalars are what they are for Go's parser, by which such files are written: among them
//! octal numbers with a leading zero, as file modes are given. Anchors, aliases and several
//! documents have no place in a file that may as well be JSON, and are refused.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use serde_json::{Map, Number, Value};

/// How deep lists and maps may be nested; a device's description needs six levels.
const DEEPEST: usize = 32;

/// Why a text is not understood.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// It is not YAML.
    #[error(transparent)]
    Syntax(#[from] ScanError),
    /// It is YAML that JSON cannot express.
    #[error("line {line}: {what} not supported")]
    Unsupported {
        /// Where.
        line: usize,
        /// What.
        what: &'static str,
    },
}

/// A list or map whose end is still to come.
enum OpenNode {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// Reads a text that holds one document; an empty one is null.
pub(super) fn parse(text: &str) -> Result<Value, YamlError> {
    let mut open: Vec<OpenNode> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        let unsupported = |what| YamlError::Unsupported {
            line: span.start.line(),
            what,
        };
        let value = match event {
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return Err(unsupported("anchors are"));
            }
            Event::Alias(_) => return Err(unsupported("aliases are")),
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() == DEEPEST => {
                return Err(unsupported("nesting that deep is"));
            }
            Event::SequenceStart(..) => {
                open.push(OpenNode::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(OpenNode::Map(Map::new(), None));
                continue;
            }
            Event::Scalar(text, style, _, tag) => match (style, tag) {
                (ScalarStyle::Plain, None) => scalar(&text),
                _ => Value::String(text.into_owned()),
            },
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(OpenNode::List(list)) => Value::Array(list),
                Some(OpenNode::Map(map, _)) => Value::Object(map),
                None => continue,
            },
            Event::DocumentStart(_) if document.is_some() => {
                return Err(unsupported("a second document is"));
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
        };
        match open.last_mut() {
            None => document = Some(value),
            Some(OpenNode::List(list)) => list.push(value),
            Some(OpenNode::Map(map, key)) => match (key.take(), value) {
                (Some(name), value) => {
                    if map.insert(name, value).is_some() {
                        return Err(unsupported("a key given twice is"));
                    }
                }
                (None, Value::String(name)) => *key = Some(name),
                (None, Value::Array(_) | Value::Object(_)) => {
                    return Err(unsupported("a key that is no text is"));
                }
                (None, other) => *key = Some(other.to_string()),
            },
        }
    }
    Ok(document.unwrap_or(Value::Null))
}

/// Says what an unquoted word is.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    integer(text)
        .map(Value::Number)
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Reads a whole number; nothing here is a fraction, and what looks like one is a version.
fn integer(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let magnitude = match digits.get(..2) {
        Some("0x") => i64::from_str_radix(&digits[2..], 16).ok()?,
        Some("0o") => i64::from_str_radix(&digits[2..], 8).ok()?,
        Some(two) if two.starts_with('0') => i64::from_str_radix(digits, 8).ok()?,
        _ => digits.parse().ok()?,
    };
    let number = if text.starts_with('-') {
        magnitude.checked_neg()?
    } else {
        magnitude
    };
    Some(number.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_become_json() {
        let text = "
# a comment
cdiVersion: 0.6.0
kind: \"v.com/d\"
list:
- FOO=bar
- {path: /dev/x, fileMode: 0666, major: 10, minor: -1, hex: 0x1F}
block: |
  two
  lines
nothing:
yes: True
";
        let expected = json!({
            "cdiVersion": "0.6.0",
            "kind": "v.com/d",
            "list": [
                "FOO=bar",
                {"path": "/dev/x", "fileMode": 438, "major": 10, "minor": -1, "hex": 31},
            ],
            "block": "two\nlines\n",
            "nothing": null,
            "yes": true,
        });
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("").unwrap(), Value::Null);
        assert_eq!(
            parse("{\"a\": [1, \"2\"]}").unwrap(),
            json!({"a": [1, "2"]})
        );
    }

    #[test]
    fn words_that_look_like_numbers() {
        for (text, value) in [
            ("0.6", json!("0.6")),
            ("08", json!("08")),
            ("1_0", json!("1_0")),
            ("99999999999999999999", json!("99999999999999999999")),
            ("0", json!(0)),
            ("+5", json!(5)),
            ("'5'", json!("5")),
            ("-", json!("-")),
        ] {
            assert_eq!(
                parse(&format!("a: {text}")).ok(),
                match text {
                    // Begins a list where none may be.
                    "-" => None,
                    _ => Some(json!({"a": value})),
                },
                "{text}"
            );
        }
    }

    #[test]
    fn errors_say_where() {
        let error = parse("a: 1\nb: [").err().unwrap().to_string();
        assert!(error.contains("line 3 column 1"), "{error}");
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn yaml_beyond_json_is_refused() {
        for (text, message) in [
            ("a: &x 1\nb: *x", "line 1: anchors are not supported"),
            (
                "a: 1\n---\nb: 2",
                "line 2: a second document is not supported",
            ),
            ("a: 1\na: 2", "line 2: a key given twice is not supported"),
            (
                "? [a]\n: 1",
                "line 1: a key that is no text is not supported",
            ),
            (
                &"[".repeat(40),
                "line 1: nesting that deep is not supported",
            ),
        ] {
            assert_eq!(parse(text).err().unwrap().to_string(), message, "{text}");
        }
    }
}
