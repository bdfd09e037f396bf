//! The seam through which the planner learns what image names stand for.

use std::error::Error;
use std::fmt;

use kiln_oci::{Image, Platform};

use super::names::ImageSource;
use crate::fault::Fault;

/// Finds out what image names stand for.
pub trait Bases {
    /// Returns the image for each request, in order. Only manifests and configs are needed; no
    /// layer is fetched.
    fn resolve(&self, requests: &[BaseRequest]) -> Vec<Result<Image, BaseError>>;
}

/// An image that a Dockerfile mentions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseRequest {
    /// Where it is.
    pub source: ImageSource,
    /// What it is to run on.
    pub platform: Platform,
}

/// Why an image name stands for nothing. Shown, and asked for its source, it is its cause.
#[derive(Debug)]
pub struct BaseError {
    /// What went wrong.
    pub cause: Box<dyn Error + Send + Sync>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whose fault it is.
    pub fault: Fault,
}

impl fmt::Display for BaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for BaseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}
