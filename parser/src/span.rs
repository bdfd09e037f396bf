//! Places in the source text.

/// A half-open range of bytes of the Dockerfile's text, `start..end`.
///
/// Offsets count from the first byte of the file as it was read (a byte order mark included), so a
/// span can always be shown to the person who wrote the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset just past the last byte.
    pub end: u32,
}

impl Span {
    /// Returns the span `start..end`.
    #[must_use]
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }
}
