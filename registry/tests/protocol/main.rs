//! The protocol from outside: a real registry, and scripted servers for what a real one rarely does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth; // proving who the user is
mod blobs; // downloads that break, or bring other bytes
mod faults; // a network that fails at random
mod fetching; // plain downloads
mod indexes; // from an index to an image
mod origins; // what may be sent where
mod pulling; // names and manifests
mod pushing; // uploads, mounts, order
mod real; // Debian's docker-registry
mod routing; // mirrors, schemes, certificates
mod sample; // a client, a store, an image
mod script; // a server that does as it is told
mod waiting; // silence, patience, and having had enough
