//! Remote sources: what `ADD` and build contexts take instead of a path.
//!
//! A text is a Git repository, some other HTTP resource, or, if it is neither, a path. Whether a
//! directory of that name exists is for the caller to find out: for a build context it goes first.

mod address; // scheme, user, host, path
mod login; // users and passwords, amid other text
mod options; // ?name=value behind a repository's address
mod percent; // %20
mod remote; // from a text to what it names
mod source; // a repository or download

pub use address::Address;
pub use login::{mask_logins, mask_logins_in, without_logins};
pub use remote::{download_name, remote_source};
pub use source::{GitSource, Modified, ReferenceError, RemoteSource, SourcePlace};

#[cfg(test)]
mod tests;
