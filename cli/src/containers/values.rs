//! Values of `kiln run` that are small languages: environment and binds.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_engine::Bind;
use kiln_runtime::MountAccess;

use crate::environment::Environment;
use crate::failure::Failure;

/// A variable, or the wish to be without it.
pub(crate) type Variable = (String, Option<String>);

/// Parses `-e`: `NAME=VALUE`, or `NAME` to copy ours.
pub(crate) fn variable(text: &str, environment: &Environment) -> Result<Variable, Failure> {
    match text.split_once('=') {
        Some(("", _)) => Err(Failure::flag(format!(
            "invalid environment variable: {text}"
        ))),
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None if text.is_empty() => Err(Failure::flag("invalid environment variable: it is empty")),
        None => {
            let value = environment.variable(text);
            let value = value.map(|value| value.to_string_lossy().into_owned());
            Ok((text.to_owned(), value))
        }
    }
}

/// Reads `--env-file`. Nothing is quoted in it.
pub(crate) fn env_file(path: &Path, environment: &Environment) -> Result<Vec<Variable>, Failure> {
    let bytes = fs::read(path)
        .map_err(|error| Failure::flag(format!("open {}: {error}", path.display())))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        Failure::flag(format!(
            "env file {} contains invalid utf8 bytes at line {line}",
            path.display()
        ))
    })?;
    parse_env_file(text.strip_prefix('\u{feff}').unwrap_or(&text), environment)
}

fn parse_env_file(text: &str, environment: &Environment) -> Result<Vec<Variable>, Failure> {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let name = line.split('=').next().unwrap_or(line);
            match name {
                "" => Some(Err(Failure::flag(format!(
                    "no variable name on line '{line}'"
                )))),
                name if name.contains(char::is_whitespace) => Some(Err(Failure::flag(format!(
                    "variable '{name}' contains whitespaces"
                )))),
                // Here a variable that we do not have is passed over, not removed.
                name if name == line && environment.variable(name).is_none() => None,
                _ => Some(variable(line, environment)),
            }
        })
        .collect()
}

/// Parses `-v host:container[:options]`.
pub(crate) fn bind(text: &str, home: Option<&Path>) -> Result<Bind, Failure> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        [_] => {
            return Err(
                Failure::flag(format!("anonymous volumes are not supported yet: {text}"))
                    .with_hint(format!(
                        "for a directory of the host write ./DIRECTORY:{text}"
                    )),
            );
        }
        _ => {
            return Err(Failure::flag(format!(
                "invalid volume specification: '{text}'"
            )));
        }
    };
    let host = match source {
        "" => {
            return Err(Failure::flag(format!(
                "invalid volume specification: '{text}'"
            )));
        }
        path if path.starts_with('/') => PathBuf::from(path),
        path if path.starts_with('.') => std::env::current_dir()
            .map_err(|error| Failure::new(format!("cannot find the current directory: {error}")))?
            .join(path),
        path if path == "~" || path.starts_with("~/") => {
            let home = home.ok_or_else(|| Failure::flag("~ means nothing: HOME is not set"))?;
            home.join(path.trim_start_matches(['~', '/']))
        }
        name => {
            return Err(
                Failure::flag(format!("named volumes are not supported yet: {name}"))
                    .with_hint(format!("for a directory of the host write ./{name}")),
            );
        }
    };
    if !target.starts_with('/') || target.trim_matches('/').is_empty() {
        return Err(Failure::flag(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"bind\": \
             invalid mount path: '{target}' mount path must be absolute and not /"
        )));
    }
    let mut access = MountAccess::ReadWrite;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => access = MountAccess::ReadOnly,
            // Labels of SELinux, and words of other systems.
            "rw" | "z" | "Z" | "nocopy" | "consistent" | "cached" | "delegated" | "rprivate"
            | "private" => {}
            other => return Err(Failure::flag(format!("invalid mode: {other}"))),
        }
    }
    Ok(Bind {
        host,
        target: target.to_owned(),
        access,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::with(&[("OURS", "o"), ("EMPTY", "")])
    }

    #[test]
    fn variables_are_set_copied_or_removed() {
        let some = |text: &str| Some(text.to_owned());
        for (text, name, value) in [
            ("A=b=c", "A", some("b=c")),
            ("A=", "A", some("")),
            ("OURS", "OURS", some("o")),
            ("THEIRS", "THEIRS", None),
        ] {
            let variable = variable(text, &environment()).unwrap();
            assert_eq!(variable, (name.to_owned(), value));
        }
        assert!(variable("=x", &environment()).is_err());
    }

    #[test]
    fn files_have_comments_and_no_quotes() {
        let text = "# c\n  A=\"x\" \n\nOURS\nTHEIRS\n";
        let variables = parse_env_file(text, &environment()).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        assert_eq!(variables, [pair("A", "\"x\" "), pair("OURS", "o")]);
        let error = parse_env_file("a b=1", &environment()).unwrap_err();
        assert_eq!(error.message, "variable 'a b' contains whitespaces");
    }

    #[test]
    fn binds_have_two_sides() {
        let bind = |text: &str| {
            bind(text, Some(Path::new("/home/user")))
                .map(|bind| (bind.host.display().to_string(), bind.target, bind.access))
                .map_err(|failure| failure.message)
        };
        let expected =
            |host: &str, target: &str, access| Ok((host.to_owned(), target.to_owned(), access));
        assert_eq!(bind("/a:/b"), expected("/a", "/b", MountAccess::ReadWrite));
        assert_eq!(
            bind("/a:/b:ro,Z"),
            expected("/a", "/b", MountAccess::ReadOnly)
        );
        let here = std::env::current_dir().unwrap().join("./a");
        let here = here.display().to_string();
        assert_eq!(
            bind("./a:/b"),
            expected(&here, "/b", MountAccess::ReadWrite)
        );
        assert_eq!(
            bind("~/a:/b"),
            expected("/home/user/a", "/b", MountAccess::ReadWrite)
        );
        for (text, problem) in [
            ("data:/b", "named volumes"),
            ("/b", "anonymous volumes"),
            ("/a:b", "mount path must be absolute"),
            ("/a:/", "mount path must be absolute"),
            ("/a:/b:exec", "invalid mode: exec"),
            ("a:b:c:d", "invalid volume specification"),
        ] {
            let message = bind(text).unwrap_err();
            assert!(message.contains(problem), "{text}: {message}");
        }
    }
}
