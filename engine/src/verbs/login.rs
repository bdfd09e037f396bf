//! Credentials for registries.

use kiln_registry::{Client, Secret, Stored};

use crate::Error;

/// Checks credentials with a registry and keeps them.
///
/// # Errors
/// When the registry refuses them or they cannot be kept.
pub fn login(
    client: &Client,
    server: &str,
    username: &str,
    password: &str,
) -> Result<Stored, Error> {
    client
        .login(server, username, &Secret::new(password))
        .map_err(|error| Error::registry(None, error))
}

/// Forgets the credentials for a registry; says whether there were any.
///
/// # Errors
/// When they cannot be removed.
pub fn logout(client: &Client, server: &str) -> Result<bool, Error> {
    let domain = kiln_registry::registry_domain(server);
    client
        .credentials()
        .erase(&domain)
        .map_err(|error| Error::environment("cannot remove credentials", error))
}
