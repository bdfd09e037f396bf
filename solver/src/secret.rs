//! Values that must not be seen.

use std::fmt;
use std::sync::Arc;

/// The value of a `--secret`. It is in no key, no image, no log and no `Debug` text.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<[u8]>);

impl SecretValue {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<Arc<[u8]>>) -> Self {
        Self(value.into())
    }

    /// Returns the value, for the one place that hands it to a command.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_show() {
        let shown = format!("{:?}", SecretValue::new(*b"hunter2"));
        assert_eq!(shown, "(7 bytes)");
    }
}
