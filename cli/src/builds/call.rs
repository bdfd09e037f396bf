//! `--check` and `--call`: a look at a Dockerfile instead of a build.
//!
//! Results go to standard output, as text or in the JSON of BuildKit's subrequests.

mod describe; // which methods there are
mod json; // results for programs
mod text; // results for people

use kiln_docker::csv;
use kiln_engine::{BuildRequest, Error, Io, verbs};
use kiln_parser::parse_bool;
use serde_json::{Value, json};

use super::arguments::BuildArguments;
use super::result;
use crate::failure::{Exit, Failure, Outcome};
use crate::session::Session;
use crate::terminal;

/// What is asked instead of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    method: Method,
    format: Format,
    status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// What lint rules say.
    Check,
    /// What the build can be given.
    Outline,
    /// What can be built.
    Targets,
    /// Which methods there are.
    Describe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// What becomes of the method's own exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Kept,
    Ignored,
}

/// An answer, and how the command ends with it.
#[derive(Debug)]
pub(crate) struct Answer {
    text: String,
    json: Value,
    exit: Exit,
    /// Why the Dockerfile cannot be built, if that was to be found out and is so.
    pub(crate) problem: Option<Error>,
}

impl Call {
    /// Returns what the flags ask for; nothing if that is a build.
    pub(crate) fn of(arguments: &BuildArguments) -> Result<Option<Self>, Failure> {
        let call = arguments.call.as_deref().unwrap_or("build");
        let call = Self::parse(call).map_err(Failure::flag)?;
        Ok(match (arguments.check, call) {
            (true, None) => Some(Self {
                method: Method::Check,
                format: Format::Text,
                status: Status::Kept,
            }),
            (true, Some(call)) if call.method != Method::Check => {
                return Err(Failure::flag("--check and --call ask for different things"));
            }
            (_, call) => call,
        })
    }

    fn parse(text: &str) -> Result<Option<Self>, String> {
        let (mut method, mut format, mut status) = (None, Format::Text, Status::Kept);
        for field in csv::fields(text).map_err(|error| error.to_string())? {
            match field.split_once('=') {
                Some(("format", "json")) => format = Format::Json,
                Some(("format", "text" | "")) => format = Format::Text,
                Some(("format", other)) => {
                    return Err(format!("invalid format {other:?} in --call"));
                }
                None if field == "ignorestatus" => status = Status::Ignored,
                Some(("ignorestatus", value)) => {
                    status = match parse_bool(value) {
                        Some(true) => Status::Ignored,
                        Some(false) => Status::Kept,
                        None => return Err(format!("invalid value {value:?} of ignorestatus")),
                    };
                }
                Some(("method", name)) => method = Some(name.to_owned()),
                None if method.is_none() => method = Some(field),
                _ => return Err(format!("invalid option {field:?} in --call")),
            }
        }
        let method = match method.as_deref() {
            None | Some("" | "build") => return Ok(None),
            Some("check" | "lint") => Method::Check,
            Some("outline") => Method::Outline,
            Some("targets") => Method::Targets,
            Some("subrequests.describe") => Method::Describe,
            Some(other) => {
                return Err(format!(
                    "invalid call {other:?}: expected build, check, outline, targets or \
                     subrequests.describe"
                ));
            }
        };
        Ok(Some(Self {
            method,
            format,
            status,
        }))
    }

    /// Asks the engine. `width` is how many characters a line of prose may have.
    pub(crate) fn ask(
        self,
        session: &Session,
        request: &BuildRequest,
        width: Option<usize>,
        io: &Io<'_>,
    ) -> Result<Answer, Error> {
        Ok(match self.method {
            Method::Check => {
                let checked = verbs::check(&session.stores, &session.outside, request, io)?;
                let is_fine = checked.findings.is_empty() && checked.problem.is_none();
                Answer {
                    text: text::check(&checked, width),
                    json: json::check(&checked),
                    exit: if is_fine {
                        Exit::SUCCESS
                    } else {
                        Exit::FAILURE
                    },
                    problem: checked.problem,
                }
            }
            Method::Outline => {
                let outline = verbs::outline(&session.stores, &session.outside, request, io)?;
                Answer::plain(text::outline(&outline), json::outline(&outline))
            }
            Method::Targets => {
                let targets = verbs::targets(&session.stores, &session.outside, request, io)?;
                Answer::plain(text::targets(&targets), json::targets(&targets))
            }
            Method::Describe => Answer::plain(describe::text(), describe::json()),
        })
    }

    /// Prints an answer and writes `--metadata-file`.
    pub(crate) fn deliver(self, answer: &Answer, arguments: &BuildArguments) -> Outcome {
        match self.format {
            Format::Text => terminal::print(&answer.text)?,
            Format::Json => terminal::print(&result::pretty(&answer.json))?,
        }
        if let Some(path) = &arguments.metadata_file {
            result::write_json(path, &json!({ "result.json": answer.json }))?;
        }
        Ok(match self.status {
            Status::Kept => answer.exit,
            Status::Ignored => Exit::SUCCESS,
        })
    }
}

impl Answer {
    fn plain(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            exit: Exit::SUCCESS,
            problem: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_methods_with_options() {
        let call = |method, format, status| {
            Ok(Some(Call {
                method,
                format,
                status,
            }))
        };
        for (text, expected) in [
            ("build", Ok(None)),
            ("", Ok(None)),
            ("check", call(Method::Check, Format::Text, Status::Kept)),
            ("lint", call(Method::Check, Format::Text, Status::Kept)),
            (
                "outline,format=json",
                call(Method::Outline, Format::Json, Status::Kept),
            ),
            (
                "format=json,method=targets",
                call(Method::Targets, Format::Json, Status::Kept),
            ),
            (
                "check,ignorestatus",
                call(Method::Check, Format::Text, Status::Ignored),
            ),
            (
                "check,ignorestatus=false",
                call(Method::Check, Format::Text, Status::Kept),
            ),
            (
                "subrequests.describe",
                call(Method::Describe, Format::Text, Status::Kept),
            ),
        ] {
            assert_eq!(Call::parse(text), expected, "{text}");
        }
        for text in ["chekc", "check,format=xml", "check,x", "check,x=y"] {
            assert!(Call::parse(text).is_err(), "{text}");
        }
    }
}
