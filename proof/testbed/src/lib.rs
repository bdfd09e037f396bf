//! What the test suites share: a real registry on loopback, base images made by kiln,
//! other builders to compare with, an ordinary user, and eyes for what a test left behind.
//!
//! A test asks for what it needs and says so when the machine lacks it, instead of passing
//! silently:
//!
//! ```no_run
//! # fn main() {
//! use kiln_testbed::{Registry, need};
//!
//! let registry = need!(Registry::start());
//! assert!(registry.address().starts_with("127.0.0.1:"));
//! # }
//! ```
//!
//! Everything here panics when something goes wrong that the machine could have done right:
//! for a test that is the failure it wants. This crate knows none of kiln's crates; it is a
//! dev-dependency only (and the base of `bench`), and drives kiln as the binary it is given.

mod bases; // busybox, debian, node and python, built by kiln
mod busybox; // the smallest useful root file system
mod cases; // that run in namespaces, once for each kind of user
mod docker; // dockerd with a socket of its own
mod faults; // a proxy that breaks what goes through it
mod git; // repositories, and servers for them
mod handover; // descriptors passed out of a sandbox
mod kiln; // the program under test, with a state of its own
mod leftovers; // mounts and processes that outlived a test
mod peers; // buildah, podman, skopeo, umoci
mod process; // programs: found, run, watched, ended
mod process_limit; // few of them
mod registry; // docker-registry on a free port
mod scratch; // directories that vanish, whatever lies in them
mod skip; // "this machine lacks …", said aloud
mod tree; // a file system as comparable lines
mod user; // users who are not root
mod web; // an HTTP server that answers as a test wants

pub use bases::Bases;
pub use busybox::{busybox, busybox_rootfs, busybox_tarball};
pub use cases::{Case, Role, Selection, Suite, closing_line, listing, run_case};
pub use docker::Dockerd;
pub use faults::{Fault, FaultyProxy};
pub use git::{GitRepository, GitSite};
pub use handover::{FLOOD_BYTES, flood, hand_out, outsider};
pub use kiln::Kiln;
pub use leftovers::{Leftover, assert_no_leftovers, leftovers};
pub use peers::{Buildah, Podman, Skopeo, Umoci, image_tree};
pub use process::{Daemon, Ended, Tool, run, run_and_read};
pub use process_limit::ProcessLimit;
pub use registry::Registry;
pub use scratch::Scratch;
pub use skip::{Skip, need_root};
pub use tree::{assert_same_tree, differences, list_directory, list_tar};
pub use user::{User, copy_for_everyone, ordinary_user, stranger, user_without_subids};
pub use web::{Web, WebAnswer, WebRequest};
