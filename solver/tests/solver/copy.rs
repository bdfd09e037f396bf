//! COPY, ADD and WORKDIR, executed: what the layers hold.
//!
//! Nothing is run and nothing is mounted, so these tests need no rights.

pub(crate) mod bench; // a context, a Dockerfile, and what is built of them

mod again; // copies that were made before
mod choosing; // which files
mod explaining; // why they ran
mod model; // copies at random
mod writing; // what the layer holds
