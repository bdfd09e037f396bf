//! What a log consists of.

use kiln_oci::Timestamp;
use kiln_runtime::Stream;
use serde::{Deserialize, Serialize};

/// A piece of output: a line, or a part of a long one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// The text, with its line feed if that has come.
    pub log: String,
    /// Where it was written.
    pub stream: Stream,
    /// When it was read.
    pub time: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_dockers() {
        let record = LogRecord {
            log: "a\n".to_owned(),
            stream: Stream::Stdout,
            time: Timestamp::EPOCH,
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"log":"a\n","stream":"stdout","time":"1970-01-01T00:00:00Z"}"#
        );
    }
}
