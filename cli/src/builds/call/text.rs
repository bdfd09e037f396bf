//! Answers for people (docs/spec/dockerfile.md 14, docs/spec/cli.md 1.11).

use kiln_docker::table;
use kiln_engine::{CheckResult, Outline, OutlinedNeed, SourceText, Targets};
use kiln_parser::lint::Rule;
use kiln_parser::{Diagnostic, excerpt};
use unicode_width::UnicodeWidthStr as _;

use crate::clean;

/// Findings, each with the lines it is about.
pub(super) fn check(checked: &CheckResult, width: Option<usize>) -> String {
    let mut text = match checked.findings.len() {
        // Whether there are any is not known of a file that makes no sense.
        0 if checked.problem.is_some() => String::new(),
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for finding in &checked.findings {
        text.push_str(&warning(finding, &checked.source_text, width));
    }
    text
}

fn warning(finding: &Diagnostic, file: &SourceText, width: Option<usize>) -> String {
    let rule = finding.code;
    let title = match Rule::from_name(rule).and_then(Rule::url) {
        Some(url) => format!("WARNING: {rule} - {url}"),
        None => format!("WARNING: {rule}"),
    };
    let mut text = format!("\n{}\n", wrap(&title, width));
    text.push_str(&format!("{}\n", wrap(&finding.message, width)));
    text.push_str(&excerpt(&file.bytes, &file.name, &[finding.lines]));
    for note in &finding.notes {
        text.push_str(&format!("{}\n", wrap(&format!("note: {note}"), width)));
    }
    text
}

/// Breaks a text between words so that no line is wider than `width`, where words let it be so.
fn wrap(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let mut wrapped = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        if used > 0 && used + 1 + word.width() > width {
            wrapped.push('\n');
            used = 0;
        } else if !wrapped.is_empty() {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += word.width();
    }
    wrapped
}

/// A target, and what its build can be given.
pub(super) fn outline(outline: &Outline) -> String {
    let target = &outline.target;
    let mut text = String::new();
    if target.name.is_some() || target.description.is_some() {
        let name = target.name.as_deref().unwrap_or("(default)");
        let described = target.description.as_ref();
        let width = if described.is_some() { 13 } else { 8 };
        text.push_str(&format!("{:width$}{name}\n", "TARGET:"));
        if let Some(described) = described {
            text.push_str(&format!("{:width$}{described}\n", "DESCRIPTION:"));
        }
        text.push('\n');
    }
    let arguments = outline.arguments.iter().map(|argument| {
        let value = argument.value.clone().unwrap_or_default();
        let described = argument.description.clone().unwrap_or_default();
        vec![argument.name.clone(), value, described]
    });
    text.push_str(&section(
        &["BUILD ARG", "VALUE", "DESCRIPTION"],
        arguments.collect(),
    ));
    text.push_str(&section(&["SECRET", "REQUIRED"], needs(&outline.secrets)));
    text.push_str(&section(&["SSH", "REQUIRED"], needs(&outline.agents)));
    text
}

fn needs(needs: &[OutlinedNeed]) -> Vec<Vec<String>> {
    let rows = needs.iter().map(|need| {
        let required = if need.required { "true" } else { "" };
        vec![need.name.clone(), required.to_owned()]
    });
    rows.collect()
}

/// A table and a blank line; nothing without rows.
fn section(header: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        String::new()
    } else {
        titled(header, rows) + "\n"
    }
}

fn titled(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header = header.iter().map(|&title| title.to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let table = table::render(&all, clean::line);
    // Cells at the end of a row may be empty.
    let lines = table.lines().map(str::trim_end);
    lines.map(|line| format!("{line}\n")).collect()
}

/// The stages that can be named as the target.
pub(super) fn targets(targets: &Targets) -> String {
    let last = targets.targets.len().saturating_sub(1);
    let rows = targets.targets.iter().enumerate().map(|(index, target)| {
        let name = match (&target.name, index == last) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.clone(),
            (None, true) => "(default)".to_owned(),
            (None, false) => String::new(),
        };
        vec![name, target.description.clone().unwrap_or_default()]
    });
    titled(&["TARGET", "DESCRIPTION"], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_broken_between_words() {
        assert_eq!(wrap("aa bb cc", None), "aa bb cc");
        assert_eq!(wrap("aa bb cc", Some(8)), "aa bb cc");
        assert_eq!(wrap("aa bb cc", Some(7)), "aa bb\ncc");
        assert_eq!(wrap("aa bbbbbbbb cc", Some(4)), "aa\nbbbbbbbb\ncc");
        assert_eq!(wrap("a  b", Some(80)), "a  b");
    }
}
