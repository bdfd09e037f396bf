//! Answers in the JSON of BuildKit's subrequests, member by member as its clients read them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_engine::{CheckResult, Error, Outline, OutlinedNeed, SourceText, Targets};
use kiln_parser::lint::Rule;
use kiln_parser::{Diagnostic, Span, mask_logins};
use serde_json::{Map, Value, json};

/// Findings, the file, and why it cannot be built.
pub(super) fn check(checked: &CheckResult) -> Value {
    let file = &checked.source_text;
    let warnings = checked
        .findings
        .iter()
        .map(|finding| warning(finding, file));
    let mut value = json!({
        "warnings": warnings.collect::<Vec<_>>(),
        "sources": [{
            "filename": file.name,
            "data": data(file),
            "language": "Dockerfile",
        }],
    });
    if let Some(problem) = &checked.problem {
        let mut error = json!({ "message": problem.full_message() });
        if let Some(lines) = problem_lines(problem) {
            error["location"] = location(lines, file);
        }
        value["buildError"] = error;
    }
    value
}

fn warning(finding: &Diagnostic, file: &SourceText) -> Value {
    let mut value = json!({ "ruleName": finding.code });
    if let Some(rule) = Rule::from_name(finding.code) {
        value["description"] = rule.description().into();
        if let Some(url) = rule.url() {
            value["url"] = url.into();
        }
    }
    value["detail"] = finding.message.as_str().into();
    value["location"] = location(finding.lines, file);
    value
}

fn problem_lines(problem: &Error) -> Option<Span> {
    let lines = match problem {
        Error::Dockerfile { diagnostics, .. } => diagnostics.first()?.lines,
        Error::Base { span, .. } => *span,
        _ => return None,
    };
    (lines != Span::default()).then_some(lines)
}

/// A target, and what its build can be given.
pub(super) fn outline(outline: &Outline) -> Value {
    let file = &outline.source_text;
    let mut value = Map::new();
    let target = &outline.target;
    set(&mut value, "name", target.name.as_deref());
    set(&mut value, "description", target.description.as_deref());
    let arguments = outline.arguments.iter().map(|argument| {
        let mut value = Map::new();
        set(&mut value, "name", Some(&argument.name));
        set(&mut value, "description", argument.description.as_deref());
        set(&mut value, "value", argument.value.as_deref());
        value.insert("location".to_owned(), location(argument.lines, file));
        Value::from(value)
    });
    let lists: [(&str, Vec<Value>); 3] = [
        ("args", arguments.collect()),
        ("secrets", needs(&outline.secrets, file)),
        ("ssh", needs(&outline.agents, file)),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            value.insert(name.to_owned(), list.into());
        }
    }
    value.insert("sources".to_owned(), json!([data(file)]));
    value.into()
}

fn needs(needs: &[OutlinedNeed], file: &SourceText) -> Vec<Value> {
    let values = needs.iter().map(|need| {
        let mut value = json!({ "name": need.name });
        if need.required {
            value["required"] = true.into();
        }
        value["location"] = location(need.lines, file);
        value
    });
    values.collect()
}

/// The stages.
pub(super) fn targets(targets: &Targets) -> Value {
    let file = &targets.source_text;
    let last = targets.targets.len().saturating_sub(1);
    let list = targets.targets.iter().enumerate().map(|(index, target)| {
        let mut value = Map::new();
        set(&mut value, "name", target.name.as_deref());
        if index == last {
            value.insert("default".to_owned(), true.into());
        }
        set(&mut value, "description", target.description.as_deref());
        set(&mut value, "base", Some(&target.base));
        set(&mut value, "platform", target.platform.as_deref());
        value.insert("location".to_owned(), location(target.lines, file));
        Value::from(value)
    });
    json!({ "targets": list.collect::<Vec<_>>(), "sources": [data(file)] })
}

/// Sets a member unless it would be empty.
fn set(value: &mut Map<String, Value>, name: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        value.insert(name.to_owned(), text.into());
    }
}

/// Passwords in addresses do not go to where this is read; places in the text stay right.
fn data(file: &SourceText) -> String {
    STANDARD.encode(mask_logins(&file.bytes))
}

/// BuildKit gives each line a range of its own, and no columns.
fn location(lines: Span, file: &SourceText) -> Value {
    let (first, last) = (lines.line(&file.bytes), lines.last_line(&file.bytes));
    let ranges =
        (first..=last).map(|line| json!({ "start": { "line": line }, "end": { "line": line } }));
    json!({ "ranges": ranges.collect::<Vec<_>>() })
}
