//! What of a URL may be shown.

use std::fmt;

/// Scheme, host and path of a URL: what may be shown.
pub(crate) struct ShownUrl<'a>(pub(crate) &'a reqwest::Url);

impl fmt::Display for ShownUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), authority(self.0))?;
        f.write_str(self.0.path())
    }
}

/// Returns host and port of a URL.
pub(crate) fn authority(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or("");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
