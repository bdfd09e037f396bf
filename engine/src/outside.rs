//! What lies outside the state directory and is the matter of one request.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use kiln_registry::Client;
use kiln_runtime::OuterProc;

/// What a verb may use beside the state directory. Each request may bring its own.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Registries and other servers, with the logins and the insecure hosts of the request.
    pub client: Client,
    /// How programs are started that work for kiln outside of any sandbox.
    pub programs: Programs,
    /// What commands see at `/proc` where they cannot have one of their own.
    pub outer_proc: OuterProc,
}

/// How programs of this machine are started that work for kiln: git, ssh.
#[derive(Clone, Default)]
pub struct Programs {
    /// What they may know of the environment: where programs are, proxies, certificates.
    pub environment: Vec<(OsString, OsString)>,
    /// Files with the keys of ssh servers that are trusted, beside those that kiln met.
    pub known_hosts: Vec<PathBuf>,
}

// The addresses of proxies may hold passwords.
impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Programs")
            .field("environment", &names)
            .field("known_hosts", &self.known_hosts)
            .finish()
    }
}
