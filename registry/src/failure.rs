//! Why no answer came: failures of the HTTP library, in words for people.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use reqwest::Url;

use crate::url_text::{ShownUrl, authority};

/// Why no answer, or only half of one, came.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct TransportError {
    /// At which stage it failed.
    pub kind: TransportKind,
    /// Scheme, host and path of the request.
    pub place: String,
    /// The system's or the TLS library's words.
    pub reason: String,
}

/// Stages of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// The host's name could not be resolved.
    Name,
    /// No connection.
    Connect,
    /// No TLS session.
    Tls,
    /// The server answered, and not in TLS.
    NoTls,
    /// Nothing happened for too long.
    Timeout,
    /// The connection broke.
    Interrupted,
    /// The request could not be made: an unusable URL, proxy or certificate.
    Invalid,
}

/// Says why a request to `url` failed.
pub(crate) fn transport_error(error: &reqwest::Error, url: &Url) -> TransportError {
    let mut reason = String::new();
    let mut io_kind = None;
    let mut no_tls = false;
    // reqwest's own words repeat the URL, query included; its sources say what happened.
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            io_kind = Some(innermost_kind(error));
        }
        let mut words = error.to_string();
        // webpki's words for what `openssl req -x509` makes unless told otherwise.
        if words.contains("CaUsedAsEndEntity") {
            words = "the server's certificate is that of an authority (CA:TRUE), which cannot be \
                     used for a server"
                .to_owned();
        }
        // What a server of plain HTTP sends is no record of TLS.
        no_tls |= words.contains("InvalidContentType");
        words = without_wrapping(&words);
        if !words.is_empty() && !reason.contains(&words) {
            if !reason.is_empty() {
                reason.push_str(": ");
            }
            reason.push_str(&words);
        }
        cause = error.source();
    }
    if reason.is_empty() {
        reason = "the request failed".to_owned();
    }
    if no_tls {
        reason = "the server speaks HTTP without TLS".to_owned();
    }
    if error.is_dns() {
        reason = format!("cannot find {}: {reason}", authority(url));
    }
    let kind = if error.is_timeout() {
        TransportKind::Timeout
    } else if error.is_builder() {
        TransportKind::Invalid
    } else if error.is_dns() {
        TransportKind::Name
    } else if no_tls {
        TransportKind::NoTls
    } else if error.is_connect() {
        match io_kind {
            // tokio-rustls reports what rustls refuses as invalid data.
            Some(io::ErrorKind::InvalidData) if url.scheme() == "https" => TransportKind::Tls,
            Some(io::ErrorKind::UnexpectedEof) if url.scheme() == "https" => TransportKind::Tls,
            Some(io::ErrorKind::TimedOut) => TransportKind::Timeout,
            _ => TransportKind::Connect,
        }
    } else {
        TransportKind::Interrupted
    };
    TransportError {
        kind,
        place: ShownUrl(url).to_string(),
        reason,
    }
}

pub(crate) fn timed_out(url: &Url, reason: String) -> TransportError {
    TransportError {
        kind: TransportKind::Timeout,
        place: ShownUrl(url).to_string(),
        reason,
    }
}

pub(crate) fn no_data(limit: Duration) -> String {
    format!("no data for {} s", limit.as_secs_f32())
}

/// The error of a request that the network thread let go of without a word.
pub(crate) fn dropped(place: &str) -> TransportError {
    TransportError {
        kind: TransportKind::Interrupted,
        place: place.to_owned(),
        reason: "the request was dropped".to_owned(),
    }
}

/// Takes from the words of an error those that only say whose it is.
fn without_wrapping(words: &str) -> String {
    const WRAPPINGS: [&str; 4] = [
        "client error (",
        "dns error",
        "error resolving DNS",
        "tcp connect error",
    ];
    if WRAPPINGS.iter().any(|wrapping| words.starts_with(wrapping)) && !words.contains(": ") {
        return String::new();
    }
    let words = words.trim_start_matches("failed to lookup address information: ");
    // The standard library's number behind the system's words.
    match words.split_once(" (os error ") {
        Some((before, number)) if number.ends_with(')') => before.to_owned(),
        _ => words.to_owned(),
    }
}

/// Returns the kind of the error at the bottom: hyper-rustls wraps one I/O error into another, which
/// `source` passes over.
fn innermost_kind(error: &io::Error) -> io::ErrorKind {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<io::Error>())
    {
        Some(inner) => innermost_kind(inner),
        None => error.kind(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappings_are_taken_off() {
        for (words, expected) in [
            ("client error (Connect)", ""),
            ("dns error", ""),
            ("tcp connect error", ""),
            ("Connection refused (os error 111)", "Connection refused"),
            // Not at the end, it may be another's words.
            ("x (os error 5) y", "x (os error 5) y"),
            (
                "failed to lookup address information: Name or service not known",
                "Name or service not known",
            ),
            (
                "invalid peer certificate: Expired",
                "invalid peer certificate: Expired",
            ),
        ] {
            assert_eq!(without_wrapping(words), expected);
        }
    }
}
