//! The seam through which the planner learns what image names stand for.

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

/// Why an image name stands for nothing.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BaseError {
    /// What went wrong with all its causes, on one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whose fault it is.
    pub fault: Fault,
}
