//! Names of devices: `vendor.com/class=name`.

use std::fmt;

/// Who makes a device, and what it is: `vendor.com/class`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CdiKind(String);

/// The whole name of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceName {
    kind: CdiKind,
    name: String,
}

/// A name that breaks the rules of the CDI specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Vendor and class are not told apart by one slash, or hold forbidden characters.
    #[error("invalid kind {0:?}: expected vendor/class")]
    Kind(String),
    /// A device's own name is empty or holds forbidden characters.
    #[error("invalid device name {0:?}")]
    Device(String),
}

impl CdiKind {
    pub(super) fn parse(text: &str) -> Result<Self, NameError> {
        // CDI specification 1.0, "Kind"; pkg/parser says how strictly.
        let part = |text: &str, inner: &[char]| {
            text.starts_with(|first: char| first.is_ascii_alphabetic())
                && text.ends_with(|last: char| last.is_ascii_alphanumeric())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || inner.contains(&c))
        };
        match text.split_once('/') {
            Some((vendor, class))
                if part(vendor, &['_', '-', '.']) && part(class, &['_', '-', '.']) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(NameError::Kind(text.to_owned())),
        }
    }
}

impl DeviceName {
    pub(super) fn new(kind: &CdiKind, name: &str) -> Self {
        Self {
            kind: kind.clone(),
            name: name.to_owned(),
        }
    }

    /// Checks the last part of a name.
    pub(super) fn check(name: &str) -> Result<(), NameError> {
        let is_end = |end: Option<char>| end.is_some_and(|c| c.is_ascii_alphanumeric());
        let inner = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
        if is_end(name.chars().next()) && is_end(name.chars().last()) && name.chars().all(inner) {
            Ok(())
        } else {
            Err(NameError::Device(name.to_owned()))
        }
    }

    pub(super) fn kind(&self) -> &CdiKind {
        &self.kind
    }
}

impl fmt::Display for CdiKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_a_vendor_and_a_class() {
        for good in [
            "vendor.com/device",
            "nvidia.com/gpu",
            "a/b",
            "v_1.x-y/c_d-e",
        ] {
            assert_eq!(CdiKind::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "vendor.com",
            "/x",
            "v/",
            "v/c/d",
            "1v/c",
            "v-/c",
            "v/c d",
        ] {
            assert_eq!(CdiKind::parse(bad), Err(NameError::Kind(bad.to_owned())));
        }
    }

    #[test]
    fn device_names_begin_and_end_with_a_letter_or_digit() {
        for good in ["0", "gpu0", "0000:65:00.0", "a-b_c.d"] {
            assert_eq!(DeviceName::check(good), Ok(()));
        }
        for bad in ["", "-a", "a:", "a b", "*"] {
            assert!(DeviceName::check(bad).is_err(), "{bad}");
        }
    }
}
