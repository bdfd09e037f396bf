//! The protocol from outside: a real registry, and scripted servers for what a real one rarely does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth; // proving who we are
mod faults; // a network that fails at random
mod fetching; // plain downloads
mod origins; // what may be sent where
mod pulling; // names, manifests, blobs
mod pushing; // uploads, mounts, order
mod real; // Debian's docker-registry
mod routing; // mirrors, schemes, certificates
mod sample; // a client, a store, an image
mod script; // a server that does as it is told
mod waiting; // silence, and having had enough
