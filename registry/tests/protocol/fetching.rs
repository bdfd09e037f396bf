//! Plain downloads.

use std::io::Read as _;

use kiln_registry::{Download, ErrorClass, FetchOptions, Fetched, Secret};

use crate::sample::client;
use crate::script::{Reply, Server};

fn download(url: &str, options: &FetchOptions) -> Download {
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
fn what_is_current_is_not_sent_again() {
    let server = Server::start(|request| {
        let current = request.header("if-none-match") == Some(r#""abc""#);
        assert_eq!(request.header("if-modified-since"), None);
        match current {
            true => Reply::new(304),
            false => Reply::ok("new"),
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
    for url in ["ftp://h/x", "x", "http://"] {
        assert_eq!(fetch(url).class(), ErrorClass::Configuration, "{url}");
    }
}
