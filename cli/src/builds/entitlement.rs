//! `--allow`: what a build may do only if it was said.

use kiln_engine::Entitlement;
use kiln_parser::suggest;

const NAMES: [&str; 4] = [
    "network.host",
    "security.insecure",
    "device",
    "buildx.local.delete",
];

/// Parses one `--allow`.
pub(crate) fn parse(text: &str) -> Result<Entitlement, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    match (name, value) {
        ("network.host", None) => Ok(Entitlement::NetworkHost),
        ("security.insecure", None) => Ok(Entitlement::SecurityInsecure),
        ("buildx.local.delete", None) => Ok(Entitlement::LocalDelete),
        ("device", None) => Ok(Entitlement::Device(None)),
        ("device", Some("")) => Err("entitlement device= names no device".to_owned()),
        ("device", Some(device)) => Ok(Entitlement::Device(Some(device.to_owned()))),
        (known, Some(value)) if NAMES.contains(&known) => {
            Err(format!("entitlement {known} takes no value, got {value:?}"))
        }
        (unknown, _) => Err(match suggest(unknown, NAMES) {
            Some(name) => format!("unknown entitlement {unknown} (did you mean {name}?)"),
            None => format!(
                "unknown entitlement {unknown}: expected {}",
                NAMES.join(", ")
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entitlements_have_names_and_devices_too() {
        for (text, expected) in [
            ("network.host", Entitlement::NetworkHost),
            ("security.insecure", Entitlement::SecurityInsecure),
            ("device", Entitlement::Device(None)),
            (
                "device=vendor.com/class=one",
                Entitlement::Device(Some("vendor.com/class=one".to_owned())),
            ),
            ("buildx.local.delete", Entitlement::LocalDelete),
        ] {
            assert_eq!(parse(text), Ok(expected));
        }
        for (text, message) in [
            (
                "network.hots",
                "unknown entitlement network.hots (did you mean network.host?)",
            ),
            (
                "everything",
                "unknown entitlement everything: expected network.host, security.insecure, device, \
                 buildx.local.delete",
            ),
            (
                "network.host=1",
                "entitlement network.host takes no value, got \"1\"",
            ),
            ("device=", "entitlement device= names no device"),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()));
        }
    }
}
