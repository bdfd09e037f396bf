//! From a template and a value to text.

use serde_json::{Map, Value};

use super::error::TemplateError;
use super::functions;
use super::known::KnownFields;
use super::parse::{FunctionCall, Node, Operand, Pipeline, Template};
use super::values::{self, is_true};

impl Template {
    /// Executes the template.
    ///
    /// # Errors
    /// When it asks for something that the value is not or has not.
    pub fn execute(&self, value: &Value) -> Result<String, TemplateError> {
        execute(self, value.clone().into())
    }

    /// Executes the template for a value whose absent members are those of `zero`: an object that
    /// holds the empty value of each member's type, `null` for those that point to something.
    ///
    /// # Errors
    /// As [`Template::execute`].
    pub fn execute_with_zeros(&self, value: &Value, zero: &Value) -> Result<String, TemplateError> {
        execute(self, KnownFields::new(value.clone(), zero.clone()))
    }
}

fn execute(template: &Template, value: KnownFields) -> Result<String, TemplateError> {
    let mut evaluation = Evaluation {
        out: String::new(),
        whole: &value,
        variables: Vec::new(),
    };
    evaluation.nodes(&template.nodes, &value)?;
    Ok(evaluation.out)
}

struct Evaluation<'a> {
    out: String,
    /// What `$` stands for.
    whole: &'a KnownFields,
    /// Innermost last.
    variables: Vec<(String, KnownFields)>,
}

impl Evaluation<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &KnownFields) -> Result<(), TemplateError> {
        for node in nodes {
            self.node(node, dot)?;
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &KnownFields) -> Result<(), TemplateError> {
        let scope = self.variables.len();
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match pipeline.variables.as_slice() {
                    [] => self.out.push_str(&value.display()),
                    names => {
                        // Declared here, a variable lives until the list of nodes ends.
                        for name in names {
                            self.variables.push((name.clone(), value.clone()));
                        }
                        return Ok(());
                    }
                }
            }
            Node::If {
                condition,
                then,
                otherwise,
            } => {
                let value = self.pipeline(condition, dot)?;
                self.declare(condition, &value);
                if is_true(&value.seen()) {
                    self.nodes(then, dot)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
            }
            Node::With {
                value,
                body,
                otherwise,
            } => {
                let inner = self.pipeline(value, dot)?;
                self.declare(value, &inner);
                if is_true(&inner.clone().seen()) {
                    self.nodes(body, &inner)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
            }
            Node::Range {
                over,
                body,
                otherwise,
            } => {
                let value = self.pipeline(over, dot)?.seen();
                let items = items(&value).ok_or_else(|| TemplateError::Value {
                    at: over.text.clone(),
                    problem: format!("range can't iterate over {}", values::display(&value)),
                })?;
                if items.is_empty() {
                    self.nodes(otherwise, dot)?;
                }
                for (key, item) in items {
                    match over.variables.as_slice() {
                        [] => {}
                        [one] => self.variables.push((one.clone(), item.clone().into())),
                        [first, second, ..] => {
                            self.variables.push((first.clone(), key.into()));
                            self.variables.push((second.clone(), item.clone().into()));
                        }
                    }
                    self.nodes(body, &item.into())?;
                    self.variables.truncate(scope);
                }
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn declare(&mut self, pipeline: &Pipeline, value: &KnownFields) {
        for name in &pipeline.variables {
            self.variables.push((name.clone(), value.clone()));
        }
    }

    fn pipeline(
        &self,
        pipeline: &Pipeline,
        dot: &KnownFields,
    ) -> Result<KnownFields, TemplateError> {
        let mut handed_on = None;
        for command in &pipeline.commands {
            handed_on = Some(self.command(command, handed_on, pipeline, dot)?);
        }
        Ok(handed_on.unwrap_or_else(|| Value::Null.into()))
    }

    fn command(
        &self,
        command: &FunctionCall,
        handed_on: Option<KnownFields>,
        pipeline: &Pipeline,
        dot: &KnownFields,
    ) -> Result<KnownFields, TemplateError> {
        let failed = |problem: String| TemplateError::Value {
            at: pipeline.text.clone(),
            problem,
        };
        let mut arguments = command
            .arguments
            .iter()
            .map(|operand| self.operand(operand, pipeline, dot))
            .collect::<Result<Vec<_>, _>>()?;
        arguments.extend(handed_on);
        let told = |known: KnownFields| match &command.head {
            // It tells what is absent from what is empty.
            Operand::Function(name) if name == "json" => known.value,
            _ => known.seen(),
        };
        let arguments: Vec<Value> = arguments.into_iter().map(told).collect();
        if let Operand::Function(name) = &command.head {
            let result = functions::call(name, &arguments);
            return result.map(KnownFields::from).map_err(failed);
        }
        let known = self.operand(&command.head, pipeline, dot)?;
        if arguments.is_empty() {
            return Ok(known);
        }
        match (arguments.as_slice(), &known.seen()) {
            // `.Label "key"` is a method in Go; here the field is a map.
            ([Value::String(key)], Value::Object(members)) => {
                let member = members.get(key).cloned();
                Ok(member.unwrap_or_else(|| "".into()).into())
            }
            _ => Err(failed("can't give argument to non-function".to_owned())),
        }
    }

    fn operand(
        &self,
        operand: &Operand,
        pipeline: &Pipeline,
        dot: &KnownFields,
    ) -> Result<KnownFields, TemplateError> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Variable(name) if name.is_empty() => Ok(self.whole.clone()),
            Operand::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                Ok(found.map_or_else(|| Value::Null.into(), |(_, value)| value.clone()))
            }
            Operand::Literal(value) => Ok(value.clone().into()),
            Operand::Function(name) => {
                let result = functions::call(name, &[]);
                result
                    .map(KnownFields::from)
                    .map_err(|problem| TemplateError::Value {
                        at: pipeline.text.clone(),
                        problem,
                    })
            }
            Operand::Fields(base, names) => {
                // Of a whole row one member is copied, not the row.
                let (mut names, mut value) = (names.iter(), None);
                let member = |value: &KnownFields, name: &str| {
                    value.field(name).map_err(|problem| TemplateError::Value {
                        at: pipeline.text.clone(),
                        problem,
                    })
                };
                if let (Operand::Dot, Some(first)) = (&**base, names.as_slice().first()) {
                    value = Some(member(dot, first)?);
                    names.next();
                }
                let mut value = match value {
                    Some(value) => value,
                    None => self.operand(base, pipeline, dot)?,
                };
                for name in names {
                    value = member(&value, name)?;
                }
                Ok(value)
            }
            Operand::Pipeline(inner) => self.pipeline(inner, dot),
        }
    }
}

/// Returns keys and values in the order Go visits them: maps by key.
fn items(value: &Value) -> Option<Vec<(Value, Value)>> {
    match value {
        Value::Array(items) => {
            let numbered = items.iter().cloned().enumerate();
            Some(numbered.map(|(i, item)| (i.into(), item)).collect())
        }
        Value::Object(members) => Some(sorted(members)),
        Value::Null => Some(Vec::new()),
        Value::Number(number) => {
            let count = number.as_u64()?;
            Some((0..count).map(|i| (i.into(), i.into())).collect())
        }
        Value::String(_) | Value::Bool(_) => None,
    }
}

fn sorted(members: &Map<String, Value>) -> Vec<(Value, Value)> {
    let mut pairs: Vec<_> = members.iter().collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs
        .into_iter()
        .map(|(key, value)| (key.clone().into(), value.clone()))
        .collect()
}
