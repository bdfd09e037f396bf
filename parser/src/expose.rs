//! Ports, as `EXPOSE` takes them: `[ip:][host:]port[-end][/protocol]`.

use std::fmt;
use std::net::IpAddr;

use nom::character::complete::{char, u16};
use nom::combinator::{all_consuming, map, opt};
use nom::sequence::preceded;
use nom::{IResult, Parser};
use thiserror::Error;

use crate::quote::quote;

/// One port an image offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortSpec {
    /// The port.
    pub port: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
}

impl fmt::Display for PortSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.port, self.protocol)
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// `tcp`, the default.
    Tcp,
    /// `udp`
    Udp,
    /// `sctp`
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One word of an `EXPOSE` instruction, after expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The ports it stands for, ascending.
    pub ports: Vec<PortSpec>,
    /// The protocol as written, if it is not in lower case (rule ExposeProtoCasing).
    pub miscased_protocol: Option<String>,
    /// Whether an address or host port was given, and ignored (rule ExposeInvalidFormat).
    pub names_host: bool,
}

/// A text that is no port.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortError {
    /// Not a number, too large, or a range that runs backwards.
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    /// The same of the part in front of the colon.
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    /// A range on a host range of another size.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// The container's ports.
        container: String,
        /// The host's.
        host: String,
    },
    /// Not an address.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// Not a protocol.
    #[error("invalid port: {}: invalid proto: {proto}", quote(.word))]
    Protocol {
        /// The whole word.
        word: String,
        /// Its protocol, in lower case.
        proto: String,
    },
    /// Nothing where the port belongs.
    #[error("no port specified: {0}<empty>")]
    Missing(String),
}

/// Parses one word; a range becomes one entry per port.
///
/// # Errors
/// If any part of it is not what it should be.
pub fn parse_ports(word: &str) -> Result<Ports, PortError> {
    let (ports, written) = match word.split_once('/') {
        Some((ports, "")) => (ports, "tcp"),
        Some((ports, protocol)) => (ports, protocol),
        None => (word, "tcp"),
    };
    let lower = written.to_lowercase();
    let protocol = match lower.as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => {
            return Err(PortError::Protocol {
                word: word.to_owned(),
                proto: lower,
            });
        }
    };
    let miscased_protocol = (written != lower).then(|| written.to_owned());

    let (front, container) = match ports.rsplit_once(':') {
        Some((front, container)) => (Some(front), container),
        None => (None, ports),
    };
    let (address, host) = match front.map(|front| front.rsplit_once(':').unwrap_or(("", front))) {
        Some((address, host)) => (address, host),
        None => ("", ""),
    };
    if !address.is_empty() && !is_address(address) {
        return Err(PortError::Address(address.to_owned()));
    }
    if container.is_empty() {
        return Err(PortError::Missing(word.to_owned()));
    }
    let (first, last) =
        range(container).ok_or_else(|| PortError::ContainerPort(container.to_owned()))?;
    if !host.is_empty() {
        let (host_first, host_last) =
            range(host).ok_or_else(|| PortError::HostPort(host.to_owned()))?;
        if last - first != host_last - host_first && first != last {
            let (container, host) = (container.to_owned(), host.to_owned());
            return Err(PortError::Ranges { container, host });
        }
    }
    let ports = (first..=last)
        .map(|port| PortSpec { port, protocol })
        .collect();
    Ok(Ports {
        ports,
        miscased_protocol,
        names_host: front.is_some(),
    })
}

fn is_address(text: &str) -> bool {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse::<IpAddr>().is_ok()
}

/// `port` or `first-last`, ascending.
fn range(text: &str) -> Option<(u16, u16)> {
    let parsed: IResult<&str, (u16, u16)> = all_consuming(map(
        (u16, opt(preceded(char('-'), u16))),
        |(first, last)| (first, last.unwrap_or(first)),
    ))
    .parse(text);
    parsed
        .ok()
        .map(|(_, range)| range)
        .filter(|(first, last)| first <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_086_ports_and_ranges() {
        #[track_caller]
        fn check(word: &str, expected: &[&str]) {
            let found: Vec<_> = parse_ports(word)
                .unwrap()
                .ports
                .iter()
                .map(PortSpec::to_string)
                .collect();
            assert_eq!(found, expected);
        }
        check("80", &["80/tcp"]);
        check("80/", &["80/tcp"]);
        check("53/UDP", &["53/udp"]);
        check("80-82/sctp", &["80/sctp", "81/sctp", "82/sctp"]);
        check("8080:80", &["80/tcp"]);
        check("127.0.0.1:8080:80", &["80/tcp"]);
        check("127.0.0.1::80", &["80/tcp"]);
        check("[::1]:8080:80", &["80/tcp"]);
        check("8000-8010:80", &["80/tcp"]);
        check("8000-8002:80-82", &["80/tcp", "81/tcp", "82/tcp"]);
        assert_eq!(parse_ports("0-65535").unwrap().ports.len(), 65_536);
    }

    #[test]
    fn df_087_malformed_ports_are_refused() {
        #[track_caller]
        fn check(word: &str, expected: &str) {
            assert_eq!(parse_ports(word).unwrap_err().to_string(), expected);
        }
        check("abc", "invalid containerPort: abc");
        check("70000", "invalid containerPort: 70000");
        check("90-80", "invalid containerPort: 90-80");
        check("80-", "invalid containerPort: 80-");
        check("+80", "invalid containerPort: +80");
        check("80/foo", "invalid port: \"80/foo\": invalid proto: foo");
        check("x:80", "invalid hostPort: x");
        check("nowhere:80:80", "invalid IP address: nowhere");
        check("/tcp", "no port specified: /tcp<empty>");
        check(
            "80-82:90-91",
            "invalid ranges specified for container and host Ports: 90-91 and 80-82",
        );
    }

    #[test]
    fn ports_tell_lint_about_case_and_host() {
        let ports = parse_ports("80:81/TCP").unwrap();
        assert_eq!(ports.miscased_protocol.as_deref(), Some("TCP"));
        assert!(ports.names_host);
        let ports = parse_ports("81/tcp").unwrap();
        assert_eq!((ports.miscased_protocol, ports.names_host), (None, false));
    }
}
