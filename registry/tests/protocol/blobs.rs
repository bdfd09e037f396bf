//! Blobs on their way here, over connections that break and from servers that send other bytes.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_registry::{BlobReader, Client, ErrorClass};

use crate::sample::{TestStore, blob, bytes, client, image};
use crate::script::{Reply, Request, Server};

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

#[test]
fn readers_may_move_between_threads() {
    fn movable<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    movable::<BlobReader>();
    movable::<kiln_registry::DownloadReader>();
    shared::<Client>();
}
