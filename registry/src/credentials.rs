//! Who the user is to a registry: Docker's `config.json`, credential helpers, containers' `auth.json`.
//!
//! Asked in this order, the first that knows the registry wins:
//!
//! 1. the inline configuration (`DOCKER_AUTH_CONFIG`)
//! 2. Docker's `config.json`: the registry's helper of `credHelpers`, else that of `credsStore`, else
//!    `auths`
//! 3. each containers-auth.json(5) file, likewise; a key may name a namespace or repository
//!
//! Files are read when a server asks for credentials, never before.

pub(crate) mod value; // one credential, and why it cannot be read or kept

pub(crate) mod auth_file; // config.json and auth.json
pub(crate) mod helper; // programs that keep passwords
pub(crate) mod registry_key; // names under which credentials are kept

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::credentials::auth_file::AuthFile;
use crate::credentials::helper::Helper;
use crate::credentials::registry_key::{registry_domain, server_key};
use crate::credentials::value::{Credential, CredentialError, Stored};
use crate::secret::Secret;

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
