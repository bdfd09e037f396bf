//! Repositories, by the program `git`.
//!
//! A remote is asked what a branch or tag stands for ([`Git::find`]). What is fetched of it comes
//! into one bare repository for each remote, at a depth of one commit ([`Mirror`]); a commit that is
//! there already is not fetched again. Files are checked out into a directory of their own, with
//! submodules, and brought into one shape: modes 0644 and 0755, one time ([`Checkout`]).
//!
//! git runs with an environment made for it: no configuration of the machine or the user, no hooks,
//! no questions, no programs in the background, no other protocols than those of the network.
//!
//! This crate knows nothing of builds. Where mirrors are and whose turn it is to change one, who the
//! user is for a server, and what of an address may be shown is said by its caller.

mod error; // why there is no repository, or no such thing in it
mod events; // what a caller is told meanwhile

mod output; // what git says
mod program; // running git

mod found; // commits and their names
mod mirror; // what was fetched
mod reference; // from names to commits
mod shape; // one shape for all files

mod checkout; // from a commit to a directory

pub use checkout::{CheckedOut, Checkout, CheckoutOptions};
pub use error::{Error, GitNeed, GitRefusal};
pub use events::Events;
pub use found::{FoundCommit, NamedObject, Promise};
pub use mirror::{Mirror, ObjectFormat};
pub use program::{Authorization, Git, GitSettings};
pub use shape::GitFiles;
