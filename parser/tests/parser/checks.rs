//! What must hold for any input: one function per kind of input, which panics if it does not.
//!
//! The fuzzing targets call these functions with inputs they make up, and the replay with those
//! that once mattered. Each module names its file, because `proof/fuzz` includes this file by its
//! path, for which rustc looks for modules beside it.

#![allow(
    unreachable_pub,
    reason = "the fuzzing targets reach these functions from a crate of their own"
)]

#[path = "checks/dockerfile.rs"]
mod dockerfile;
#[path = "checks/essence.rs"]
mod essence;
#[path = "checks/ignore.rs"]
mod ignore;
#[path = "checks/reference.rs"]
mod reference;
#[path = "checks/substitution.rs"]
mod substitution;
#[path = "checks/values.rs"]
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
