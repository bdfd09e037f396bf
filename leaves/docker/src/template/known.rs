//! Values, and what Go knows of those that are absent.

use serde_json::Value;

use super::values;

/// A value, and the zero value of its type where that is known.
///
/// Go templates see structures, whose empty members are there though JSON leaves them out: an
/// absent list prints `[]` and has the length 0, and `json` makes `null` of it.
#[derive(Clone, Debug)]
pub(super) struct KnownFields {
    pub(super) value: Value,
    /// Of a structure, an object with the zero values of its members; of a pointer, `null`.
    zero: Option<Value>,
}

impl From<Value> for KnownFields {
    fn from(value: Value) -> Self {
        Self { value, zero: None }
    }
}

impl KnownFields {
    pub(super) fn new(value: Value, zero: Value) -> Self {
        Self {
            value,
            zero: Some(zero),
        }
    }

    /// Returns what everybody but `json` sees.
    pub(super) fn seen(self) -> Value {
        match (self.value, self.zero) {
            (Value::Null, Some(zero)) => zero,
            (value, _) => value,
        }
    }

    /// Returns what is printed.
    pub(super) fn display(self) -> String {
        match self {
            Self {
                value: Value::Null,
                zero: Some(Value::Null),
            } => "<nil>".to_owned(),
            known => values::display(&known.seen()),
        }
    }

    /// Returns a member.
    pub(super) fn field(&self, name: &str) -> Result<Self, String> {
        let zero = self.zero.as_ref().and_then(|zero| zero.get(name)).cloned();
        let seen = match (&self.value, &self.zero) {
            (Value::Null, Some(zero)) => zero,
            (value, _) => value,
        };
        match seen {
            Value::Object(members) => match (members.get(name).cloned(), zero) {
                (Some(value), zero) => Ok(Self { value, zero }),
                (None, Some(zero @ (Value::Array(_) | Value::Object(_)))) => {
                    Ok(Self::new(Value::Null, zero))
                }
                (None, Some(zero)) => Ok(Self::new(zero.clone(), zero)),
                (None, None) => Err(format!(
                    "can't evaluate field {name} in type map[string]interface {{}}"
                )),
            },
            Value::Null => Err(format!("nil pointer evaluating interface {{}}.{name}")),
            other => Err(format!(
                "can't evaluate field {name} in type {}",
                values::type_name(other)
            )),
        }
    }
}
