//! From image names to the places to ask, in order.

use std::collections::BTreeSet;
use std::time::Duration;

use kiln_oci::ImageRef;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::error_class::ErrorClass;
use crate::notice::Notice;
use crate::registries_conf::Asked;
use crate::session::RegistrySession;

impl RegistrySession {
    /// Returns the one place that a repository may be written to.
    pub(crate) fn upstream(&self, name: &ImageRef) -> Result<Endpoint, Error> {
        let route = self
            .registries
            .route(name.domain(), name.path(), Asked::ByTag);
        if route.blocked {
            Err(Error::Blocked(name.familiar_repository()))
        } else {
            Ok(Endpoint::new(&route.upstream))
        }
    }

    /// Tries `ask` at each mirror and then at the registry itself, until one succeeds.
    pub(crate) fn anywhere<T>(
        &self,
        name: &ImageRef,
        asked: Asked,
        mut ask: impl FnMut(&Endpoint) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let route = self.registries.route(name.domain(), name.path(), asked);
        if route.blocked {
            return Err(Error::Blocked(name.familiar_repository()));
        }
        let mut asked = |endpoint: &Endpoint| {
            ask(endpoint).map_err(|error| error.at_place(name, &endpoint.name()))
        };
        let mut failures = Vec::new();
        let mut tried = BTreeSet::new();
        for mirror in &route.mirrors {
            let endpoint = Endpoint::new(mirror);
            // A mirror that could not be reached a moment ago would cost its time-out again.
            if self.is_unreachable(&endpoint.host) || !tried.insert(endpoint.name()) {
                continue;
            }
            match asked(&endpoint) {
                Ok(found) => return Ok(found),
                // A full disk is not the mirror's fault.
                Err(error)
                    if matches!(error.class(), ErrorClass::Cancelled | ErrorClass::Local) =>
                {
                    return Err(error);
                }
                Err(error) => {
                    (self.notice)(Notice::MirrorFailed {
                        mirror: endpoint.name(),
                        reason: error.to_string(),
                    });
                    failures.push((endpoint.name(), error));
                }
            }
        }
        let upstream = Endpoint::new(&route.upstream);
        let outcome = match asked(&upstream) {
            // What was damaged on its way comes better the second time; what is damaged where it
            // lies does not. A mirror's damage is met by asking the next place.
            Err(error) if error.class() == ErrorClass::Integrity => {
                (self.notice)(Notice::Retrying {
                    host: String::new(),
                    reason: error.to_string(),
                    delay: Duration::ZERO,
                });
                asked(&upstream)
            }
            outcome => outcome,
        };
        outcome.map_err(|error| match (error, failures) {
            (Error::Cancelled, _) => Error::Cancelled,
            (error, failures) if failures.is_empty() => error,
            (error, mirrors) => Error::Mirrors {
                upstream: Box::new(error),
                mirrors,
            },
        })
    }
}
