//! Mirrors, schemes, certificates.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_registry::{
    Client, ClientOptions, Error, ErrorClass, FetchOptions, Notice, Proxies, RegistriesConf,
};
use kiln_testbed::{Daemon, Tool, need};

use crate::sample::{TestStore, blob, bytes, image, name, options};
use crate::script::{Certificate, Reply, Server};

fn client_with(conf: &str) -> Client {
    let mut registries = RegistriesConf::default();
    registries
        .merge(conf, Path::new("registries.conf"))
        .unwrap();
    Client::new(ClientOptions {
        registries,
        ..options()
    })
}

/// Returns the address of a port that nobody listens on.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn mirrors_are_asked_in_order_and_the_registry_last() {
    let content = bytes(40, 10_000);
    let descriptor = blob("x", content.clone()).descriptor;
    let damaged = Server::start(|_| Reply::ok(bytes(41, 10_000)));
    let empty = Server::start(|_| Reply::new(404));
    let upstream = Server::start(move |_| Reply::ok(content.clone()));
    let down = nobody();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&notices);
    let mut registries = RegistriesConf::default();
    let conf = format!(
        "[[registry]]\nprefix = 'q.io/team'\nlocation = '{}/real'\n\
         [[registry.mirror]]\nlocation = '{down}/m0'\n\
         [[registry.mirror]]\nlocation = '{}/m1'\n\
         [[registry.mirror]]\nlocation = '{}/m2'\n",
        upstream.host(),
        empty.host(),
        damaged.host()
    );
    registries
        .merge(&conf, Path::new("registries.conf"))
        .unwrap();
    let client = Client::new(ClientOptions {
        registries,
        notice: Arc::new(move |notice| told.lock().unwrap().push(notice)),
        ..options()
    });
    for _ in 0..2 {
        let store = TestStore::new();
        client
            .fetch_blob(&name("q.io/team/app"), &descriptor, &store.blobs, &|_| {})
            .unwrap();
        assert!(store.blobs.contains(descriptor.digest));
    }
    let path = |place: &str| format!("GET /v2/{place}/app/blobs/{}", descriptor.digest);
    assert_eq!(empty.lines(), [path("m1"), path("m1")]);
    assert_eq!(damaged.lines(), [path("m2"), path("m2")]);
    assert_eq!(upstream.lines(), [path("real"), path("real")]);
    // The one that cannot be reached is asked once only.
    let failed: Vec<String> = notices
        .lock()
        .unwrap()
        .iter()
        .map(|notice| match notice {
            Notice::MirrorFailed { mirror, .. } => mirror.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let place = |server: &Server, path: &str| format!("{}/{path}/app", server.host());
    let (m1, m2) = (place(&empty, "m1"), place(&damaged, "m2"));
    assert_eq!(
        failed,
        [format!("{down}/m0/app"), m1.clone(), m2.clone(), m1, m2]
    );
}

#[test]
fn a_mirror_that_knows_is_enough_for_a_pull_and_never_pushed_to() {
    let served = image("amd64", &[], "v1");
    let descriptor = served.manifest.descriptor();
    let reply = Reply::ok(served.manifest.bytes.clone())
        .header("Content-Type", descriptor.media_type.clone())
        .header("Docker-Content-Digest", descriptor.digest.to_string());
    let mirror = Server::start(move |_| reply.clone());
    let upstream = Server::start(|_| Reply::new(403));
    let client = client_with(&format!(
        "[[registry]]\nprefix = 'q.io'\nlocation = '{}'\n[[registry.mirror]]\nlocation = '{}'\n",
        upstream.host(),
        mirror.host()
    ));
    let resolved = client.resolve(&name("q.io/a:v1")).unwrap();
    assert_eq!(resolved.source, format!("{}/a", mirror.host()));
    assert!(upstream.lines().is_empty());

    let before = mirror.lines().len();
    let error = client.push(&name("q.io/a"), &served, &|_| {}).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unauthorized, "{error}");
    assert_eq!(mirror.lines().len(), before);
}

#[test]
fn when_nobody_serves_everybodys_words_are_shown() {
    let mirror = Server::start(|_| Reply::new(404).body("not mirrored"));
    let upstream = Server::start(|_| Reply::new(401).body("who are you"));
    let client = client_with(&format!(
        "[[registry]]\nprefix = 'q.io'\nlocation = '{}'\n[[registry.mirror]]\nlocation = '{}'\n",
        upstream.host(),
        mirror.host()
    ));
    let error = client.resolve(&name("q.io/a")).unwrap_err();
    assert!(matches!(error, Error::Mirrors { .. }));
    assert_eq!(error.class(), ErrorClass::Unauthorized);
    let words = error.to_string();
    assert!(
        words.starts_with("pull access denied for q.io/a:latest"),
        "{words}"
    );
    assert!(
        words.contains(&format!("; mirror {}/a: ", mirror.host())),
        "{words}"
    );
    assert!(words.contains("not mirrored"), "{words}");
}

#[test]
fn a_blocked_registry_is_not_asked() {
    let client = client_with("[[registry]]\nprefix = 'bad.io'\nblocked = true\n");
    let error = client.resolve(&name("bad.io/a")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "registry of bad.io/a is blocked by configuration"
    );
    let error = client
        .push(&name("bad.io/a"), &image("amd64", &[], "v1"), &|_| {})
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Configuration);
}

#[test]
fn a_proxy_is_used_but_not_for_loopback() {
    let proxy = Server::start(|_| Reply::ok("from the proxy"));
    let direct = Server::start(|_| Reply::ok("direct"));
    let client = |no_proxy: Option<&str>| {
        Client::new(ClientOptions {
            proxies: Proxies {
                http: Some(proxy.url("")),
                https: None,
                no_proxy: no_proxy.map(str::to_owned),
            },
            ..options()
        })
    };
    let nothing = FetchOptions::default();
    client(None)
        .fetch("http://example.invalid/x", &nothing)
        .unwrap();
    client(None).fetch(&direct.url("/x"), &nothing).unwrap();
    assert_eq!(proxy.lines(), ["GET http://example.invalid/x"]);
    assert_eq!(direct.lines(), ["GET /x"]);

    // The unspecified address is this machine too, but not by a name that everybody knows.
    let port = direct.host().rsplit(':').next().unwrap().to_owned();
    let unspecified = format!("http://0.0.0.0:{port}/y");
    client(Some("other, 0.0.0.0"))
        .fetch(&unspecified, &nothing)
        .unwrap();
    assert_eq!(direct.lines(), ["GET /x", "GET /y"]);
    client(None).fetch(&unspecified, &nothing).unwrap();
    assert_eq!(proxy.lines()[1], format!("GET {unspecified}"));

    let client = Client::new(ClientOptions {
        proxies: Proxies {
            http: Some("http://user:s3cret@[broken".to_owned()),
            ..Proxies::default()
        },
        ..options()
    });
    let error = client
        .fetch("http://example.invalid/x", &nothing)
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Configuration);
    assert!(
        !format!("{error} {error:?} {client:?}").contains("s3cret"),
        "{error}"
    );
}

#[test]
fn https_goes_through_a_tunnel() {
    let proxy = Server::start(|_| Reply::new(403));
    let client = Client::new(ClientOptions {
        proxies: Proxies {
            https: Some(proxy.url("")),
            ..Proxies::default()
        },
        ..options()
    });
    let nothing = FetchOptions::default();
    let error = client
        .fetch("https://example.invalid/x", &nothing)
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Network, "{error}");
    assert_eq!(proxy.lines(), ["CONNECT example.invalid:443"]);
}

/// A server with a certificate of its own, by OpenSSL's test server, which serves files.
struct TlsServer {
    _daemon: Daemon,
    directory: tempfile::TempDir,
    host: String,
}

impl TlsServer {
    fn start(openssl: &Tool) -> Self {
        let certificate = Certificate::new(openssl);
        let root = certificate.directory.path();
        fs::write(root.join("file"), "over tls").unwrap();
        fs::create_dir_all(root.join("v2/a/tags")).unwrap();
        fs::write(root.join("v2/a/tags/list?n=1000"), r#"{"tags":["one"]}"#).unwrap();
        for _ in 0..10 {
            let host = nobody();
            let mut daemon = Daemon::spawn(
                openssl
                    .command()
                    .current_dir(root)
                    .args("s_server -WWW -quiet -cert cert.pem -key key.pem -accept".split(' '))
                    .arg(&host)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null()),
                Duration::from_secs(5),
            )
            .unwrap();
            while daemon.is_running() {
                if std::net::TcpStream::connect(&host).is_ok() {
                    return Self {
                        _daemon: daemon,
                        directory: certificate.directory,
                        host,
                    };
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        panic!("openssl s_server does not start");
    }
}

/// OCI-016.
#[test]
fn certificates_decide_who_is_trusted() {
    let openssl = need!(Tool::find("openssl"));
    let server = TlsServer::start(&openssl);
    let stranger = TlsServer::start(&openssl);
    let client = |certificates: Option<&Path>| {
        let directories = tempfile::tempdir().unwrap();
        if let Some(certificate) = certificates {
            let directory = directories.path().join(&server.host);
            fs::create_dir(&directory).unwrap();
            fs::copy(certificate, directory.join("ca.crt")).unwrap();
        }
        let client = Client::new(ClientOptions {
            certificate_directories: vec![directories.path().to_owned()],
            ..options()
        });
        (client, directories)
    };
    let image = name(&format!("{}/a", server.host));
    let own = server.directory.path().join("cert.pem");
    let other = stranger.directory.path().join("cert.pem");

    // On loopback plain HTTP is tried first, and then any certificate will do.
    let (loopback, _directory) = client(None);
    assert_eq!(loopback.list_tags(&image).unwrap(), ["one"]);
    let (trusting, _directory) = client(Some(&own));
    assert_eq!(trusting.list_tags(&image).unwrap(), ["one"]);
    // Certificates for a host make it no longer a matter of trust.
    let (careful, _directory) = client(Some(&other));
    let error = careful.list_tags(&image).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Tls, "{error}");
    let words = error.to_string();
    assert!(words.contains("certificate"), "{words}");

    let url = format!("https://{}/file", server.host);
    let error = careful.fetch(&url, &FetchOptions::default()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Tls, "{error}");
    trusting.fetch(&url, &FetchOptions::default()).unwrap();
}

#[test]
fn unusable_certificates_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("127.0.0.1:1");
    fs::create_dir(&host).unwrap();
    fs::write(
        host.join("ca.crt"),
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let client = Client::new(ClientOptions {
        certificate_directories: vec![directory.path().to_owned()],
        ..options()
    });
    let error = client.list_tags(&name("127.0.0.1:1/a")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Configuration, "{error}");
    assert!(error.to_string().contains("ca.crt"), "{error}");
}
