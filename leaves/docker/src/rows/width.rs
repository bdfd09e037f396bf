//! How wide columns may become.

/// Whether ids and long texts are cut, as they are without `--no-trunc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Ids have twelve digits, and texts end with `…` where their column does.
    Cut,
    /// Nothing is cut.
    Whole,
}

impl Width {
    /// Returns a text, of at most so many characters if it is cut.
    pub(super) fn text(self, text: String, most: usize) -> String {
        if self == Self::Whole || text.chars().count() <= most {
            return text;
        }
        text.chars().take(most - 1).chain(['…']).collect()
    }
}

/// Returns the first twelve digits of an id.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
