//! Images on their way out of the store and back, and what other tools make of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod exports; // layouts and archives, byte for byte
mod files; // as plain files
mod foreign; // archives that others write
mod layouts; // one image out of many
mod peers; // what skopeo, umoci and podman think of ours
mod pushing; // what a registry is sent
mod resolving; // what becomes of an image's layers
mod sample; // an image with something of everything
mod storing; // what the store keeps of an image
