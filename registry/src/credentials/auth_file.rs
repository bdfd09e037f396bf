//! `config.json` and `auth.json`: read for look-ups, edited without losing what others keep there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::credentials::registry_key::{host_of_key, registry_domain, server_key};
use crate::credentials::value::{Credential, CredentialError};
use crate::secret::Secret;

/// What look-ups need of a file.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AuthFile {
    auths: Option<BTreeMap<String, AuthEntry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl AuthFile {
    /// Reads a file; none if it does not exist.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, CredentialError> {
        match read(path)? {
            Some(bytes) => Self::parse(&bytes, &path.display().to_string()).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn parse(bytes: &[u8], place: &str) -> Result<Self, CredentialError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes).map_err(|error| syntax(&error, place))
    }

    /// Returns the helper in charge of a registry: its own, or the one for everything.
    pub(crate) fn helper(&self, domain: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().flatten();
        own.filter(|(key, _)| registry_domain(key) == domain)
            .map(|(_, name)| name)
            .next()
            .or(self.creds_store.as_ref())
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }

    /// Returns the names of all helpers.
    pub(crate) fn helpers(&self) -> BTreeSet<&str> {
        let own = self.cred_helpers.iter().flatten().map(|(_, name)| name);
        own.chain(self.creds_store.as_ref())
            .map(String::as_str)
            .filter(|name| !name.is_empty())
            .collect()
    }

    /// Returns what `auths` holds for a repository: the longest key that contains it, else a
    /// registry key in one of its older forms.
    pub(crate) fn credential(&self, domain: &str, repository: &str) -> Option<Credential> {
        let auths = self.auths.as_ref()?;
        let mut name = match repository {
            "" => domain.to_owned(),
            path => format!("{domain}/{path}"),
        };
        loop {
            if let Some(found) = auths.get(&name).and_then(AuthEntry::credential) {
                return Some(found);
            }
            match name.rfind('/') {
                Some(end) => name.truncate(end),
                None => break,
            }
        }
        let exact = auths
            .get(server_key(domain))
            .and_then(AuthEntry::credential);
        exact.or_else(|| {
            auths
                .iter()
                .filter(|(key, _)| is_registry_key(key) && registry_domain(key) == domain)
                .find_map(|(_, entry)| entry.credential())
        })
    }

    /// Returns the account of each key that has one.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = (String, String)> {
        self.auths.iter().flatten().filter_map(|(key, entry)| {
            let username = match entry.credential()? {
                Credential::Password { username, .. } => username,
                Credential::Identity(_) | Credential::Token(_) => "<token>".to_owned(),
            };
            Some((key.clone(), username))
        })
    }

    /// Adds a password to the file.
    pub(crate) fn remember(
        path: &Path,
        domain: &str,
        username: &str,
        password: &Secret,
    ) -> Result<(), CredentialError> {
        let pair = format!("{username}:{}", password.expose());
        let mut entry = Map::new();
        entry.insert("auth".to_owned(), STANDARD.encode(pair).into());
        edit(path, |auths| {
            auths.insert(server_key(domain).to_owned(), entry.into());
            true
        })?;
        Ok(())
    }

    /// Takes a registry out of the file. Says whether it was there.
    pub(crate) fn forget(path: &Path, domain: &str) -> Result<bool, CredentialError> {
        edit(path, |auths| {
            let before = auths.len();
            auths.retain(|key, _| !(is_registry_key(key) && registry_domain(key) == domain));
            auths.len() != before
        })
    }
}

/// Tells keys of whole registries (`ghcr.io`, `https://ghcr.io/v1/`) from those of repositories.
fn is_registry_key(key: &str) -> bool {
    key.starts_with("https://") || key.starts_with("http://") || host_of_key(key) == key
}

impl AuthEntry {
    fn credential(&self) -> Option<Credential> {
        let filled = |secret: &Option<Secret>| {
            let secret = secret.clone()?;
            (!secret.expose().is_empty()).then_some(secret)
        };
        if let Some(token) = filled(&self.registrytoken) {
            return Some(Credential::Token(token));
        }
        if let Some(token) = filled(&self.identitytoken) {
            return Some(Credential::Identity(token));
        }
        if let Some(auth) = filled(&self.auth) {
            return decode(auth.expose());
        }
        Some(Credential::Password {
            username: self.username.clone().filter(|name| !name.is_empty())?,
            password: self.password.clone()?,
        })
    }
}

/// Decodes base64 of `user:password`, padded or not.
fn decode(auth: &str) -> Option<Credential> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let bytes = LENIENT.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Credential::Password {
        username: username.to_owned(),
        // Some old writers padded with NUL.
        password: Secret::new(password.trim_matches('\0')),
    })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CredentialError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

// serde_json's own message may quote the value that it did not expect.
fn syntax(error: &serde_json::Error, place: &str) -> CredentialError {
    CredentialError::Syntax {
        place: place.to_owned(),
        line: error.line(),
        column: error.column(),
    }
}

/// Changes `auths` and keeps everything else in the file as it is, order included.
fn edit(
    path: &Path,
    change: impl FnOnce(&mut Map<String, Value>) -> bool,
) -> Result<bool, CredentialError> {
    let bytes = read(path)?.unwrap_or_default();
    let mut file: Map<String, Value> = if bytes.iter().all(u8::is_ascii_whitespace) {
        Map::new()
    } else {
        serde_json::from_slice(&bytes)
            .map_err(|error| syntax(&error, &path.display().to_string()))?
    };
    let auths = file.entry("auths").or_insert_with(|| Map::new().into());
    if !auths.is_object() {
        *auths = Map::new().into();
    }
    let changed = auths.as_object_mut().is_some_and(change);
    if changed {
        replace(path, &file).map_err(|source| CredentialError::Write {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(changed)
}

/// Writes the file beside its place and renames it there, so that no reader sees half of it.
fn replace(path: &Path, file: &Map<String, Value>) -> io::Result<()> {
    // A user who keeps the file elsewhere, with a link here, keeps the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let temporary = directory.join(format!(".config.json.{}", std::process::id()));
    let written = write_private(&temporary, file).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_private(path: &Path, file: &Map<String, Value>) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(file)?;
    text.push(b'\n');
    let mut handle = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    handle.write_all(&text)?;
    handle.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(username: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password {
            username: username.to_owned(),
            password: Secret::new(password),
        })
    }

    fn file(text: &str) -> AuthFile {
        AuthFile::parse(text.as_bytes(), "test").unwrap()
    }

    fn auth(pair: &str) -> String {
        STANDARD.encode(pair)
    }

    /// OCI-003.
    #[test]
    fn hub_is_found_under_its_historic_key() {
        let file = file(&format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}}}}}}"#,
            auth("me:a:b")
        ));
        assert_eq!(
            file.credential("docker.io", "library/alpine"),
            password("me", "a:b")
        );
        assert_eq!(file.credential("index.docker.internal", "x"), None);
    }

    #[test]
    fn older_and_longer_keys_match() {
        let file = file(&format!(
            r#"{{"auths":{{
                "https://old.io/v1/":{{"auth":"{}"}},
                "q.io":{{"auth":"{}"}},
                "q.io/team":{{"username":"t","password":"2"}},
                "q.io/team/app":{{"auth":"{}","username":"no","password":"no"}},
                "only.io/team":{{"auth":"{}"}},
                "empty.io":{{}}
            }}}}"#,
            auth("o:0"),
            auth("q:1\0\0"),
            auth("a:3").trim_end_matches('='),
            auth("x:y"),
        ));
        for (domain, repository, expected) in [
            ("old.io", "x", password("o", "0")),
            ("q.io", "x", password("q", "1")),
            ("q.io", "team/x", password("t", "2")),
            ("q.io", "teamx", password("q", "1")),
            ("q.io", "team/app/x", password("a", "3")),
            ("only.io", "other", None),
            ("empty.io", "x", None),
        ] {
            assert_eq!(
                file.credential(domain, repository),
                expected,
                "{domain}/{repository}"
            );
        }
    }

    #[test]
    fn tokens_go_before_passwords() {
        let file = file(
            r#"{"auths":{"a":{"auth":"eDp5","identitytoken":"i"},"b":{"registrytoken":"r","identitytoken":"i"}}}"#,
        );
        assert_eq!(
            file.credential("a", ""),
            Some(Credential::Identity(Secret::new("i")))
        );
        assert_eq!(
            file.credential("b", ""),
            Some(Credential::Token(Secret::new("r")))
        );
    }

    #[test]
    fn syntax_errors_do_not_quote() {
        let error = AuthFile::parse(br#"{"auths":{"a":"hunter2"}}"#, "f")
            .err()
            .unwrap();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("line 1"), "{shown}");
    }

    #[test]
    fn editing_keeps_what_it_does_not_know() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper/config.json");
        fs::create_dir(directory.path().join("deeper")).unwrap();
        fs::write(
            &path,
            r#"{"zeta":1,"auths":{"k.io":{"auth":"eDp5"}},"HttpHeaders":{"A":"b"}}"#,
        )
        .unwrap();

        AuthFile::remember(&path, "docker.io", "me", &Secret::new("pw")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["zeta"], 1);
        assert_eq!(value["HttpHeaders"]["A"], "b");
        assert_eq!(value["auths"]["k.io"]["auth"], "eDp5");
        assert_eq!(
            value["auths"]["https://index.docker.io/v1/"]["auth"],
            auth("me:pw")
        );
        assert!(text.find("zeta") < text.find("HttpHeaders"));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        assert!(AuthFile::forget(&path, "docker.io").unwrap());
        assert!(!AuthFile::forget(&path, "docker.io").unwrap());
        let kept = AuthFile::load(&path).unwrap().unwrap();
        assert_eq!(kept.credential("k.io", ""), password("x", "y"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
