//! How connections are made.

use std::path::PathBuf;
use std::time::Duration;

use crate::proxy::Proxies;

/// How connections are made.
#[derive(Clone, Debug)]
pub(crate) struct TransportOptions {
    pub(crate) proxies: Proxies,
    pub(crate) certificate_directories: Vec<PathBuf>,
    pub(crate) extra_authorities: Vec<PathBuf>,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) document_timeout: Duration,
}
