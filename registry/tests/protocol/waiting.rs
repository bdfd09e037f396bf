//! Servers that say nothing, and clients that have had enough.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kiln_registry::{Client, ClientOptions, ErrorClass, FetchOptions, Fetched, Notice};

use crate::sample::{TestStore, blob, bytes, client, image, options};
use crate::script::{Reply, Server};

/// A server whose answers to some requests wait until the gate is dropped.
struct Gated {
    // Dropped first, so that nobody waits when the server ends.
    _gate: mpsc::Sender<()>,
    arrivals: mpsc::Receiver<()>,
    server: Server,
}

/// Answers as `answer` says; what it has no answer to waits at the gate.
fn gated(answer: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> Gated {
    let (gate, closed) = mpsc::channel::<()>();
    let (arrived, arrivals) = mpsc::channel();
    let (closed, arrived) = (Mutex::new(closed), Mutex::new(arrived));
    let server = Server::start(move |request| {
        answer(&request.line()).unwrap_or_else(|| {
            // It fails when the test has seen enough and is over.
            let _ = arrived.lock().unwrap().send(());
            let _ = closed.lock().unwrap().recv();
            Reply::new(200)
        })
    });
    Gated {
        _gate: gate,
        arrivals,
        server,
    }
}

fn impatient() -> Client {
    Client::new(ClientOptions {
        idle_timeout: Duration::from_millis(100),
        ..options()
    })
}

#[test]
fn silence_is_not_waited_out() {
    let gated = gated(|_| None);
    let error = impatient().list_tags(&gated.server.image("a")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Network);
    assert!(error.to_string().contains("no data for 0.1 s"), "{error}");
}

/// The body is larger than what the sockets between both ends can hold.
#[test]
fn an_upload_that_nobody_reads_is_not_waited_out() {
    let gated = gated(|line| match line.split_once(' ') {
        Some(("HEAD", _)) => Some(Reply::new(404)),
        Some(("POST", _)) => Some(Reply::new(202).header("Location", "/early")),
        _ => None,
    });
    let pushed = image("amd64", &[bytes(50, 40_000_000)], "v1");
    let error = impatient()
        .push(&gated.server.image("a"), &pushed, &|_| {})
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Network, "{error}");
}

/// A byte now and then is as good as silence.
#[test]
fn dripping_answer_is_not_waited_out() {
    let content = bytes(52, 1000);
    let drops = content.clone();
    let server = Server::start(move |request| {
        let body = if request.path.contains("/blobs/") || request.path == "/x" {
            drops.clone()
        } else {
            br#"{"tags":["a"]}"#.repeat(100)
        };
        Reply::ok(body).drip(Duration::from_millis(10))
    });
    let mut options = options();
    options.idle_timeout = Duration::from_millis(200);
    options.retry.delays = Vec::new();
    let client = Client::new(options);
    let store = TestStore::new();
    let descriptor = blob("x", content).descriptor;
    let list = client.list_tags(&server.image("a")).unwrap_err();
    let blob = client
        .fetch_blob(&server.image("a"), &descriptor, &store.blobs, &|_| {})
        .unwrap_err();
    let download = match client.fetch(&server.url("/x"), &FetchOptions::default()) {
        Ok(Fetched::Download(mut download)) => {
            let read = download.read_to_end(&mut Vec::new()).unwrap_err();
            kiln_registry::Error::from_io(read).unwrap()
        }
        other => panic!("{other:?}"),
    };
    for error in [list, blob, download] {
        assert_eq!(error.class(), ErrorClass::Network, "{error}");
        assert!(error.to_string().contains("bytes in 0.2 s"), "{error}");
    }
}

/// There is a time by which a document is here, however busily it comes.
#[test]
fn a_document_does_not_come_for_ever() {
    let server = Server::start(|_| Reply::ok(vec![b' '; 1000]).drip(Duration::from_millis(10)));
    let mut options = options();
    options.document_timeout = Duration::from_millis(200);
    options.retry.delays = Vec::new();
    let client = Client::new(options);
    let error = client.resolve(&server.image("a:v1")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Network, "{error}");
    assert!(
        error.to_string().contains("not complete after 0.2 s"),
        "{error}"
    );
}

/// A large blob has no time by which it is here, as long as it comes along.
#[test]
fn a_large_blob_may_take_longer_than_a_document() {
    let content = bytes(53, 3_000_000);
    let served = content.clone();
    let server = Server::start(move |_| Reply::ok(served.clone()));
    let mut options = options();
    options.document_timeout = Duration::from_nanos(1);
    options.retry.delays = Vec::new();
    let store = TestStore::new();
    let descriptor = blob("x", content).descriptor;
    Client::new(options)
        .fetch_blob(&server.image("a"), &descriptor, &store.blobs, &|_| {})
        .unwrap();
    assert!(store.blobs.contains(descriptor.digest));
}

#[test]
fn cancelling_wakes_who_waits_for_an_answer() {
    let gated = gated(|_| None);
    let client = Client::new(options());
    let waiting = client.clone();
    let name = gated.server.image("a");
    let waiter = thread::spawn(move || waiting.list_tags(&name));
    gated.arrivals.recv().unwrap();
    client.cancel();
    let error = waiter.join().unwrap().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Cancelled, "{error}");
}

#[test]
fn cancelling_wakes_who_waits_to_try_again() {
    let server = Server::start(|_| Reply::new(503));
    let (noticed, notices) = mpsc::channel();
    let noticed = Mutex::new(noticed);
    let mut options = options();
    options.retry.delays = vec![Duration::from_secs(3600)];
    options.retry.longest_wait = Duration::from_secs(3600);
    options.notice = Arc::new(move |notice| noticed.lock().unwrap().send(notice).unwrap());
    let client = Client::new(options);
    let waiting = client.clone();
    let name = server.image("a");
    let waiter = thread::spawn(move || waiting.list_tags(&name));
    notices.recv().unwrap();
    client.cancel();
    let error = waiter.join().unwrap().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Cancelled, "{error}");
}

/// One that fails takes the others along, and its own words are what is told.
#[test]
fn the_first_failure_stops_parallel_downloads() {
    let good = bytes(51, 1000);
    let content = good.clone();
    let server = Server::start(move |_| Reply::ok(content.clone()));
    let store = TestStore::new();
    let found = blob("x", good).descriptor;
    let mut descriptors = vec![found.clone(), found.clone()];
    for seed in 60..70 {
        descriptors.push(blob("x", bytes(seed, 1000)).descriptor);
    }
    let error = Client::new(options())
        .fetch_blobs(&server.image("a"), &descriptors, &store.blobs, &|_| {})
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Integrity, "{error}");
    assert_eq!(store.unfinished(), 0);
    let wanted = format!("GET /v2/a/blobs/{}", found.digest);
    let asked = server
        .lines()
        .iter()
        .filter(|line| **line == wanted)
        .count();
    assert!(asked <= 1, "a blob that is listed twice is fetched once");
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
    let advice = format!("check that a registry runs at {address} and can be reached from here");
    assert_eq!(error.advice(), Some(advice));
}
