//! What must hold for any input whatever: one function per kind of input, which panics if it does
//! not.
//!
//! The fuzzing targets call these functions with inputs they make up, and the replay with those
//! that once mattered.

#![allow(
    unreachable_pub,
    reason = "the fuzzing targets reach these functions from a crate of their own"
)]

mod dockerfile;
mod essence;
mod ignore;
mod reference;
mod substitution;
mod values;

pub use dockerfile::{dockerfile, heredoc};
pub use ignore::ignore;
pub use reference::reference;
pub use substitution::substitution;
pub use values::values;

/// Splits an input into a first byte, which chooses among variants, and a text.
fn choice_and_text(data: &[u8]) -> (u8, String) {
    match data.split_first() {
        Some((choice, text)) => (*choice, String::from_utf8_lossy(text).into_owned()),
        None => (0, String::new()),
    }
}
