use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::case::{Case, Disagreement};

/// Returns the directory with the cases.
pub fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two directories down")
        .join("testdata/conformance")
}

/// Loads all cases, sorted by name.
///
/// # Errors
///
/// The first file that is missing or not as it should be.
pub fn load() -> Result<Vec<Case>, Error> {
    let top = testdata();
    let mut cases = Vec::new();
    for entry in fs::read_dir(&top).map_err(Error::at(&top))? {
        let directory = entry.map_err(Error::at(&top))?.path();
        let file = directory.join("case.toml");
        if !file.exists() {
            continue;
        }
        let text = fs::read_to_string(&file).map_err(Error::at(&file))?;
        let mut case: Case = toml::from_str(&text).map_err(|error| Error::Case {
            path: file.clone(),
            reason: error.to_string(),
        })?;
        let name = directory
            .file_name()
            .expect("an entry of a directory has a name");
        case.name = name.to_string_lossy().into_owned();
        case.directory = directory;
        check(&case).map_err(|reason| Error::Case { path: file, reason })?;
        cases.push(case);
    }
    cases.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(cases)
}

/// Writes the file of a case anew.
///
/// # Errors
///
/// Those of writing.
pub fn save(case: &Case) -> Result<(), Error> {
    let path = case.directory.join("case.toml");
    fs::write(&path, format(case)).map_err(Error::at(&path))
}

/// Says what is wrong with a case beyond its form.
fn check(case: &Case) -> Result<(), String> {
    let is_statement = |text: &String| {
        text.strip_prefix("DF-")
            .is_some_and(|number| number.len() == 3 && number.parse().is_ok_and(|n: u16| n > 0))
    };
    if let Some(wrong) = case.statements.iter().find(|text| !is_statement(text)) {
        return Err(format!("{wrong} is no statement of the specification"));
    }
    let image = case.tree.is_some() || case.config.is_some() || case.history.is_some();
    if image == case.error.is_some() {
        return Err("either an error is expected, or an image with some of its lines".to_owned());
    }
    Ok(())
}

/// Writes a case in the one way that all files have. [`toml`] would lay out lists and long texts
/// in ways that are hard to read and to compare.
fn format(case: &Case) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        writeln!(text, "{name} = {value}").expect("a string takes everything");
    };
    line("about", quote(&case.about));
    line("statements", list(&case.statements));
    if let Some(needs) = &case.needs {
        line("needs", quote(needs));
    }
    if !case.arguments.is_empty() {
        line("arguments", list(&case.arguments));
    }
    if case.context != "." {
        line("context", quote(&case.context));
    }
    if let Some(stdin) = &case.stdin {
        line("stdin", quote(stdin));
    }
    for (name, values) in [
        ("times", &case.times),
        ("prints", &case.prints),
        ("hides", &case.hides),
    ] {
        if !values.is_empty() {
            line(name, list(values));
        }
    }
    if let Some(error) = &case.error {
        line("error", quote(error));
    }
    for (name, value) in [
        ("tree", &case.tree),
        ("config", &case.config),
        ("history", &case.history),
    ] {
        if let Some(lines) = value {
            line(name, block(lines));
        }
    }
    if !case.environment.is_empty() {
        text += "\n[environment]\n";
        for (name, value) in &case.environment {
            text += &format!("{name} = {}\n", quote(value));
        }
    }
    for step in &case.earlier {
        text += "\n[[before]]\n";
        if !step.arguments.is_empty() {
            text += &format!("arguments = {}\n", list(&step.arguments));
        }
        if !step.change.is_empty() {
            text += &format!("change = {}\n", quote(&step.change));
        }
    }
    for (name, peer) in [("buildah", &case.buildah), ("buildkit", &case.buildkit)] {
        match peer {
            None => {}
            Some(Disagreement::Differs { reason, differs }) => {
                text += &format!(
                    "\n[{name}]\nreason = {}\ndiffers = {}\n",
                    quote(reason),
                    list(differs)
                );
            }
            Some(Disagreement::Unsupported { unsupported }) => {
                text += &format!("\n[{name}]\nunsupported = {}\n", quote(unsupported));
            }
            Some(Disagreement::Skipped { skipped }) => {
                text += &format!("\n[{name}]\nskipped = {}\n", quote(skipped));
            }
        }
    }
    text
}

/// A line of values, or a line for each where that would be long.
fn list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| quote(value)).collect();
    let line = format!("[{}]", values.join(", "));
    if line.len() <= 80 {
        return line;
    }
    let lines: String = values
        .iter()
        .map(|value| format!("    {value},\n"))
        .collect();
    format!("[\n{lines}]")
}

/// A string in the form that needs the least escaping.
fn quote(text: &str) -> String {
    let has_control = text.chars().any(char::is_control);
    if !has_control && !text.contains(['"', '\\']) {
        format!("\"{text}\"")
    } else if !has_control && !text.contains('\'') {
        format!("'{text}'")
    } else if text.contains('\n') && is_literal(text) {
        format!("'''\n{text}'''")
    } else {
        format!("\"{}\"", escape(text))
    }
}

/// Lines between marks that stand alone.
fn block(lines: &str) -> String {
    if is_literal(lines) {
        format!("'''\n{lines}'''")
    } else {
        format!("\"\"\"\n{}\"\"\"", escape(lines).replace("\\n", "\n"))
    }
}

/// Says whether a text can stand between triple single quotes.
fn is_literal(text: &str) -> bool {
    !text.contains("'''")
        && !text.ends_with('\'')
        && !text
            .chars()
            .any(|character| character.is_control() && !matches!(character, '\n' | '\t'))
}

/// TOML v1.0.0, "String".
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '"' => escaped += "\\\"",
            '\\' => escaped += "\\\\",
            '\n' => escaped += "\\n",
            control if control.is_control() => {
                escaped += &format!("\\u{:04X}", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_read_as_they_were_written() {
        for case in load().unwrap() {
            let text = format(&case);
            let mut again: Case = toml::from_str(&text).unwrap();
            again.name.clone_from(&case.name);
            again.directory.clone_from(&case.directory);
            assert_eq!(again, case, "{text}");
        }
    }

    #[test]
    fn every_text_has_a_form() {
        for text in [
            "plain",
            "a 'b'",
            "a \"b\" \\",
            "'\"",
            "two\nlines\n",
            "'''\n'",
            "\u{1b}",
        ] {
            for value in [quote(text), block(text)] {
                let read: toml::Table = toml::from_str(&format!("key = {value}\n")).unwrap();
                assert_eq!(read["key"].as_str(), Some(text), "{value}");
            }
        }
    }
}
