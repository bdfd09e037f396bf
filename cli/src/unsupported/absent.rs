//! Something of docker that kiln does not have.

/// What containers have instead of published ports.
pub(super) const PORTS: &str = "a container has this machine's network, so what listens in it is reached here \
                     as it is, without being published";

/// What kiln does not have.
pub(super) struct Absent {
    /// All of them that have the same substitute.
    pub(super) names: &'static [&'static str],
    /// What to do.
    pub(super) instead: &'static str,
}
