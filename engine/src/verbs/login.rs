//! Credentials for registries.

use kiln_exporter::{
    LoadError, LoadSource, Loaded, NamedImage, PackObserver, Platforms, copy_from_layout, layouts,
    remember_source, sources,
};
use kiln_oci::{Descriptor, Image, ImageId, ImageRef, Platform, Sha256};
use kiln_registry::Client;
use kiln_registry::{Observer, Secret, Stored};

use crate::images;
use crate::images::names_error;
use crate::local_image;
use crate::mend;
use crate::output::Listeners;
use crate::output::destination;
use crate::output::pack;
use crate::output::push;
use crate::stores::Stores;
use crate::{Destination, Error, ImageOptions, LocalImage, PushAs};

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
        .map_err(|error| Error::registry(None, &error))
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
        .map_err(|error| Error::environment("cannot remove credentials", &error))
}
