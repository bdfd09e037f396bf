//! What a plan is.

use std::collections::HashMap;

use kiln_oci::{Image, ImageConfig, Platform, Sha256, TaggedRef, Timestamp};

use crate::graph::{Graph, StepId};

/// What is to be built.
#[derive(Debug)]
pub struct Plan {
    /// Every step that the targets need, and no other.
    pub graph: Graph,
    /// The images that are to come out, one for each platform, in the order asked for.
    pub targets: Vec<TargetImage>,
    /// The images it starts from and copies from, by manifest.
    pub bases: HashMap<Sha256, (TaggedRef, Image)>,
    /// The time that everything new gets, if the build says.
    pub epoch: Option<Timestamp>,
    /// Proxies for every `RUN`; they are in no key and no image.
    pub proxies: Vec<(String, String)>,
}

/// An image that a plan leads to, layers still missing.
#[derive(Clone, Debug)]
pub struct TargetImage {
    /// What it was asked to run on. Its config may say otherwise: a `FROM --platform` decides that.
    pub platform: Platform,
    /// The last step; none if the image is empty.
    pub root: Option<StepId>,
    /// The config without history and layers.
    pub config: ImageConfig,
    /// The base's manifest, if there is a base.
    pub base: Option<Sha256>,
    /// History beyond the base's, in order.
    pub history: Vec<PlannedHistory>,
}

/// A history entry that still needs its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHistory {
    /// The instruction.
    pub created_by: String,
    /// The step whose layer it is; none for a change of the config.
    pub step: Option<StepId>,
}
