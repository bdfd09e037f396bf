//! Credential helpers: programs `docker-credential-<name>` that keep passwords.
//!
//! One argument says what to do; the rest goes through standard input and output. A helper that
//! fails explains itself on standard *output*.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write as _};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::credentials::value::{Credential, HelperError};
use crate::secret::Secret;

/// The user name that marks a secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// A helper by its short name.
pub(crate) struct Helper<'a> {
    pub(crate) name: &'a str,
    pub(crate) search_path: Option<&'a OsStr>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HelperInput<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

impl Helper<'_> {
    /// Asks for a registry's credential; none if the helper has none.
    pub(crate) fn get(&self, server: &str) -> Result<Option<Credential>, HelperError> {
        let Some(output) = self.run("get", server.as_bytes())? else {
            return Ok(None);
        };
        let found: HelperAnswer =
            serde_json::from_slice(&output).map_err(|_| HelperError::Answer(self.program()))?;
        let secret = Secret::new(found.secret);
        Ok(match (found.username.as_str(), secret.expose()) {
            (_, "") => None,
            (TOKEN_USER, _) => Some(Credential::Identity(secret)),
            (username, _) => Some(Credential::Password {
                username: username.to_owned(),
                password: secret,
            }),
        })
    }

    pub(crate) fn store(
        &self,
        server: &str,
        username: &str,
        password: &Secret,
    ) -> Result<(), HelperError> {
        let entry = HelperInput {
            server_url: server,
            username,
            secret: password.expose(),
        };
        let input = serde_json::to_vec(&entry).expect("three strings are JSON");
        self.run("store", &input)?;
        Ok(())
    }

    /// Says whether there was anything to erase.
    pub(crate) fn erase(&self, server: &str) -> Result<bool, HelperError> {
        Ok(self.run("erase", server.as_bytes())?.is_some())
    }

    /// Returns the account of each server.
    pub(crate) fn list(&self) -> Result<BTreeMap<String, String>, HelperError> {
        match self.run("list", b"")? {
            Some(output) => {
                serde_json::from_slice(&output).map_err(|_| HelperError::Answer(self.program()))
            }
            None => Ok(BTreeMap::new()),
        }
    }

    fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    /// Runs the helper; none means *not found*.
    fn run(&self, verb: &str, input: &[u8]) -> Result<Option<Vec<u8>>, HelperError> {
        let program = self.program();
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::NotFound => HelperError::Missing(program.clone()),
            _ => HelperError::Run {
                program: program.clone(),
                source,
            },
        };
        let mut child = Command::new(self.find(&program))
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not care for its input may be gone already; its status counts.
            let _ = stdin.write_all(input);
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(Some(output.stdout));
        }
        let message = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if message.contains("credentials not found") {
            return Ok(None);
        }
        Err(HelperError::Failed { program, message })
    }

    fn find(&self, program: &str) -> OsString {
        // A name with a slash would run something else than a helper.
        let program = program.replace('/', "-");
        self.search_path
            .into_iter()
            .flat_map(std::env::split_paths)
            .map(|directory| directory.join(&program))
            .find(|path| path.is_file())
            .map_or_else(|| program.clone().into(), OsString::from)
    }
}
