//! `--allow`: what a build may do only if it was said.

use kiln_engine::BuildEntitlement;
use kiln_parser::suggest;

const NAMES: [&str; 4] = [
    "network.host",
    "security.insecure",
    "device",
    "buildx.local.delete",
];

/// Parses one `--allow`.
pub(crate) fn parse(text: &str) -> Result<BuildEntitlement, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    match (name, value) {
        ("network.host", None) => Ok(BuildEntitlement::NetworkHost),
        ("security.insecure", None) => Ok(BuildEntitlement::SecurityInsecure),
        ("buildx.local.delete", None) => Ok(BuildEntitlement::LocalDelete),
        ("device", None) => Ok(BuildEntitlement::Device(None)),
        ("device", Some("")) => Err("entitlement device= names no device".to_owned()),
        ("device", Some(device)) => Ok(BuildEntitlement::Device(Some(device.to_owned()))),
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
            ("network.host", BuildEntitlement::NetworkHost),
            ("security.insecure", BuildEntitlement::SecurityInsecure),
            ("device", BuildEntitlement::Device(None)),
            (
                "device=vendor.com/class=one",
                BuildEntitlement::Device(Some("vendor.com/class=one".to_owned())),
            ),
            ("buildx.local.delete", BuildEntitlement::LocalDelete),
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
