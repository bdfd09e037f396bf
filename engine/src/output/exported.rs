//! What an output came to.

use kiln_exporter::NamedImage;
use kiln_oci::{Descriptor, ImageId, Sha256, TaggedRef};

use crate::LocalImage;
use crate::request::{BuildRequest, ImageOutput};

/// What an output came to.
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    /// Digest of the config, or of the index.
    pub(crate) id: ImageId,
    /// The manifest or index.
    pub(crate) descriptor: Descriptor,
    /// The config; none for an index.
    pub(crate) config: Option<Sha256>,
}

impl Exported {
    pub(crate) fn of_local(local: &LocalImage) -> Self {
        Self {
            id: local.id(),
            descriptor: local.descriptor().clone(),
            config: (!local.is_index()).then(|| local.id().0),
        }
    }

    pub(crate) fn of_named(named: &NamedImage) -> Self {
        let descriptor = named.root.descriptor.clone();
        let config = match named.manifests.as_slice() {
            [only] if !named.is_index() => Some(only.config.descriptor.digest),
            _ => None,
        };
        Self {
            id: ImageId(config.unwrap_or(descriptor.digest)),
            descriptor,
            config,
        }
    }
}

/// Returns the names of an output: its own, or the build's.
pub(crate) fn names(request: &BuildRequest, options: &ImageOutput) -> Vec<TaggedRef> {
    let names = match options.names.as_slice() {
        [] => &request.tags,
        own => own,
    };
    names.to_vec()
}
