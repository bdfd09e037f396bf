//! Builds that must fail, and what they say.

use std::fs;
use std::process::{Command, Stdio};

use kiln_testbed::Scratch;
use regex::Regex;

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
        let scratch = Scratch::new();
        let context = scratch.join("ctx");
        fs::create_dir(&context).unwrap();
        fs::write(context.join("Dockerfile"), &self.dockerfile).unwrap();
        for (path, content) in &self.files {
            let path = context.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .args(["build", "--progress=plain"])
            .args(&self.arguments)
            .arg("ctx")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", scratch.path())
            .env("KILN_ROOT", scratch.join("state"))
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}: {stderr}", self.name);
        assert!(output.stdout.is_empty(), "{}", self.name);
        stderr.into_owned()
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
