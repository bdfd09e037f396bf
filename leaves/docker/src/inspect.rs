//! Images and containers as `docker inspect` describes them.
//!
//! The members are those of the Docker Engine API, version 1.56 (`ImageInspect`,
//! `ContainerInspectResponse`), as far as kiln knows a value for them that is true.

mod container; // a container and its mounts
mod image; // an image, or an index of images

pub mod zeros; // what is absent

pub use container::{ContainerDescription, MountPoint, StateDescription};
pub use image::{ImageDescription, InspectedRootFs};
