//! From an index to the image for a platform.

use kiln_oci::{Sha256, media_type};
use kiln_registry::{Error, ErrorClass, ManifestError, PushImage};

use crate::sample::{TestStore, client, image, index, manifest_reply, platform};
use crate::script::{Reply, Server};

/// OCI-004, with an index inside the index.
#[test]
fn nested_indexes_are_searched() {
    let arm = image("arm64", &[], "x");
    let amd = image("amd64", &[], "x");
    let inner = index(&[("arm64", arm.clone())], "x");
    let outer = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        serde_json::to_string(&inner.manifest.descriptor()).unwrap(),
        index_entry(&amd, "amd64")
    );
    let all: Vec<(Sha256, String, Vec<u8>)> = [
        (media_type::OCI_INDEX, outer.into_bytes()),
        (media_type::OCI_INDEX, inner.manifest.bytes.clone()),
        (media_type::OCI_MANIFEST, arm.manifest.bytes.clone()),
        (media_type::OCI_MANIFEST, amd.manifest.bytes.clone()),
    ]
    .map(|(kind, bytes)| (Sha256::of(&bytes), kind.to_owned(), bytes))
    .into();
    let top = all[0].0;
    let server = Server::start(move |request| {
        let asked = |digest: &Sha256| {
            request.path.ends_with(&digest.to_string())
                || (*digest == top && request.path.ends_with("latest"))
        };
        match all.iter().find(|(digest, ..)| asked(digest)) {
            Some((digest, kind, bytes)) => Reply::ok(bytes.clone())
                .header("Content-Type", kind.clone())
                .header("Docker-Content-Digest", digest.to_string()),
            None if request.path.contains("/blobs/") => {
                let arm = br#"{"architecture":"arm64","os":"linux"}"#;
                let amd = br#"{"architecture":"amd64","os":"linux"}"#;
                if request.path.ends_with(&Sha256::of(arm).to_string()) {
                    Reply::ok(*arm)
                } else {
                    Reply::ok(*amd)
                }
            }
            None => Reply::new(404),
        }
    });
    let pull = |wanted: &str| {
        let store = TestStore::new();
        client().pull(&server.image("a"), &platform(wanted), &store.blobs, &|_| {})
    };
    let digest = |image: &PushImage| image.manifest.descriptor().digest;
    assert_eq!(pull("linux/amd64").unwrap().manifest.digest, digest(&amd));
    assert_eq!(pull("linux/arm64").unwrap().manifest.digest, digest(&arm));
    let error = pull("linux/s390x").unwrap_err();
    let Error::Manifest(ManifestError::NoPlatform { available, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(
        *available,
        [platform("linux/amd64"), platform("linux/arm64")]
    );
}

fn index_entry(image: &PushImage, architecture: &str) -> String {
    let mut descriptor = image.manifest.descriptor();
    descriptor.platform = Some(kiln_oci::Platform::new("linux", architecture, ""));
    serde_json::to_string(&descriptor).unwrap()
}

/// Three levels of indexes, each with a thousand mentions of the next, are three indexes.
#[test]
fn an_index_that_is_named_often_is_searched_once() {
    let mut all: Vec<(Sha256, Vec<u8>)> = Vec::new();
    let mut next = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
    for _ in 0..3 {
        let digest = Sha256::of(next.as_bytes());
        let entry = format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":{}}}"#,
            media_type::OCI_INDEX,
            next.len()
        );
        all.push((digest, next.into_bytes()));
        let entries = vec![entry; 1000].join(",");
        next = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    }
    let top = next.into_bytes();
    let server = Server::start(move |request| {
        let found = all
            .iter()
            .find(|(digest, _)| request.path.ends_with(&digest.to_string()));
        let body = found.map_or(&top, |(_, bytes)| bytes);
        Reply::ok(body.clone()).header("Content-Type", media_type::OCI_INDEX)
    });
    let store = TestStore::new();
    let wanted = platform("linux/amd64");
    let error = client()
        .pull(&server.image("a:v1"), &wanted, &store.blobs, &|_| {})
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::NoPlatform, "{error}");
    assert_eq!(server.lines().len(), 2 + 3);
}

/// What runs there is better than nothing, as for containerd.
#[test]
fn an_index_with_only_a_predecessors_image_serves() {
    let served = image("386", &[], "x");
    let top = index(&[("386", served.clone())], "x");
    let config = served.blobs[0].descriptor.digest.to_string();
    let content = br#"{"architecture":"386","os":"linux"}"#;
    let (inner, outer) = (manifest_reply(&served), manifest_reply(&top));
    let digest = served.manifest.descriptor().digest.to_string();
    let server = Server::start(move |request| match request.path.as_str() {
        path if path.ends_with(&config) => Reply::ok(*content),
        path if path.ends_with(&digest) => inner.clone(),
        _ => outer.clone(),
    });
    let store = TestStore::new();
    let pull = |wanted| {
        let name = server.image("a:v1");
        client().pull(&name, &platform(wanted), &store.blobs, &|_| {})
    };
    assert_eq!(pull("linux/amd64").unwrap().layers, []);
    assert!(pull("linux/arm64").is_err());
}
