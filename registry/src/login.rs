//! Logging in: showing credentials to a registry before keeping them.

use reqwest::{Method, StatusCode};

use crate::auth::proof::HostAuth;
use crate::auth::scope::Scopes;
use crate::call::RegistryCall;
use crate::credentials::registry_key::registry_domain;
use crate::credentials::value::{Credential, Stored};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::refusal::Action;
use crate::registries_conf::RegistryPlace;
use crate::secret::Secret;
use crate::session::{HostState, RegistrySession};

impl RegistrySession {
    /// Asks a registry whether it accepts a credential.
    pub(crate) fn verify(&self, server: &str, credential: &Credential) -> Result<(), Error> {
        let domain = registry_domain(server);
        let endpoint = Endpoint::new(&RegistryPlace {
            insecure: self.registries.is_insecure(&domain),
            domain,
            path: String::new(),
        });
        // Apart from what pulls and pushes know, so that it cannot spoil or help them.
        let state = HostState::default();
        *state
            .auth
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) =
            HostAuth::with(credential.clone());
        let scopes = Scopes::none();
        let call = RegistryCall::new(&endpoint, Method::GET, "/v2/".to_owned(), &scopes);
        let answer = self.call_as(&state, &call).map_err(|error| match error {
            Error::Refused(mut refusal)
                if refusal.action == Action::Token && matches!(refusal.status, 400 | 401 | 403) =>
            {
                refusal.action = Action::Login;
                refusal.status = 401;
                Error::Refused(refusal)
            }
            other => other,
        })?;
        match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(answer.into_refusal(Action::Login).into()),
        }
    }

    pub(crate) fn login(
        &self,
        server: &str,
        username: &str,
        password: &Secret,
    ) -> Result<Stored, Error> {
        let credential = Credential::Password {
            username: username.to_owned(),
            password: password.clone(),
        };
        self.verify(server, &credential)?;
        let domain = registry_domain(server);
        Ok(self.credentials.store(&domain, username, password)?)
    }
}
