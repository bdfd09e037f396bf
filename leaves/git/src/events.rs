//! What a caller is told while git works.

/// Takes what is told.
pub trait Events {
    /// Something begins that may take long.
    fn log(&self, line: &str);

    /// Something is not as it should be, and git goes on without it.
    fn warn(&self, message: String);
}
