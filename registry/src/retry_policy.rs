//! How often a request is repeated, and after which pauses.

use std::time::Duration;

/// When and how often to repeat a request that failed for the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pause before each repetition; their number is the number of repetitions.
    pub delays: Vec<Duration>,
    /// The longest pause that a server may ask for. If it asks for more, its refusal is final.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// As BuildKit: 1, 2 and 4 seconds.
    fn default() -> Self {
        Self {
            delays: [1, 2, 4].map(Duration::from_secs).into(),
            longest_wait: Duration::from_secs(60),
        }
    }
}
