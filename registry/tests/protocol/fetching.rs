//! Plain downloads.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_registry::{DownloadReader, ErrorClass, FetchOptions, Fetched, Secret};

use crate::sample::{bytes, client};
use crate::script::{Reply, Server};

fn download(url: &str, options: &FetchOptions) -> DownloadReader {
    match client().fetch(url, options).unwrap() {
        Fetched::Download(download) => *download,
        Fetched::NotModified => panic!("nothing came"),
    }
}

#[test]
fn redirects_are_followed_and_facts_kept() {
    let storage = Server::start(|_| {
        Reply::ok("content")
            .header("ETag", r#""abc""#)
            .header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
            .header("Content-Disposition", "attachment; filename=x.tar")
    });
    let elsewhere = storage.url("/x?key=s3cret");
    let server = Server::start(move |request| match request.path.as_str() {
        "/start" => Reply::new(301).header("Location", "next"),
        "/next" => Reply::new(302).header("Location", elsewhere.clone()),
        _ => Reply::new(404),
    });
    let options = FetchOptions {
        authorization: Some(Secret::new("Bearer t0ken")),
        ..FetchOptions::default()
    };
    let mut download = download(&server.url("/start"), &options);
    assert_eq!(download.url, storage.url("/x"));
    assert_eq!(download.etag.as_deref(), Some(r#""abc""#));
    assert_eq!(
        download.last_modified.as_deref(),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    assert!(download.content_disposition.is_some());
    assert_eq!(download.size_bytes, Some(7));
    let mut content = String::new();
    download.read_to_string(&mut content).unwrap();
    assert_eq!(content, "content");

    let shown: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(shown, vec![Some("Bearer t0ken".to_owned()); 2]);
    assert_eq!(storage.requests()[0].header("authorization"), None);
}

#[test]
fn current_download_is_not_sent_again() {
    let server = Server::start(|request| {
        let current = request.header("if-none-match") == Some(r#""abc""#);
        assert_eq!(request.header("if-modified-since"), None);
        if current {
            Reply::new(304)
        } else {
            Reply::ok("new")
        }
    });
    let mut options = FetchOptions {
        etag: Some(r#""abc""#.to_owned()),
        authorization: None,
    };
    let outcome = client().fetch(&server.url("/x"), &options).unwrap();
    assert!(matches!(outcome, Fetched::NotModified));
    options.etag = None;
    download(&server.url("/x"), &options);
}

#[test]
fn refusals_are_worded_as_buildkit_does() {
    let server = Server::start(|_| Reply::new(404).body("<html>nothing here</html>"));
    let error = client()
        .fetch(&server.url("/x?key=s3cret"), &FetchOptions::default())
        .unwrap_err();
    assert_eq!(error.to_string(), "invalid response status 404");
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn a_download_that_breaks_is_an_error() {
    let server = Server::start(|_| Reply::ok("content").cut_after(3));
    let mut download = download(&server.url("/x"), &FetchOptions::default());
    let mut content = Vec::new();
    download.read_to_end(&mut content).unwrap_err();
    assert_eq!(content, b"con");
}

/// There is no part to ask for while nothing has come.
#[test]
fn a_download_of_which_nothing_came_is_asked_for_whole() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let reply = Reply::ok("content").header("ETag", r#""v1""#);
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => reply.cut_after(0),
            _ => reply,
        }
    });
    let mut content = String::new();
    download(&server.url("/x"), &FetchOptions::default())
        .read_to_string(&mut content)
        .unwrap();
    assert_eq!(content, "content");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.header("range"), None);
        assert_eq!(request.header("if-range"), None);
    }
}

/// How a server serves a file whose connections break.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Serves {
    /// Parts of it, with this entity tag.
    Parts(&'static str),
    /// All of it, always.
    Whole,
    /// Parts, whatever version they are of.
    PartsOfAnything,
}

/// Serves `first` until its connection breaks after 5000 bytes, and `then` from then on.
fn breaking(serves: Serves, first: Vec<u8>, then: Vec<u8>) -> Server {
    let asked = AtomicUsize::new(0);
    Server::start(move |request| {
        let tag = match serves {
            Serves::Parts(tag) => tag,
            Serves::PartsOfAnything => r#""1""#,
            Serves::Whole => "",
        };
        let tagged = |reply: Reply| match tag {
            "" => reply,
            tag => reply.header("ETag", tag),
        };
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            return tagged(Reply::ok(first.clone()).cut_after(5000));
        }
        match (request.header("range"), request.header("if-range")) {
            (None, None) => Reply::ok(then.clone()),
            (Some("bytes=5000-"), Some(given)) if given == tag => {
                let version = match serves {
                    Serves::PartsOfAnything => r#""2""#,
                    _ => tag,
                };
                Reply::new(206)
                    .header("ETag", version)
                    .header("Content-Range", format!("bytes 5000-9999/{}", then.len()))
                    .body(&then[5000..])
            }
            _ => Reply::new(416),
        }
    })
}

#[test]
fn a_download_goes_on_where_its_connection_broke() {
    let content = bytes(70, 10_000);
    for serves in [
        Serves::Parts(r#""v1""#),
        // A weak tag does not promise the same bytes.
        Serves::Parts(r#"W/"v1""#),
        Serves::Whole,
    ] {
        let server = breaking(serves, content.clone(), content.clone());
        let mut download = download(&server.url("/x"), &FetchOptions::default());
        let mut read = Vec::new();
        download.read_to_end(&mut read).unwrap();
        assert!(read == content, "{serves:?}");
        let ranges: Vec<_> = server
            .requests()
            .iter()
            .map(|request| request.header("range").map(str::to_owned))
            .collect();
        let part = (serves == Serves::Parts(r#""v1""#)).then(|| "bytes=5000-".to_owned());
        assert_eq!(ranges, [None, part], "{serves:?}");
    }
}

/// Half of one version and half of another is neither.
#[test]
fn a_download_that_changed_meanwhile_is_not_spliced() {
    let (content, other) = (bytes(71, 10_000), bytes(72, 10_000));
    let mut longer = content.clone();
    longer.push(0);
    for (serves, then) in [
        (Serves::Whole, other.clone()),
        (Serves::Whole, longer),
        (Serves::PartsOfAnything, other),
    ] {
        let server = breaking(serves, content.clone(), then);
        let mut download = download(&server.url("/x"), &FetchOptions::default());
        let mut read = Vec::new();
        let error = download.read_to_end(&mut read).unwrap_err();
        assert!(error.to_string().contains("another file"), "{error}");
        assert!(read == content[..5000], "{serves:?}");
    }
}

#[test]
fn circles_and_other_schemes_end() {
    let server = Server::start(|request| match request.path.as_str() {
        "/circle" => Reply::new(302).header("Location", "/circle"),
        _ => Reply::new(302).header("Location", "file:///etc/passwd"),
    });
    let fetch = |url: &str| client().fetch(url, &FetchOptions::default()).unwrap_err();
    let error = fetch(&server.url("/circle"));
    assert!(error.to_string().contains("without end"), "{error}");
    assert_eq!(server.lines().len(), 11);
    assert_eq!(fetch(&server.url("/file")).class(), ErrorClass::Server);
    for url in ["ftp://h/x", "x", "http://", "http://ann:s3cret@[h/x"] {
        let error = fetch(url);
        assert_eq!(error.class(), ErrorClass::Configuration, "{url}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
    // What is no URL is named by what may be shown of it.
    let words = fetch("ann:s3cret@h/x?key=s3cret").to_string();
    assert!(words.starts_with("h/x: "), "{words}");
}
