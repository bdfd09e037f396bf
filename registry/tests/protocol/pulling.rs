//! Names and manifests, and servers that serve them badly.

use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_oci::{Sha256, media_type};
use kiln_registry::{Error, ErrorClass, ManifestError};

use crate::sample::{TestStore, client, image, manifest_reply, platform};
use crate::script::{Reply, Server};

#[test]
fn a_tag_costs_one_head_and_a_known_image_nothing_more() {
    let served = image("amd64", &[], "v1");
    let config = served.blobs[0].descriptor.clone();
    let content = br#"{"architecture":"amd64","os":"linux"}"#;
    assert_eq!(config.digest, Sha256::of(content));
    let reply = manifest_reply(&served);
    let server = Server::start(move |request| {
        if request.path.contains("/blobs/") {
            Reply::ok(*content)
        } else {
            reply.clone()
        }
    });
    let client = client();
    let store = TestStore::new();
    let name = server.image("a:v1");
    let digest = served.manifest.descriptor().digest;
    let first = [
        "HEAD /v2/a/manifests/v1".to_owned(),
        format!("GET /v2/a/manifests/{digest}"),
        format!("GET /v2/a/blobs/{}", config.digest),
    ];
    for expected in [&first[..], &first[..1]] {
        let before = server.lines().len();
        client
            .pull(&name, &platform("linux/amd64"), &store.blobs, &|_| {})
            .unwrap();
        assert_eq!(server.lines()[before..], *expected);
    }
    let accept = server.requests()[0].header("accept").unwrap().to_owned();
    for wanted in [
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_LIST,
        media_type::DOCKER_MANIFEST,
    ] {
        assert!(accept.contains(wanted), "{accept}");
    }
    assert!(accept.ends_with("*/*"), "{accept}");
}

#[test]
fn servers_without_a_useful_head_are_asked_by_get() {
    let served = image("amd64", &[], "v1");
    let good = manifest_reply(&served);
    let bare = Reply::ok(served.manifest.bytes.clone()).header("Content-Type", "text/plain");
    for head in [
        Reply::new(405),
        Reply::new(500),
        Reply::new(404),
        bare.clone(),
    ] {
        let good = good.clone();
        let server = Server::start(move |request| match request.method.as_str() {
            "HEAD" => head.clone(),
            _ => good.clone(),
        });
        let resolved = client().resolve(&server.image("a")).unwrap();
        assert_eq!(resolved.descriptor, served.manifest.descriptor());
        assert_eq!(resolved.bytes.as_ref(), Some(&served.manifest.bytes));
        assert_eq!(server.lines()[1], "GET /v2/a/manifests/latest");
    }
    // Not even a content type.
    let server = Server::start(move |_| bare.clone());
    let resolved = client().resolve(&server.image("a")).unwrap();
    assert_eq!(resolved.descriptor, served.manifest.descriptor());
}

/// GET makes good for a HEAD that says too little, not for a server that leads astray.
#[test]
fn a_head_that_leads_astray_is_an_error() {
    let served = image("amd64", &[], "v1");
    let good = manifest_reply(&served);
    let server = Server::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::new(302).header("Location", "file:///etc/passwd"),
        _ => good.clone(),
    });
    let error = client().resolve(&server.image("a")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Server, "{error}");
    assert_eq!(server.lines(), ["HEAD /v2/a/manifests/latest"]);
}

#[test]
fn a_digest_selects_the_content_and_is_checked() {
    let served = image("amd64", &[], "v1");
    let other = image("arm64", &[], "v1").manifest.descriptor().digest;
    let lie = manifest_reply(&served).header("Docker-Content-Digest", other.to_string());
    let honest = manifest_reply(&served);
    let digest = served.manifest.descriptor().digest;

    let server = Server::start(move |_| honest.clone());
    let name = format!("{}/a:v1@{digest}", server.host()).parse().unwrap();
    assert_eq!(client().resolve(&name).unwrap().descriptor.digest, digest);
    assert_eq!(server.lines(), [format!("HEAD /v2/a/manifests/{digest}")]);
    let wrong = server.image("a").with_digest(other);
    let error = client().resolve(&wrong).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Integrity, "{error}");

    // A HEAD may lie; the bytes cannot.
    let server = Server::start(move |_| lie.clone());
    let store = TestStore::new();
    let name = server.image("a").with_digest(other);
    let mut descriptor = served.manifest.descriptor();
    descriptor.digest = other;
    let error = client()
        .pull_resolved(
            &name,
            &descriptor,
            &platform("linux/amd64"),
            &store.blobs,
            &|_| {},
        )
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Integrity, "{error}");
    assert!(!store.blobs.contains(other));
}

#[test]
fn an_oversized_manifest_is_not_read_to_its_end() {
    let server = Server::start(|request| match request.method.as_str() {
        "HEAD" => Reply::new(405),
        _ => Reply::ok(vec![b' '; (4 << 20) + 1]).header("Content-Type", media_type::OCI_MANIFEST),
    });
    let error = client().resolve(&server.image("a")).unwrap_err();
    assert!(
        matches!(error, Error::Manifest(ManifestError::TooLarge { .. })),
        "{error}"
    );
}

#[test]
fn schema_1_is_refused() {
    let server = Server::start(|_| {
        Reply::ok(r#"{"schemaVersion":1,"fsLayers":[]}"#).header(
            "Content-Type",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        )
    });
    let error = client().resolve(&server.image("a")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unusable);
    assert!(error.to_string().contains("schema 1"), "{error}");
}

#[test]
fn hub_style_refusals_read_as_docker_words_them() {
    let server = Server::start(|_| {
        Reply::new(401)
            .body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
    });
    let error = client().resolve(&server.image("a/b:v1")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unauthorized);
    assert_eq!(
        error.to_string(),
        format!(
            "pull access denied for {}/a/b:v1, repository does not exist or may require \
             authorization: unauthorized: authentication required",
            server.host()
        )
    );
}

/// What is read into memory has a limit, whatever a manifest says of it.
#[test]
fn configs_and_manifests_of_any_size_are_not_fetched() {
    let manifest = |config_size: u64| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","layers":[],
                "config":{{"mediaType":"{}","digest":"{}","size":{config_size}}}}}"#,
            media_type::OCI_MANIFEST,
            media_type::OCI_CONFIG,
            Sha256::of(b"config"),
        )
    };
    let bytes = manifest(10 << 30).into_bytes();
    let reply = Reply::ok(bytes).header("Content-Type", media_type::OCI_MANIFEST);
    let server = Server::start(move |_| reply.clone());
    let store = TestStore::new();
    let pull = |name: &str| {
        let wanted = platform("linux/amd64");
        client()
            .pull(&server.image(name), &wanted, &store.blobs, &|_| {})
            .unwrap_err()
    };
    let error = pull("a:v1");
    assert_eq!(error.class(), ErrorClass::Unusable, "{error}");
    assert!(error.to_string().contains("10737418240 bytes"), "{error}");
    let asked = server.lines();
    assert!(
        !asked.iter().any(|line| line.contains("/blobs/")),
        "{asked:?}"
    );

    // Nor is what the store has by chance: a layer that an index calls a manifest.
    let layer = store.blobs.put(&vec![0; 5 << 20]).unwrap();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{layer}","size":{}}}]}}"#,
        media_type::OCI_MANIFEST,
        5 << 20
    );
    let reply = Reply::ok(index).header("Content-Type", media_type::OCI_INDEX);
    let server = Server::start(move |_| reply.clone());
    let wanted = platform("linux/amd64");
    let error = client()
        .pull(&server.image("a:v1"), &wanted, &store.blobs, &|_| {})
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Manifest(ManifestError::TooLarge { .. })
    ));
}

/// By tag nobody knows the digest beforehand, but the server says it.
#[test]
fn a_manifest_by_tag_is_what_its_server_says_it_is() {
    let served = image("amd64", &[], "v1");
    let digest = served.manifest.descriptor().digest;
    for times in [1, 2] {
        let good = served.manifest.bytes.clone();
        let count = AtomicUsize::new(0);
        let server = Server::start(move |request| {
            if request.method == "HEAD" {
                return Reply::new(405);
            }
            let mut body = good.clone();
            if count.fetch_add(1, Ordering::SeqCst) < times {
                // Still a manifest, of another image.
                let last = body.iter().rposition(u8::is_ascii_digit).unwrap();
                body[last] ^= 1;
            }
            Reply::ok(body)
                .header("Content-Type", media_type::OCI_MANIFEST)
                .header("Docker-Content-Digest", digest.to_string())
        });
        let outcome = client().resolve(&server.image("a:v1"));
        match times {
            1 => assert_eq!(outcome.unwrap().descriptor.digest, digest),
            _ => assert_eq!(outcome.unwrap_err().class(), ErrorClass::Integrity),
        }
    }
}

/// OCI-015.
#[test]
fn tags_come_page_by_page() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v2/a/b/tags/list?n=1000" => Reply::ok(r#"{"tags":["1","2"]}"#)
            .header("Link", r#"</v2/a/b/tags/list?last=2&n=1000>; rel="next""#),
        "/v2/a/b/tags/list?last=2&n=1000" => {
            Reply::ok(r#"{"tags":["3"]}"#).header("Link", r#"<list?last=3>; rel="next""#)
        }
        "/v2/a/b/tags/list?last=3" => Reply::ok(r#"{"tags":null}"#),
        _ => Reply::new(404),
    });
    let tags = client().list_tags(&server.image("a/b")).unwrap();
    assert_eq!(tags, ["1", "2", "3"]);
}
