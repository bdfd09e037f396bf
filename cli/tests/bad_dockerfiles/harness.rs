//! Builds that must fail, and what they say.

use std::fs;

use kiln_testbed::Kiln;
use regex::Regex;

use crate::program;

/// A Dockerfile with a mistake, and what is around it.
pub(crate) struct Case {
    name: &'static str,
    dockerfile: Vec<u8>,
    arguments: Vec<&'static str>,
    files: Vec<(&'static str, &'static str)>,
}

/// Begins a case.
pub(crate) fn case(name: &'static str, dockerfile: impl AsRef<[u8]>) -> Case {
    Case {
        name,
        dockerfile: dockerfile.as_ref().to_vec(),
        arguments: Vec::new(),
        files: Vec::new(),
    }
}

/// Begins a case with a stage that starts from nothing and holds these lines.
pub(crate) fn line(name: &'static str, lines: &str) -> Case {
    case(name, format!("FROM scratch\n{lines}\n"))
}

impl Case {
    /// Adds an argument of `kiln build`.
    pub(crate) fn with(mut self, argument: &'static str) -> Self {
        self.arguments.push(argument);
        self
    }

    /// Adds a file to the context.
    pub(crate) fn file(mut self, path: &'static str, content: &'static str) -> Self {
        self.files.push((path, content));
        self
    }

    fn complaint(&self) -> String {
        let kiln = Kiln::new(program());
        let context = kiln.scratch.join("ctx");
        fs::create_dir(&context).unwrap();
        fs::write(context.join("Dockerfile"), &self.dockerfile).unwrap();
        for (path, content) in &self.files {
            kiln.write(context.join(path), content);
        }
        let build = [
            &["build", "--progress=plain"],
            &self.arguments[..],
            &["ctx"],
        ];
        let ended = kiln.run(&build.concat());
        assert_eq!(ended.code, 1, "{}: {}", self.name, ended.stderr);
        assert_eq!(ended.stdout, "", "{}", self.name);
        ended.stderr
    }
}

/// Returns what each case makes kiln say, one after the other.
///
/// Progress is left out: that has tests of its own.
pub(crate) fn complaints(cases: &[Case]) -> String {
    let progress = Regex::new(r"(?m)^(#\d+ .*)?\n").unwrap();
    let trailing_blank = Regex::new(r"(?m)[ \t]+$").unwrap();
    let mut text = String::new();
    for case in cases {
        let said = case.complaint();
        let said = progress.replace_all(&said, "");
        // What is a blank line of the file ends in blanks, which editors strip.
        let said = trailing_blank.replace_all(&said, "");
        text.push_str(&format!("######## {}\n{said}\n", case.name));
    }
    text
}
