//! Facts about a layer besides its index: its tars, blobs that hold them, and what it takes on disk.

use kiln_cache::DiskUsage;
use kiln_oci::{Compression, Descriptor, DiffId};
use serde::{Deserialize, Serialize};

/// Facts about a layer besides its index: a cache, safe to lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerFacts {
    /// Its tar streams. More than one if a foreign archive describes the same files as kiln's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tars: Vec<TarFacts>,
    /// Its known blobs, in the order they became known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<KnownBlob>,
    /// What the layer takes on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskUsage>,
}

/// An uncompressed tar stream of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TarFacts {
    /// Its digest.
    pub diff_id: DiffId,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Which program wrote it.
    pub origin: TarOrigin,
}

/// Which program wrote a tar stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TarOrigin {
    /// kiln, from the index: it can be written again.
    Canonical,
    /// Another program: only the blob it came in holds these very bytes.
    Foreign,
}

/// A blob that holds one of the layer's tar streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownBlob {
    /// The stream inside.
    pub diff_id: DiffId,
    /// How registries call it.
    pub descriptor: Descriptor,
    /// How it is packed.
    pub compression: Compression,
    /// At which level, if kiln packed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i32>,
    /// By which packer of kiln's: the same tar gives other bytes with another one.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub packer: u32,
}

/// Says whether nothing is known of who packed a blob.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's way")]
fn is_unknown(packer: &u32) -> bool {
    *packer == 0
}

impl LayerFacts {
    /// Returns the digest of the tar that became known first: a foreign one if the layer came from
    /// elsewhere, since the image it came with calls it so.
    #[must_use]
    pub fn diff_id(&self) -> Option<DiffId> {
        self.tars.first().map(|tar| tar.diff_id)
    }

    /// Returns the facts as they are stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("facts have text keys only")
    }

    pub(crate) fn learn_tar(&mut self, tar: TarFacts) {
        match self
            .tars
            .iter_mut()
            .find(|known| known.diff_id == tar.diff_id)
        {
            // That a stream is canonical is proof, that it is foreign only ignorance.
            Some(known) if tar.origin == TarOrigin::Canonical => *known = tar,
            Some(_) => {}
            None => self.tars.push(tar),
        }
    }

    pub(crate) fn learn_blob(&mut self, blob: KnownBlob) {
        self.blobs
            .retain(|known| known.descriptor.digest != blob.descriptor.digest);
        self.blobs.push(blob);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_known_as_kilns_own_stays_kilns_own() {
        let (foreign, canonical) = (TarOrigin::Foreign, TarOrigin::Canonical);
        let tar = |origin| TarFacts {
            diff_id: DiffId::EMPTY,
            size_bytes: 1024,
            origin,
        };
        for (learned, known) in [
            (&[foreign, canonical][..], canonical),
            (&[canonical, foreign], canonical),
            (&[foreign, foreign], foreign),
        ] {
            let mut facts = LayerFacts::default();
            for origin in learned {
                facts.learn_tar(tar(*origin));
            }
            assert_eq!(facts.tars, [tar(known)]);
        }
    }
}
