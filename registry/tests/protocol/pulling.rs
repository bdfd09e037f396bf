//! Names, manifests, blobs, and servers that serve them badly.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kiln_oci::{Sha256, media_type};
use kiln_registry::{
    BlobReader, Client, ClientOptions, Error, ErrorClass, ManifestError, Notice, PushImage,
};

use crate::sample::{TestStore, blob, bytes, client, image, index, options, platform};
use crate::script::{Reply, Request, Server};

/// Answers for the manifest of an image as a good registry does.
fn manifest_reply(image: &PushImage) -> Reply {
    let descriptor = image.manifest.descriptor();
    Reply::ok(image.manifest.bytes.clone())
        .header("Content-Type", descriptor.media_type)
        .header("Docker-Content-Digest", descriptor.digest.to_string())
}

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

/// Serves `content`, breaking off after `pieces` of it, one per connection; ranges only if `ranges`.
fn brittle(content: Vec<u8>, pieces: Vec<usize>, ranges: bool) -> Server {
    let connection = AtomicUsize::new(0);
    Server::start(move |request: &Request| {
        let piece = pieces
            .get(connection.fetch_add(1, Ordering::SeqCst))
            .copied();
        let start = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes="))
            .and_then(|range| range.strip_suffix('-'))
            .map(|start| start.parse::<usize>().unwrap());
        let reply = match start.filter(|_| ranges) {
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
                Reply::new(206)
                    .header("Content-Range", range)
                    .body(&content[start..])
            }
            None => Reply::ok(content.clone()),
        };
        match piece {
            Some(piece) => reply.cut_after(piece),
            None => reply,
        }
    })
}

/// OCI-006.
#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let content = bytes(20, 300_000);
    let descriptor = blob("x", content.clone()).descriptor;
    for ranges in [true, false] {
        // The second connection breaks before it brings anything.
        let pieces = if ranges {
            vec![100_000, 0, 50_000]
        } else {
            vec![100_000, 0, 150_000]
        };
        let server = brittle(content.clone(), pieces, ranges);
        let store = TestStore::new();
        client()
            .fetch_blob(&server.image("a"), &descriptor, &store.blobs, &|_| {})
            .unwrap();
        assert_eq!(store.blobs.read(descriptor.digest).unwrap(), content);
        let asked: Vec<Option<String>> = server
            .requests()
            .iter()
            .map(|request| request.header("range").map(str::to_owned))
            .collect();
        let from = |offset: usize| Some(format!("bytes={offset}-"));
        assert_eq!(asked[..3], [None, from(100_000), from(100_000)]);
        assert_eq!(asked[3], from(150_000));
        assert_eq!(asked.len(), 4);
    }
}

#[test]
fn a_connection_that_always_breaks_is_given_up() {
    let content = bytes(21, 100_000);
    let descriptor = blob("x", content.clone()).descriptor;
    let server = brittle(content, vec![10; 100], true);
    let store = TestStore::new();
    let error = client()
        .fetch_blob(&server.image("a"), &descriptor, &store.blobs, &|_| {})
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Network, "{error}");
    assert_eq!(server.lines().len(), 4);
    assert_eq!(store.unfinished(), 0);
}

#[test]
fn blobs_of_another_length_are_refused() {
    let content = bytes(22, 100_000);
    for (served, class) in [
        ([&content[..], b"more"].concat(), ErrorClass::Integrity),
        (content[..99_999].to_vec(), ErrorClass::Integrity),
    ] {
        let server = Server::start(move |request| match request.header("range") {
            None => Reply::ok(served.clone()),
            Some(_) => Reply::new(416),
        });
        let store = TestStore::new();
        let descriptor = blob("x", content.clone()).descriptor;
        let outcome = client().fetch_blob(&server.image("a"), &descriptor, &store.blobs, &|_| {});
        let error = outcome.unwrap_err();
        // A server that cannot serve the rest says so in its own way.
        let refused = error.to_string().contains("416");
        assert!(error.class() == class || refused, "{error}");
        assert!(!store.blobs.contains(descriptor.digest));
    }
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

/// What was damaged on its way is right the second time.
#[test]
fn damaged_content_is_fetched_once_more() {
    let served = image("amd64", &[], "v1");
    let descriptor = served.manifest.descriptor();
    let good = served.manifest.bytes.clone();
    let content = bytes(24, 10_000);
    let layer = blob("x", content.clone()).descriptor;
    for times in [1, 2] {
        let (good, content) = (good.clone(), content.clone());
        let counts = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let server = Server::start(move |request| {
            let is_blob = request.path.contains("/blobs/");
            let mut body = if is_blob {
                content.clone()
            } else {
                good.clone()
            };
            if counts[usize::from(is_blob)].fetch_add(1, Ordering::SeqCst) < times {
                body[7] ^= 1;
            }
            Reply::ok(body)
        });
        let name = server.image("a");
        let store = TestStore::new();
        let client = client();
        let manifest = client.fetch_manifest(&name, &descriptor);
        let blob = client.fetch_blob(&name, &layer, &store.blobs, &|_| {});
        assert_eq!(server.lines().len(), 4);
        if times == 1 {
            assert_eq!(manifest.unwrap(), served.manifest.bytes);
            blob.unwrap();
            assert!(store.blobs.contains(layer.digest));
            continue;
        }
        for error in [manifest.unwrap_err(), blob.unwrap_err()] {
            assert_eq!(error.class(), ErrorClass::Integrity, "{error}");
            let words = format!(
                "{0}/a sent damaged content of {0}/a:latest: ",
                server.host()
            );
            assert!(error.to_string().starts_with(&words), "{error}");
        }
        assert!(!store.blobs.contains(layer.digest));
    }
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

#[test]
fn damage_of_what_is_read_on_its_way_is_named() {
    let content = bytes(25, 1000);
    let descriptor = blob("x", content).descriptor;
    let server = Server::start(|_| Reply::ok(bytes(26, 1000)));
    let mut reader = client().open_blob(&server.image("a"), &descriptor).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    let words = format!(
        "{0}/a sent damaged content of {0}/a:latest: ",
        server.host()
    );
    assert!(error.to_string().starts_with(&words), "{error}");
}

#[test]
fn a_wrong_range_is_not_spliced_in() {
    let content = bytes(23, 10_000);
    let descriptor = blob("x", content.clone()).descriptor;
    let server = Server::start(move |request| match request.header("range") {
        None => Reply::ok(content.clone()).cut_after(5000),
        Some(_) => Reply::new(206)
            .header("Content-Range", "bytes 4000-9999/10000")
            .body(&content[4000..]),
    });
    let mut reader = client().open_blob(&server.image("a"), &descriptor).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("another range"), "{error}");
    // And stays failed.
    assert!(reader.read(&mut [0; 10]).is_err());
}

/// OCI-014.
#[test]
fn a_server_that_asks_for_patience_gets_it() {
    for (status, retry_after) in [(429, Some("0")), (503, Some("0")), (408, None), (500, None)] {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let server = Server::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            0..3 => match retry_after {
                Some(seconds) => Reply::new(status).header("Retry-After", seconds),
                None => Reply::new(status),
            },
            _ => Reply::ok(r#"{"tags":["one"]}"#),
        });
        let notices = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&notices);
        let client = Client::new(ClientOptions {
            notice: Arc::new(move |notice| told.lock().unwrap().push(notice)),
            ..options()
        });
        assert_eq!(client.list_tags(&server.image("a")).unwrap(), ["one"]);
        assert_eq!(count.load(Ordering::SeqCst), 4);
        let notices = notices.lock().unwrap();
        assert_eq!(notices.len(), 3);
        let Notice::Retrying { reason, .. } = &notices[0] else {
            panic!("{notices:?}");
        };
        assert_eq!(*reason, format!("status {status}"));
    }
}

#[test]
fn patience_ends_and_other_refusals_get_none() {
    for (reply, requests, class) in [
        (Reply::new(503), 4, ErrorClass::Server),
        (
            Reply::new(429).header("Retry-After", "3600"),
            1,
            ErrorClass::RateLimited,
        ),
        (Reply::new(400), 1, ErrorClass::Server),
        (Reply::new(404), 1, ErrorClass::NotFound),
    ] {
        let server = Server::start(move |_| reply.clone());
        let error = client()
            .fetch(&server.url("/x"), &Default::default())
            .unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert_eq!(server.lines().len(), requests, "{error}");
    }
}

#[test]
fn nobody_listening_is_told_at_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let name = format!("{address}/a").parse().unwrap();
    let error = client().resolve(&name).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Network);
    let words = error.to_string();
    assert!(words.starts_with("http://127.0.0.1:"), "{words}");
    assert!(words.contains("onnection refused"), "{words}");
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

#[test]
fn readers_may_move_between_threads() {
    fn movable<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    movable::<BlobReader>();
    movable::<kiln_registry::Download>();
    shared::<Client>();
}
