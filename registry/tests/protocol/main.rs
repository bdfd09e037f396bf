//! The protocol from outside: a real registry, and scripted servers for what a real one rarely does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod real; // Debian's docker-registry
mod sample; // a client, a store, an image
