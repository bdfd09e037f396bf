//! Uploads, mounts, and the order of things.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kiln_oci::Sha256;
use kiln_registry::{BlobSource, ErrorClass, PushImage};

use crate::sample::{Events, blob, bytes, client, image, index};
use crate::script::{Reply, Request, Server};

/// What a scripted registry has taken.
#[derive(Default)]
struct Taken {
    blobs: BTreeSet<String>,
    manifests: BTreeSet<String>,
}

/// A small registry that refuses manifests whose parts it lacks. `mount` answers mounts, `location`
/// is where uploads go.
fn registry(mount: u16, location: &'static str) -> (Server, Arc<Mutex<Taken>>) {
    let taken = Arc::new(Mutex::new(Taken::default()));
    let state = Arc::clone(&taken);
    let server = Server::start(move |request| {
        let mut taken = state.lock().unwrap();
        answer(request, &mut taken, mount, location)
    });
    (server, taken)
}

fn answer(request: &Request, taken: &mut Taken, mount: u16, location: &str) -> Reply {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let last = path.rsplit('/').next().unwrap().to_owned();
    let digest = Sha256::of(&request.body).to_string();
    let pair = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name));
        found.map(|value| value.replace("%3A", ":"))
    };
    match (request.method.as_str(), path.contains("/manifests/")) {
        ("HEAD", false) => Reply::new(if taken.blobs.contains(&last) {
            200
        } else {
            404
        }),
        ("HEAD", true) => Reply::new(404),
        ("POST", _) => match pair("mount=") {
            Some(digest) if mount == 201 => {
                taken.blobs.insert(digest);
                Reply::new(201)
            }
            Some(_) if mount != 202 => Reply::new(mount),
            _ => Reply::new(202).header("Location", location),
        },
        ("PUT", false) if pair("digest=").as_ref() == Some(&digest) => {
            taken.blobs.insert(digest);
            Reply::new(201)
        }
        ("PUT", true) => {
            let text = request.body_text();
            let named = text.split('"').filter(|word| word.starts_with("sha256:"));
            let complete = named.clone().count() > 0
                && named
                    .into_iter()
                    .all(|part| taken.blobs.contains(part) || taken.manifests.contains(part));
            if !complete {
                return Reply::new(400).body(
                    r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"part missing"}]}"#,
                );
            }
            taken.manifests.insert(digest.clone());
            taken.manifests.insert(last);
            Reply::new(201).header("Docker-Content-Digest", digest)
        }
        _ => Reply::new(400).body("unexpected"),
    }
}

fn small_image() -> PushImage {
    image("amd64", &[bytes(30, 100_000), bytes(31, 10)], "v1")
}

/// OCI-012.
#[test]
fn upload_locations_may_be_relative_and_have_queries() {
    for location in [
        "/elsewhere/upload?state=a%2Bb%3D&x=1",
        "../uploads/u-u-i-d",
        "session",
    ] {
        let (server, taken) = registry(202, location);
        client()
            .push(&server.image("a/b"), &small_image(), &|_| {})
            .unwrap();
        assert!(taken.lock().unwrap().manifests.contains("v1"));
        let puts: Vec<_> = server
            .lines()
            .into_iter()
            .filter(|line| line.starts_with("PUT") && !line.contains("/manifests/"))
            .collect();
        assert_eq!(puts.len(), 3);
        for request in server.requests() {
            if puts.contains(&request.line()) {
                let content_type = request.header("content-type");
                assert_eq!(content_type, Some("application/octet-stream"));
            }
        }
        let expected = match location {
            "session" => "PUT /v2/a/b/blobs/uploads/session?digest=sha256%3A",
            "../uploads/u-u-i-d" => "PUT /v2/a/b/blobs/uploads/u-u-i-d?digest=sha256%3A",
            _ => "PUT /elsewhere/upload?state=a%2Bb%3D&x=1&digest=sha256%3A",
        };
        for put in puts {
            assert!(put.starts_with(expected), "{put}");
        }
    }
}

/// OCI-011.
#[test]
fn a_mount_may_succeed_fail_or_turn_into_an_upload() {
    for (mount, mounted) in [(201, true), (202, false), (403, false), (405, false)] {
        let (server, taken) = registry(mount, "/upload/1");
        let mut pushed = small_image();
        pushed.blobs[0].mount_from = Some(server.image("base/image").into());
        // Of another registry, and of the same repository: no use.
        pushed.blobs[1].mount_from = Some("q.io/x".parse().unwrap());
        pushed.blobs[2].mount_from = Some(server.image("a").into());
        let events = Events::default();
        client()
            .push(&server.image("a"), &pushed, &events.observer())
            .unwrap();
        assert!(taken.lock().unwrap().manifests.contains("v1"));
        let steps = events.of(&pushed.blobs[0].descriptor);
        assert_eq!(steps.contains(&"Mounted".to_owned()), mounted, "{steps:?}");
        assert_eq!(
            steps.contains(&"Uploaded".to_owned()),
            !mounted,
            "{steps:?}"
        );
        let mounts: Vec<_> = server
            .lines()
            .into_iter()
            .filter(|line| line.contains("mount="))
            .collect();
        let digest = pushed.blobs[0].descriptor.digest.hex();
        assert_eq!(
            mounts,
            [format!(
                "POST /v2/a/blobs/uploads/?mount=sha256%3A{digest}&from=base%2Fimage"
            )]
        );
    }
}

/// OCI-011.
#[test]
fn blobs_of_the_registry_are_not_sent() {
    let (server, taken) = registry(202, "/upload/1");
    let pushed = small_image();
    let known = pushed.blobs[0].descriptor.digest.to_string();
    taken.lock().unwrap().blobs.insert(known);
    let events = Events::default();
    client()
        .push(&server.image("a"), &pushed, &events.observer())
        .unwrap();
    assert_eq!(
        events.of(&pushed.blobs[0].descriptor),
        ["Preparing", "AlreadyThere"]
    );
    let posts = server
        .lines()
        .iter()
        .filter(|line| line.starts_with("POST"))
        .count();
    assert_eq!(posts, 2);
}

/// OCI-013. The scripted registry refuses what comes too early.
#[test]
fn children_go_before_their_index_and_tags_come_last() {
    let (server, taken) = registry(202, "/upload/1");
    let mut both = index(
        &[
            ("amd64", image("amd64", &[bytes(32, 10)], "")),
            ("arm64", image("arm64", &[bytes(33, 10)], "")),
        ],
        "v1",
    );
    both.tags.push("latest".to_owned());
    client().push(&server.image("a"), &both, &|_| {}).unwrap();
    let digest = |at: usize| both.children[at].descriptor().digest.to_string();
    let lines = server.lines();
    let puts: Vec<_> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("PUT /v2/a/manifests/"))
        .collect();
    assert_eq!(puts, [&*digest(0), &*digest(1), "v1", "latest"]);
    assert!(lines.last().unwrap().ends_with("/manifests/latest"));
    assert_eq!(taken.lock().unwrap().blobs.len(), 4);
}

#[test]
fn without_tags_the_digest_is_the_name() {
    let (server, _) = registry(202, "/upload/1");
    let mut pushed = small_image();
    pushed.tags.clear();
    let top = client().push(&server.image("a"), &pushed, &|_| {}).unwrap();
    let expected = format!("PUT /v2/a/manifests/{}", top.digest);
    assert_eq!(server.lines().last(), Some(&expected));
}

#[test]
fn layers_that_registries_do_not_hold_stay_away() {
    let (server, _) = registry(202, "/upload/1");
    let mut pushed = small_image();
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    pushed.blobs.push(blob(foreign, bytes(34, 10)));
    client().push(&server.image("a"), &pushed, &|_| {}).unwrap();
    let hex = pushed.blobs[3].descriptor.digest.hex();
    assert!(!server.lines().iter().any(|line| line.contains(&hex)));
}

/// What was sent is lost with the connection, so the blob is opened and sent again.
#[test]
fn an_upload_that_breaks_starts_over() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let state = Mutex::new(Taken::default());
    let server = Server::start(move |request| {
        let upload = request.method == "PUT" && request.path.starts_with("/upload");
        if upload && counted.fetch_add(1, Ordering::SeqCst) < 2 {
            Reply::new(502)
        } else {
            answer(request, &mut state.lock().unwrap(), 202, "/upload/1")
        }
    });
    let mut pushed = image("amd64", &[bytes(35, 1_000_000)], "v1");
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    pushed.blobs[0].source = BlobSource::Open(Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let content: Box<dyn Read + Send> = Box::new(std::io::Cursor::new(bytes(35, 1_000_000)));
        Ok(content)
    }));
    let events = Events::default();
    client()
        .push(&server.image("a"), &pushed, &events.observer())
        .unwrap();
    let steps = events.of(&pushed.blobs[0].descriptor);
    assert_eq!(steps, ["Preparing", "Uploading", "Uploaded"]);
    assert_eq!(attempts.load(Ordering::SeqCst), 4);
    // The registry may have forgotten the session: each attempt is one of a session of its own.
    let starts = server.lines();
    let starts = starts.iter().filter(|line| line.starts_with("POST "));
    assert_eq!(starts.count(), 4);
    assert!(opened.load(Ordering::SeqCst) >= 1);
}

#[test]
fn a_registry_that_refuses_before_it_has_read_is_heard() {
    let server = Server::start(|request| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("Location", "/early"),
        _ => Reply::new(413)
            .body(r#"{"errors":[{"code":"SIZE_INVALID","message":"too large for us"}]}"#),
    });
    let pushed = image("amd64", &[bytes(36, 30_000_000)], "v1");
    let error = client()
        .push(&server.image("a"), &pushed, &|_| {})
        .unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("413 size invalid: too large for us"),
        "{words}"
    );
}

#[test]
fn a_source_that_fails_fails_the_push() {
    let (server, taken) = registry(202, "/upload/1");
    for length in [99_999, 100_001] {
        let mut pushed = image("amd64", &[bytes(37, 100_000)], "v1");
        pushed.blobs[0].source = BlobSource::Open(Arc::new(move || {
            let content: Box<dyn Read + Send> = Box::new(std::io::repeat(0).take(length));
            Ok(content)
        }));
        let error = client()
            .push(&server.image("a"), &pushed, &|_| {})
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::Local, "{error}");
    }
    let mut pushed = small_image();
    pushed.blobs[0].source = BlobSource::File("/nonexistent/layer".into());
    let error = client()
        .push(&server.image("a"), &pushed, &|_| {})
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Local, "{error}");
    assert!(taken.lock().unwrap().manifests.is_empty());
}

#[test]
fn a_refused_push_says_why() {
    let server = Server::start(|request| {
        match request.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::new(403).body(
            r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
        ),
    }
    });
    let error = client()
        .push(&server.image("a"), &small_image(), &|_| {})
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unauthorized);
    let words = error.to_string();
    assert!(
        words.ends_with("denied: requested access to the resource is denied"),
        "{words}"
    );
}
