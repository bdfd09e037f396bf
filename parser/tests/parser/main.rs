//! The parser, as others meet it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod statements; // statements of the specification, one by one

mod checks; // what must hold for any input; also included by the fuzzing targets
mod corpus; // the inputs that are kept
