//! Answers that say no.
//!
//! Registries explain themselves as `{"errors":[{"code","message","detail"}]}`, but proxies and load
//! balancers in front of them do not, so any body may come.

use std::fmt;

use kiln_oci::one_line;
use reqwest::StatusCode;
use serde::Deserialize;

use crate::error_class::ErrorClass;

/// An error answer, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryRefusal {
    /// What was wanted.
    pub action: Action,
    /// The server.
    pub host: String,
    /// The HTTP status.
    pub status: u16,
    /// The registry's code, e.g. `MANIFEST_UNKNOWN`; empty if it gave none.
    pub code: String,
    /// The server's words; empty if it gave none.
    pub message: String,
}

/// What a refused request was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reading a manifest by this name.
    Manifest(String),
    /// Reading content of this repository.
    Pull(String),
    /// Writing to this repository.
    Push(String),
    /// Listing the tags of this repository.
    Tags(String),
    /// Showing credentials.
    Login,
    /// Getting a token.
    Token,
    /// Reading this URL.
    Fetch(String),
}

impl RegistryRefusal {
    /// Decodes the body of an error answer.
    pub(crate) fn new(action: Action, host: String, status: u16, body: &[u8]) -> Self {
        let (code, message) = decode(body);
        Self {
            action,
            host,
            status,
            code,
            message,
        }
    }

    pub(crate) fn class(&self) -> ErrorClass {
        match (self.status, self.code.as_str()) {
            (429, _) | (_, "TOOMANYREQUESTS") => ErrorClass::RateLimited,
            (401 | 403, _) => ErrorClass::Unauthorized,
            (404 | 410, _) => ErrorClass::NotFound,
            _ => ErrorClass::Server,
        }
    }

    /// The server's words with its code, or the status's name.
    fn words(&self) -> String {
        let code = self.code.to_lowercase().replace('_', " ");
        match (code.as_str(), self.message.as_str()) {
            ("", "") => StatusCode::from_u16(self.status)
                .ok()
                .and_then(|status| status.canonical_reason())
                .map_or_else(|| format!("status {}", self.status), str::to_lowercase),
            ("", message) => message.to_owned(),
            (code, "") => code.to_owned(),
            (code, message) => format!("{code}: {message}"),
        }
    }
}

impl fmt::Display for RegistryRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words();
        let host = &self.host;
        match (self.class(), &self.action) {
            (_, Action::Fetch(_)) => write!(f, "invalid response status {}", self.status),
            (ErrorClass::RateLimited, _) => write!(f, "too many requests to {host}: {words}"),
            (ErrorClass::Unauthorized, Action::Login) => match self.status {
                401 => f.write_str("unauthorized: incorrect username or password"),
                _ => write!(f, "login to {host} denied: {words}"),
            },
            // Registries do not tell strangers which repositories exist.
            (ErrorClass::Unauthorized, Action::Manifest(name) | Action::Pull(name)) => write!(
                f,
                "pull access denied for {name}, repository does not exist or may require \
                 authorization: {words}"
            ),
            (ErrorClass::Unauthorized, Action::Push(name)) => {
                write!(f, "push access denied for {name}: {words}")
            }
            (ErrorClass::Unauthorized, Action::Tags(name)) => {
                write!(f, "access denied for {name}: {words}")
            }
            (ErrorClass::Unauthorized, Action::Token) => {
                write!(f, "{host} gives no token: {words}")
            }
            (ErrorClass::NotFound, Action::Manifest(name)) => {
                write!(f, "manifest for {name} not found: {words}")
            }
            (ErrorClass::NotFound, Action::Pull(name) | Action::Tags(name)) => {
                write!(f, "{name}: not found: {words}")
            }
            (_, Action::Push(name)) => {
                write!(
                    f,
                    "{host} refused the push to {name}: {} {words}",
                    self.status
                )
            }
            _ => write!(f, "{host} answered {} {words}", self.status),
        }
    }
}

impl std::error::Error for RegistryRefusal {}

#[derive(Deserialize)]
struct ErrorDocument {
    #[serde(default)]
    errors: Vec<ErrorItem>,
    /// Token servers and some proxies.
    #[serde(default)]
    details: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Returns code and message.
fn decode(body: &[u8]) -> (String, String) {
    if let Ok(document) = serde_json::from_slice::<ErrorDocument>(body) {
        if let Some(first) = document.errors.into_iter().next() {
            return (one_line(&first.code), one_line(&first.message));
        }
        for text in [document.details, document.message] {
            if !text.is_empty() {
                return (String::new(), one_line(&text));
            }
        }
    }
    (String::new(), one_line(&String::from_utf8_lossy(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_all_kinds_are_decoded() {
        for (body, code, message) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#,
                "MANIFEST_UNKNOWN",
                "manifest unknown",
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                "",
                "incorrect username or password",
            ),
            (
                "<html>\n<b>Bad\x1b[2J gateway</b>",
                "",
                "<html> <b>Bad [2J gateway</b>",
            ),
            (
                r#"{"errors":[{"code":"DENIED\u001b]0;x\u0007\u202e","message":"no\u009b2J\u202e"}]}"#,
                "DENIED ]0;x",
                "no 2J",
            ),
            ("", "", ""),
        ] {
            assert_eq!(
                decode(body.as_bytes()),
                (code.to_owned(), message.to_owned())
            );
        }
    }

    #[test]
    fn messages_name_what_was_wanted() {
        let refusal = |action, status, code: &str, message: &str| {
            RegistryRefusal {
                action,
                host: "h.io".to_owned(),
                status,
                code: code.to_owned(),
                message: message.to_owned(),
            }
            .to_string()
        };
        assert_eq!(
            refusal(
                Action::Manifest("x:9".into()),
                404,
                "MANIFEST_UNKNOWN",
                "no such tag"
            ),
            "manifest for x:9 not found: manifest unknown: no such tag"
        );
        assert_eq!(
            refusal(Action::Pull("a/b".into()), 401, "", ""),
            "pull access denied for a/b, repository does not exist or may require authorization: \
             unauthorized"
        );
        assert_eq!(
            refusal(Action::Fetch("u".into()), 404, "", "x"),
            "invalid response status 404"
        );
        assert_eq!(
            refusal(Action::Login, 401, "UNAUTHORIZED", ""),
            "unauthorized: incorrect username or password"
        );
        assert_eq!(
            refusal(Action::Tags("a".into()), 503, "", ""),
            "h.io answered 503 service unavailable"
        );
    }
}
