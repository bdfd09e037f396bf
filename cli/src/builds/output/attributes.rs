//! `key=value` of an output, taken one by one.

use std::collections::BTreeMap;

use kiln_engine::Annotation;
use kiln_oci::Timestamp;

use super::super::annotation;

/// Attributes of an output that no code has taken yet.
pub(crate) struct OutputAttributes {
    named: BTreeMap<String, String>,
    pub(crate) annotations: Vec<Annotation>,
}

impl OutputAttributes {
    pub(crate) fn parse(fields: &[String]) -> Result<Self, String> {
        let mut attributes = Self {
            named: BTreeMap::new(),
            annotations: Vec::new(),
        };
        for field in fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid value {field}"))?;
            match annotation::parse_attribute(key.trim(), value) {
                Some(annotation) => attributes.annotations.push(annotation?),
                None => attributes.set(&key.trim().to_lowercase(), value),
            }
        }
        Ok(attributes)
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        self.named.remove(key)
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.named.insert(key.to_owned(), value.to_owned());
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Result<Option<bool>, String> {
        let Some(text) = self.take(key) else {
            return Ok(None);
        };
        match kiln_parser::parse_bool(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("non-bool value {text:?} specified for {key}")),
        }
    }

    /// Takes `source-date-epoch`.
    pub(crate) fn epoch(&mut self) -> Result<Option<Timestamp>, String> {
        let Some(text) = self
            .take("source-date-epoch")
            .filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        match text.parse() {
            Ok(seconds) => Ok(Some(Timestamp::from_seconds(seconds))),
            Err(_) => Err(format!(
                "invalid source-date-epoch {text:?}: expected seconds since 1970"
            )),
        }
    }

    /// Takes what says how attestations are written, of which there are none.
    pub(crate) fn ignore_attestations(&mut self) {
        for key in ["oci-artifact", "attestation-inline", "attestation-prefix"] {
            self.take(key);
        }
    }

    /// Fails if something is left: a wish that is not understood is not fulfilled.
    pub(crate) fn finish(self, kind: &str) -> Result<(), String> {
        let annotation = self.annotations.first().map(|_| "annotation");
        match self.named.keys().next().map(String::as_str).or(annotation) {
            Some(key) => Err(format!(
                "attribute {key:?} of output type {kind} is not supported"
            )),
            None => Ok(()),
        }
    }
}
