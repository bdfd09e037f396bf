//! `--secret`: values for `RUN --mount=type=secret`, from files and variables.
//!
//! They are read here, before the build, so that what is missing stops it early. Messages hold ids,
//! paths and names of variables, never a value.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use kiln_docker::csv;
use kiln_engine::SecretBytes;

use crate::environment::Environment;
use crate::failure::Failure;
use crate::terminal;

/// Bytes. BuildKit's limit.
const LARGEST: u64 = 500 * 1024;

/// Reads the secrets in order; of an id given twice the last one counts.
pub(crate) fn read_all(
    texts: &[String],
    environment: &Environment,
) -> Result<Vec<(String, SecretBytes)>, Failure> {
    let mut secrets: Vec<(String, SecretBytes)> = Vec::new();
    for text in texts {
        let SecretFlag { id, origin } = parse(text, environment).map_err(Failure::flag)?;
        let value = match origin {
            SecretOrigin::Variable(name) => variable(&id, &name, environment)?,
            SecretOrigin::File(path) => file(&id, Path::new(&path))?,
        };
        secrets.retain(|(known, _)| *known != id);
        secrets.push((id, value));
    }
    Ok(secrets)
}

/// One `--secret`.
#[derive(Debug, PartialEq, Eq)]
struct SecretFlag {
    id: String,
    origin: SecretOrigin,
}

/// Where a value is.
#[derive(Debug, PartialEq, Eq)]
enum SecretOrigin {
    File(String),
    Variable(String),
}

/// Parses `id=ID[,src=PATH][,env=NAME][,type=file|env]`.
fn parse(text: &str, environment: &Environment) -> Result<SecretFlag, String> {
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for field in csv::fields(text).map_err(|error| error.to_string())? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        let place = match key.to_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut source,
            "env" => &mut variable,
            "type" if !matches!(value, "file" | "env") => {
                return Err(format!("unsupported secret type {value:?}"));
            }
            "type" => &mut kind,
            key => return Err(format!("unexpected key '{key}' in '{field}'")),
        };
        *place = Some(value.to_owned()).filter(|value| !value.is_empty());
    }
    let id = id.ok_or_else(|| format!("secret missing ID: --secret {text}"))?;
    let origin = match (kind.as_deref(), source, variable) {
        (_, _, Some(name)) => SecretOrigin::Variable(name),
        (Some("env"), Some(name), None) => SecretOrigin::Variable(name),
        (Some("env"), None, None) => SecretOrigin::Variable(id.clone()),
        (_, Some(path), None) => SecretOrigin::File(path),
        (Some(_), None, None) => SecretOrigin::File(id.clone()),
        (None, None, None) => match environment.variable(&id) {
            Some(_) => SecretOrigin::Variable(id.clone()),
            None => SecretOrigin::File(id.clone()),
        },
    };
    Ok(SecretFlag { id, origin })
}

fn variable(id: &str, name: &str, environment: &Environment) -> Result<SecretBytes, Failure> {
    // As for BuildKit, one that is not set is an empty secret; few people will want that.
    let value = environment.variable(name).unwrap_or_else(|| {
        terminal::warn(&format!(
            "secret {id} is empty: environment variable {name} is not set"
        ));
        Default::default()
    });
    match value.len() as u64 {
        ..=LARGEST => Ok(SecretBytes::new(value.as_bytes())),
        _ => Err(too_big(id)),
    }
}

fn file(id: &str, path: &Path) -> Result<SecretBytes, Failure> {
    let failed = |problem: &str| {
        Failure::new(format!(
            "secret {id}: cannot read {}: {problem}",
            path.display()
        ))
    };
    let read = || -> std::io::Result<Vec<u8>> {
        let mut value = Vec::new();
        // A pipe has no length, so the limit is kept while reading.
        File::open(path)?
            .take(LARGEST + 1)
            .read_to_end(&mut value)?;
        Ok(value)
    };
    let value = match read() {
        Ok(value) => value,
        Err(error) => {
            return Err(match error.kind() {
                std::io::ErrorKind::NotFound => failed("no such file or directory"),
                std::io::ErrorKind::IsADirectory => failed("it is a directory"),
                _ => failed(&error.to_string()),
            });
        }
    };
    match value.len() as u64 {
        ..=LARGEST => Ok(SecretBytes::new(value)),
        _ => Err(too_big(id)),
    }
}

fn too_big(id: &str) -> Failure {
    Failure::new(format!("secret {id} too big. max size 500KB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::with(&[("TOKEN", "hunter2"), ("EMPTY", "")])
    }

    /// DF-107: where a value is looked for.
    #[test]
    fn df_107_forms_of_a_secret() {
        let file = |path: &str| SecretOrigin::File(path.to_owned());
        let variable = |name: &str| SecretOrigin::Variable(name.to_owned());
        for (text, id, origin) in [
            ("id=TOKEN", "TOKEN", variable("TOKEN")),
            ("id=token", "token", file("token")),
            ("id=TOKEN,type=file", "TOKEN", file("TOKEN")),
            ("id=x,src=/a", "x", file("/a")),
            ("id=x,source=/a,type=file", "x", file("/a")),
            ("id=x,env=TOKEN", "x", variable("TOKEN")),
            ("id=x,src=TOKEN,type=env", "x", variable("TOKEN")),
            ("type=env,id=TOKEN", "TOKEN", variable("TOKEN")),
            ("ID=x,SRC=/a", "x", file("/a")),
            (r#"id=x,"src=/a,b""#, "x", file("/a,b")),
        ] {
            let expected = SecretFlag {
                id: id.to_owned(),
                origin,
            };
            assert_eq!(parse(text, &environment()), Ok(expected), "{text}");
        }
        for (text, message) in [
            ("x", "invalid field 'x' must be a key=value pair"),
            ("src=/a", "secret missing ID: --secret src=/a"),
            ("id=x,x=y", "unexpected key 'x' in 'x=y'"),
            ("id=x,type=pipe", "unsupported secret type \"pipe\""),
        ] {
            assert_eq!(parse(text, &environment()), Err(message.to_owned()));
        }
    }

    #[test]
    fn df_107_values_are_read_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("exact"), vec![b'x'; 500 * 1024]).unwrap();
        std::fs::write(path("large"), vec![b'x'; 500 * 1024 + 1]).unwrap();
        let read = |text: String| {
            let secrets = read_all(&[text], &environment()).map_err(|failure| failure.message)?;
            Ok::<_, String>(secrets[0].1.expose().to_vec())
        };
        assert_eq!(read("id=x,env=TOKEN".to_owned()), Ok(b"hunter2".to_vec()));
        assert_eq!(read("id=EMPTY".to_owned()), Ok(Vec::new()));
        let of_file = |name: &str| format!("id=x,src={}", path(name).display());
        assert_eq!(read(of_file("exact")).map(|value| value.len()), Ok(512_000));
        assert_eq!(
            read(of_file("large")),
            Err("secret x too big. max size 500KB".to_owned())
        );
        assert_eq!(
            read(of_file("missing")),
            Err(format!(
                "secret x: cannot read {}: no such file or directory",
                path("missing").display()
            ))
        );
        // Not set is empty, as for BuildKit.
        assert_eq!(read("id=x,env=UNSET".to_owned()), Ok(Vec::new()));
    }

    #[test]
    fn the_last_secret_of_an_id_counts() {
        let texts = ["id=TOKEN", "id=EMPTY", "id=TOKEN,env=EMPTY"].map(str::to_owned);
        let secrets = read_all(&texts, &environment()).unwrap();
        let found: Vec<(&str, usize)> = secrets
            .iter()
            .map(|(id, value)| (id.as_str(), value.expose().len()))
            .collect();
        assert_eq!(found, [("EMPTY", 0), ("TOKEN", 0)]);
    }
}
