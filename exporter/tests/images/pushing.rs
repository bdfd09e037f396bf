//! What a registry is sent.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use kiln_exporter::{
    FetchAbsent, ImageOptions, MediaFamily, NamedImage, push_image, remember_source,
};
use kiln_oci::{Compression, Sha256};
use kiln_registry::{BlobSource, PushBlob};
use kiln_snapshotter::Packing;

use crate::sample::State;

fn no_fetch() -> FetchAbsent {
    Arc::new(|_| Err(std::io::ErrorKind::NotFound.into()))
}

fn read(blob: &PushBlob) -> Vec<u8> {
    let mut bytes = Vec::new();
    match &blob.source {
        BlobSource::File(path) => return std::fs::read(path).unwrap(),
        BlobSource::Open(open) => open().unwrap().read_to_end(&mut bytes).unwrap(),
    };
    bytes
}

#[test]
fn every_blob_is_what_its_descriptor_says() {
    let state = State::new();
    let image = state.sample();
    let name = "h:5000/a/b:v1".parse().unwrap();
    for compression in [Compression::Gzip, Compression::None] {
        let options = ImageOptions {
            packing: Packing::new(compression),
            ..ImageOptions::default()
        };
        let named = NamedImage::single(state.resolve_for_export(&image, &options), Vec::new());
        let tags = vec!["v1".to_owned()];
        let push = push_image(&named, &name, tags, &state.blobs, &no_fetch());
        assert_eq!(push.blobs.len(), 3);
        for blob in &push.blobs {
            // As often as a connection breaks.
            for _ in 0..2 {
                let bytes = read(blob);
                assert_eq!(Sha256::of(&bytes), blob.descriptor.digest);
                assert_eq!(bytes.len() as u64, blob.descriptor.size_bytes);
            }
        }
        assert_eq!(push.manifest.bytes, named.root.bytes);
        assert_eq!(push.children, []);
        // A reader that is dropped half way ends its thread.
        if let BlobSource::Open(open) = &push.blobs[0].source {
            let mut stream = open().unwrap();
            stream.read_exact(&mut [0; 10]).unwrap();
        }
    }
    let images = vec![state.resolve_for_export(&image, &ImageOptions::default())];
    let index = NamedImage::index(images, Vec::new(), MediaFamily::Docker, BTreeMap::new());
    let push = push_image(&index, &name, Vec::new(), &state.blobs, &no_fetch());
    assert_eq!(push.children.len(), 1);
    assert_eq!(push.manifest.bytes, index.root.bytes);
}

/// OCI-011: what another repository of the same registry has is mounted.
#[test]
fn known_sources_of_the_same_registry_are_named() {
    let state = State::new();
    let image = state.sample();
    let named = state.named(&image, &[]);
    let digest = named.manifests[0].layers[0].descriptor.digest;
    let to = "h:5000/a/b:v1".parse().unwrap();
    let mounts = || {
        let push = push_image(&named, &to, Vec::new(), &state.blobs, &no_fetch());
        let mounts = push.blobs.into_iter().map(|blob| blob.mount_from);
        mounts
            .map(|mount| mount.map(|name| name.to_string()))
            .collect::<Vec<_>>()
    };
    for elsewhere in ["h:5000/a/b", "other/x"] {
        let source = elsewhere.parse().unwrap();
        remember_source(&state.store, &state.blobs, digest, &source).unwrap();
        assert_eq!(mounts(), [None, None, None], "{elsewhere}");
    }
    let source = "h:5000/library/base:3".parse().unwrap();
    remember_source(&state.store, &state.blobs, digest, &source).unwrap();
    assert_eq!(
        mounts(),
        [Some("h:5000/library/base".to_owned()), None, None]
    );
}
