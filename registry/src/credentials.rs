//! Who we are to a registry: Docker's `config.json`, credential helpers, containers' `auth.json`.
//!
//! Asked in this order, the first that knows the registry wins:
//!
//! 1. the inline configuration (`DOCKER_AUTH_CONFIG`)
//! 2. Docker's `config.json`: the registry's helper of `credHelpers`, else that of `credsStore`, else
//!    `auths`
//! 3. each containers-auth.json(5) file, likewise; a key may name a namespace or repository
//!
//! Files are read when a server asks for credentials, never before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::auth_file::AuthFile;
use crate::helper::{Helper, HelperError};
use crate::secret::Secret;

/// The key under which Docker files Docker Hub's credentials.
pub(crate) const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Names that all mean Docker Hub.
const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Where credentials are kept. The default knows none.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The directory of Docker's `config.json`; `login` writes there.
    pub docker_directory: Option<PathBuf>,
    /// The text of a `config.json` of which only `auths` counts.
    pub inline: Option<Secret>,
    /// Files in the format of containers-auth.json(5).
    pub auth_files: Vec<PathBuf>,
    /// Where credential helpers are looked for, separated by colons; none leaves it to the system.
    pub search_path: Option<OsString>,
}

/// What proves who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A user name with a password or access token.
    Password {
        /// The account.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// A refresh token, exchanged for access tokens.
    Identity(Secret),
    /// An access token, sent as it is.
    Token(Secret),
}

/// Where `login` put a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In the care of the helper of this name.
    Helper(String),
    /// In this file, encoded but not encrypted.
    File(PathBuf),
}

/// Why credentials cannot be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("cannot read credentials in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file cannot be replaced.
    #[error("cannot write credentials to {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The text is not a configuration. Says where, but not what: it may be a password.
    #[error("credentials in {place} are not valid, line {line} column {column}")]
    Syntax {
        /// The file, or the name of the inline configuration.
        place: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// There is no directory to write to.
    #[error("no directory for credentials is known")]
    Nowhere,
    /// A helper failed.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

impl Credentials {
    /// Finds the credential for a repository of the registry `domain`.
    ///
    /// `repository` may be empty: then only keys of the whole registry match.
    ///
    /// # Errors
    /// When a file that exists cannot be understood, or a helper fails or is missing.
    pub fn lookup(
        &self,
        domain: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        let found = self.find(domain, repository);
        let is_found = matches!(found, Ok(Some(_)));
        tracing::debug!(domain, repository, is_found, "looked for credentials");
        found
    }

    fn find(&self, domain: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        let domain = registry_domain(domain);
        if let Some(inline) = &self.inline {
            let file = AuthFile::parse(inline.expose().as_bytes(), "DOCKER_AUTH_CONFIG")?;
            if let Some(found) = file.credential(&domain, repository) {
                return Ok(Some(found));
            }
        }
        for path in self.docker_file().iter().chain(&self.auth_files) {
            let Some(file) = AuthFile::load(path)? else {
                continue;
            };
            // Where a helper is in charge, what `auths` says is out of date.
            let found = match file.helper(&domain) {
                Some(name) => self.helper(name).get(server_key(&domain))?,
                None => file.credential(&domain, repository),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Keeps a password for the registry `domain`.
    ///
    /// # Errors
    /// When the helper or the file refuses it.
    pub fn store(
        &self,
        domain: &str,
        username: &str,
        password: &Secret,
    ) -> Result<Stored, CredentialError> {
        let domain = registry_domain(domain);
        let path = self.docker_file().ok_or(CredentialError::Nowhere)?;
        let file = AuthFile::load(&path)?.unwrap_or_default();
        if let Some(name) = file.helper(&domain) {
            self.helper(name)
                .store(server_key(&domain), username, password)?;
            return Ok(Stored::Helper(name.to_owned()));
        }
        AuthFile::remember(&path, &domain, username, password)?;
        Ok(Stored::File(path))
    }

    /// Forgets what `store` kept. Says whether there was anything.
    ///
    /// # Errors
    /// When the helper or the file refuses.
    pub fn erase(&self, domain: &str) -> Result<bool, CredentialError> {
        let domain = registry_domain(domain);
        let path = self.docker_file().ok_or(CredentialError::Nowhere)?;
        let Some(file) = AuthFile::load(&path)? else {
            return Ok(false);
        };
        let mut erased = false;
        if let Some(name) = file.helper(&domain) {
            erased = self.helper(name).erase(server_key(&domain))?;
        }
        Ok(AuthFile::forget(&path, &domain)? || erased)
    }

    /// Returns the registries with stored passwords, and the account of each.
    ///
    /// # Errors
    /// As [`Credentials::lookup`].
    pub fn list(&self) -> Result<BTreeMap<String, String>, CredentialError> {
        let mut accounts = BTreeMap::new();
        let Some(path) = self.docker_file() else {
            return Ok(accounts);
        };
        if let Some(file) = AuthFile::load(&path)? {
            accounts.extend(file.accounts());
            for name in file.helpers() {
                accounts.extend(self.helper(name).list()?);
            }
        }
        Ok(accounts)
    }

    fn docker_file(&self) -> Option<PathBuf> {
        Some(self.docker_directory.as_ref()?.join("config.json"))
    }

    fn helper<'a>(&'a self, name: &'a str) -> Helper<'a> {
        Helper {
            name,
            search_path: self.search_path.as_deref(),
        }
    }
}

/// Returns the registry that a server's name or URL means, in the form image names use.
///
/// `https://ghcr.io/v2/` is `ghcr.io`; nothing, and all names of Docker Hub, are `docker.io`.
#[must_use]
pub fn registry_domain(server: &str) -> String {
    let host = host_of_key(server);
    match host.is_empty() || HUB_NAMES.contains(&host) {
        true => "docker.io".to_owned(),
        false => host.to_owned(),
    }
}

/// Returns the host and port of a key that may be a URL or a repository.
pub(crate) fn host_of_key(key: &str) -> &str {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

/// Returns the name under which helpers and `auths` know a registry.
pub(crate) fn server_key(domain: &str) -> &str {
    match domain {
        "docker.io" => HUB_KEY,
        other => other,
    }
}
