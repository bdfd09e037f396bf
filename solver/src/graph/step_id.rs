//! How a graph calls its steps.

/// A node of the graph. Its parent and sources have smaller numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub(super) usize);

impl StepId {
    /// Returns the step's position in the graph.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}
