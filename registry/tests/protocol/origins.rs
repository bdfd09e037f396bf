//! What may be sent where: nothing that is ours or the person's follows a stranger's word.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_registry::{Client, ClientOptions, Credentials, ErrorClass, RegistriesConf, Secret};
use kiln_testbed::{Tool, need};

use crate::sample::{TestStore, blob, bytes, image, name, options, platform};
use crate::script::{Certificate, Reply, Request, Server};

/// What must not be seen by anybody else: base64 of `ann:pass`.
const AUTH: &str = "YW5uOnBhc3M=";

/// Returns options with a password for these registries.
fn knowing(registries: &[&str]) -> ClientOptions {
    let known: Vec<String> = registries
        .iter()
        .map(|registry| format!(r#""{registry}":{{"auth":"{AUTH}"}}"#))
        .collect();
    ClientOptions {
        credentials: Credentials {
            inline: Some(Secret::new(format!(
                r#"{{"auths":{{{}}}}}"#,
                known.join(",")
            ))),
            ..Credentials::default()
        },
        ..options()
    }
}

/// Panics if the server saw anything of a password or of a token.
fn assert_learned_nothing(server: &Server) {
    for request in server.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
        let seen = format!(
            "{} {}",
            request.path,
            String::from_utf8_lossy(&request.body)
        );
        assert!(!seen.contains("pass"), "{seen}");
    }
}

/// A server that needs to know its own address or another's, which is told later.
fn telling(handler: impl Fn(&Request, &str) -> Reply + Send + Sync + 'static) -> Told {
    let word = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&word);
    Told {
        server: Server::start(move |request| handler(request, &heard.lock().unwrap())),
        word,
    }
}

struct Told {
    server: Server,
    word: Arc<Mutex<String>>,
}

impl Told {
    fn tell(&self, word: String) {
        *self.word.lock().unwrap() = word;
    }
}

fn tags() -> Reply {
    Reply::ok(r#"{"tags":["one"]}"#)
}

fn bearer(realm: &str) -> Reply {
    Reply::new(401).header("WWW-Authenticate", format!(r#"Bearer realm="{realm}""#))
}

#[test]
fn a_password_form_is_not_posted_to_where_a_redirect_leads() {
    for status in [307, 308] {
        let thief = Server::start_elsewhere(|_| Reply::ok(r#"{"token":"stolen"}"#));
        let elsewhere = thief.url("/token");
        let registry = telling(move |request, own| match request.path.as_str() {
            "/token" => Reply::new(status).header("Location", elsewhere.clone()),
            _ => bearer(&format!("{own}/token")),
        });
        registry.tell(registry.server.url(""));
        let client = Client::new(knowing(&[&registry.server.host()]));
        let error = client.list_tags(&registry.server.image("a")).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Server, "{error}");
        assert!(error.to_string().contains("another server"), "{error}");
        assert!(thief.lines().is_empty(), "{:?}", thief.lines());
    }
}

/// A form may be moved within its own server.
#[test]
fn a_password_form_is_posted_again_to_the_same_origin() {
    let registry =
        telling(
            |request, own| match (request.path.as_str(), request.header("authorization")) {
                ("/token", _) => Reply::new(307).header("Location", "/token/"),
                ("/token/", _) if request.body_text().contains("password=pass") => {
                    Reply::ok(r#"{"token":"good"}"#)
                }
                (_, Some("Bearer good")) => tags(),
                _ => bearer(&format!("{own}/token")),
            },
        );
    registry.tell(registry.server.url(""));
    let client = Client::new(knowing(&[&registry.server.host()]));
    let tags = client.list_tags(&registry.server.image("a")).unwrap();
    assert_eq!(tags, ["one"]);
}

#[test]
fn a_password_form_does_not_leave_tls() {
    let openssl = need!(Tool::find("openssl"));
    let certificate = Certificate::new(&openssl);
    let plain = Server::start(|_| Reply::ok(r#"{"token":"stolen"}"#));
    let elsewhere = plain.url("/token");
    let realm = Server::start_tls(&certificate, move |_| {
        Reply::new(307).header("Location", elsewhere.clone())
    });
    let challenge = realm.url("/token");
    let registry = Server::start(move |_| bearer(&challenge));
    let client = Client::new(ClientOptions {
        extra_authorities: vec![certificate.directory.path().join("cert.pem")],
        ..knowing(&[&registry.host()])
    });
    client.list_tags(&registry.image("a")).unwrap_err();
    assert!(realm.requests()[0].body_text().contains("password=pass"));
    assert!(plain.lines().is_empty(), "{:?}", plain.lines());
}

/// The token of a GET is asked for without the password where a redirect leads.
#[test]
fn basic_credentials_for_a_token_stay_with_their_server() {
    let thief = Server::start_elsewhere(|_| Reply::ok(r#"{"token":"poor"}"#));
    let elsewhere = thief.url("/token");
    let registry =
        telling(
            move |request, own| match (request.method.as_str(), request.path.as_str()) {
                ("POST", _) => Reply::new(404),
                (_, path) if path.starts_with("/token") => {
                    Reply::new(302).header("Location", elsewhere.clone())
                }
                _ => bearer(&format!("{own}/token")),
            },
        );
    registry.tell(registry.server.url(""));
    let client = Client::new(knowing(&[&registry.server.host()]));
    client.list_tags(&registry.server.image("a")).unwrap_err();
    assert_eq!(thief.lines(), ["GET /token"]);
    assert_learned_nothing(&thief);
}

/// An upload's host demands something: with its own token server, and with Basic.
#[test]
fn challenge_of_an_upload_host_is_not_met() {
    for demand in ["Bearer", "Basic"] {
        let thief = telling(move |request, own| match request.path.as_str() {
            "/token" => Reply::ok(r#"{"token":"stolen"}"#),
            _ if demand == "Basic" => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
            _ => bearer(&format!("{own}/token")),
        });
        thief.tell(thief.server.url(""));
        let upload = thief.server.url("/upload");
        let registry = Server::start(move |request| {
            let shown = request.header("authorization");
            match (shown, request.method.as_str()) {
                (None, _) => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
                (_, "HEAD") => Reply::new(404),
                (_, "POST") => Reply::new(202).header("Location", upload.clone()),
                _ => Reply::new(400),
            }
        });
        let known = [registry.host(), thief.server.host()];
        let client = Client::new(knowing(&[&known[0], &known[1]]));
        let pushed = image("amd64", &[bytes(1, 1000)], "v1");
        let error = client
            .push(&registry.image("a"), &pushed, &|_| {})
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unauthorized, "{error}");
        let lines = thief.server.lines();
        assert!(
            lines.iter().all(|line| line.starts_with("PUT /upload?")),
            "{lines:?}"
        );
        assert!(!lines.is_empty());
        assert_learned_nothing(&thief.server);
    }
}

/// The registry's own upload location is another matter.
#[test]
fn an_upload_at_the_registry_itself_is_authorized() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&taken);
    let registry = telling(move |request, own| {
        match (request.header("authorization"), request.method.as_str()) {
            (None, _) => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
            (_, "HEAD") => Reply::new(404),
            (_, "POST") => Reply::new(202).header("Location", format!("{own}/upload")),
            _ => {
                heard.lock().unwrap().push(request.path.clone());
                Reply::new(201)
            }
        }
    });
    registry.tell(registry.server.url(""));
    let client = Client::new(knowing(&[&registry.server.host()]));
    let pushed = image("amd64", &[bytes(1, 1000)], "v1");
    client
        .push(&registry.server.image("a"), &pushed, &|_| {})
        .unwrap();
    assert_eq!(taken.lock().unwrap().len(), 3);
}

/// What is pushed may be private too.
#[test]
fn uploaded_body_does_not_follow_a_redirect() {
    let thief = Server::start_elsewhere(|_| Reply::new(201));
    let elsewhere = thief.url("/upload");
    let registry = Server::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("Location", "/upload"),
        _ => Reply::new(307).header("Location", elsewhere.clone()),
    });
    let pushed = image("amd64", &[bytes(1, 1000)], "v1");
    let error = Client::new(options())
        .push(&registry.image("a"), &pushed, &|_| {})
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Server, "{error}");
    assert!(thief.lines().is_empty(), "{:?}", thief.lines());
}

/// A registry over TLS, and a client that knows its certificate.
struct Secure {
    registry: Server,
    client: Client,
    _certificates: (Certificate, tempfile::TempDir),
}

fn secure(openssl: &Tool, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Secure {
    let certificate = Certificate::new(openssl);
    let registry = Server::start_tls(&certificate, handler);
    let directories = tempfile::tempdir().unwrap();
    let own = directories.path().join(registry.host());
    std::fs::create_dir(&own).unwrap();
    let file = certificate.directory.path().join("cert.pem");
    std::fs::copy(file, own.join("ca.crt")).unwrap();
    let client = Client::new(ClientOptions {
        certificate_directories: vec![directories.path().to_owned()],
        ..options()
    });
    Secure {
        registry,
        client,
        _certificates: (certificate, directories),
    }
}

/// Whoever sits between may say what a tag means, but not what has a digest.
#[test]
fn only_what_has_a_digest_may_come_in_the_clear() {
    let openssl = need!(Tool::find("openssl"));
    let served = image("amd64", &[], "v1");
    let descriptor = served.manifest.descriptor();
    let content = bytes(2, 1000);
    let layer = blob("x", content.clone()).descriptor;
    let manifest = Reply::ok(served.manifest.bytes.clone())
        .header("Content-Type", descriptor.media_type.clone());
    let plain = Server::start(move |request| {
        if request.path.contains("/blobs/") {
            Reply::ok(content.clone())
        } else {
            manifest.clone()
        }
    });
    let elsewhere = plain.url("");
    let secure = secure(&openssl, move |request| match request.method.as_str() {
        "HEAD" => Reply::new(405),
        _ => Reply::new(307).header("Location", format!("{elsewhere}{}", request.path)),
    });
    let (registry, client) = (&secure.registry, &secure.client);

    let error = client.resolve(&registry.image("a:v1")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Server, "{error}");
    assert!(error.to_string().contains("plain HTTP"), "{error}");
    let error = client.list_tags(&registry.image("a")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Server, "{error}");
    assert!(plain.lines().is_empty(), "{:?}", plain.lines());

    let bytes = client.fetch_manifest(&registry.image("a"), &descriptor);
    assert_eq!(bytes.unwrap(), served.manifest.bytes);
    let by_digest = registry.image("a").with_digest(descriptor.digest);
    assert_eq!(client.resolve(&by_digest).unwrap().descriptor, descriptor);
    let store = TestStore::new();
    client
        .fetch_blob(&registry.image("a"), &layer, &store.blobs, &|_| {})
        .unwrap();
    assert!(store.blobs.contains(layer.digest));
}

#[test]
fn an_upload_does_not_leave_tls() {
    let openssl = need!(Tool::find("openssl"));
    let plain = Server::start(|_| Reply::new(201));
    let upload = plain.url("/upload");
    let secure = secure(&openssl, move |request| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::new(202).header("Location", upload.clone()),
    });
    let pushed = image("amd64", &[bytes(1, 1000)], "v1");
    let error = secure
        .client
        .push(&secure.registry.image("a"), &pushed, &|_| {})
        .unwrap_err();
    assert!(error.to_string().contains("plain HTTP"), "{error}");
    assert!(plain.lines().is_empty(), "{:?}", plain.lines());
}

/// Docker Hub's is at auth.docker.io: a realm elsewhere is how it is meant to be.
#[test]
fn a_token_server_elsewhere_sees_the_registrys_password() {
    let realm = Server::start_elsewhere(|request| match request.body_text() {
        form if form.contains("password=pass") => Reply::ok(r#"{"token":"good"}"#),
        _ => Reply::new(403),
    });
    let challenge = realm.url("/token");
    let registry = Server::start(move |request| match request.header("authorization") {
        Some("Bearer good") => tags(),
        _ => bearer(&challenge),
    });
    let client = Client::new(knowing(&[&registry.host()]));
    assert_eq!(client.list_tags(&registry.image("a")).unwrap(), ["one"]);
}

#[test]
fn a_mirror_is_shown_its_own_password_and_no_other() {
    let demanding = || {
        Server::start_elsewhere(|request| match request.header("authorization") {
            Some("Basic bTpt") => Reply::new(404),
            _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
        })
    };
    let (own, none) = (demanding(), demanding());
    let registry = Server::start(|_| Reply::new(404));
    let mut registries = RegistriesConf::default();
    let conf = format!(
        "[[registry]]\nprefix = 'q.io'\nlocation = '{}'\n\
         [[registry.mirror]]\nlocation = '{}'\n[[registry.mirror]]\nlocation = '{}'\n",
        registry.host(),
        own.host(),
        none.host()
    );
    registries
        .merge(&conf, Path::new("registries.conf"))
        .unwrap();
    let auths = format!(
        r#"{{"auths":{{"q.io":{{"auth":"{AUTH}"}},"{}":{{"auth":"{AUTH}"}},"{}":{{"auth":"bTpt"}}}}}}"#,
        registry.host(),
        own.host()
    );
    let client = Client::new(ClientOptions {
        registries,
        credentials: Credentials {
            inline: Some(Secret::new(auths)),
            ..Credentials::default()
        },
        ..options()
    });
    let store = TestStore::new();
    let wanted = platform("linux/amd64");
    client
        .pull(&name("q.io/a:v1"), &wanted, &store.blobs, &|_| {})
        .unwrap_err();
    assert_learned_nothing(&none);
    let shown: Vec<_> = own
        .requests()
        .iter()
        .filter_map(|request| request.header("authorization").map(str::to_owned))
        .collect();
    assert!(!shown.is_empty());
    assert!(shown.iter().all(|value| value == "Basic bTpt"), "{shown:?}");
}

/// The next page of a list is at another host, which is asked without a password.
#[test]
fn pages_elsewhere_are_asked_for_without_a_password() {
    let other =
        Server::start_elsewhere(|_| Reply::new(401).header("WWW-Authenticate", "Basic realm=x"));
    let next = format!("<{}>; rel=\"next\"", other.url("/v2/a/tags/list?last=1"));
    let registry = Server::start(move |request| match request.header("authorization") {
        None => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
        Some(_) => tags().header("Link", next.clone()),
    });
    let client = Client::new(knowing(&[&registry.host(), &other.host()]));
    client.list_tags(&registry.image("a")).unwrap_err();
    assert_eq!(other.lines().len(), 1);
    assert_learned_nothing(&other);
}

/// Whose credentials a mount is asked for with: the target's, at the registry of both.
#[test]
fn a_mount_is_asked_for_with_the_targets_password() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Server::start(|request| match request.header("authorization") {
        None => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
        Some(_) if request.method == "HEAD" => Reply::new(404),
        Some(_) => Reply::new(201),
    });
    let path = directory.path().join("auth.json");
    let text = format!(
        r#"{{"auths":{{"{0}/target":{{"auth":"dDp0"}},"{0}/source":{{"auth":"{AUTH}"}}}}}}"#,
        registry.host()
    );
    std::fs::write(&path, text).unwrap();
    let client = Client::new(ClientOptions {
        credentials: Credentials {
            auth_files: vec![path],
            ..Credentials::default()
        },
        ..options()
    });
    let mut pushed = image("amd64", &[bytes(1, 1000)], "v1");
    for blob in &mut pushed.blobs {
        blob.mount_from = Some(registry.image("source/x").into());
    }
    client
        .push(&registry.image("target/x"), &pushed, &|_| {})
        .unwrap();
    let requests = registry.requests();
    assert!(
        requests
            .iter()
            .any(|request| request.path.contains("mount="))
    );
    for request in requests {
        let shown = request.header("authorization");
        assert!(matches!(shown, None | Some("Basic dDp0")), "{request:?}");
    }
}

/// A person's own token for a download stays with the scheme too.
#[test]
fn a_downloads_authorization_does_not_leave_tls() {
    let openssl = need!(Tool::find("openssl"));
    let certificate = Certificate::new(&openssl);
    let plain = Server::start(|_| Reply::ok("content"));
    let elsewhere = plain.url("/x");
    let secure = Server::start_tls(&certificate, move |_| {
        Reply::new(302).header("Location", elsewhere.clone())
    });
    let client = Client::new(ClientOptions {
        extra_authorities: vec![certificate.directory.path().join("cert.pem")],
        idle_timeout: Duration::from_secs(10),
        ..options()
    });
    let fetch = kiln_registry::FetchOptions {
        authorization: Some(Secret::new("Bearer pass")),
        ..kiln_registry::FetchOptions::default()
    };
    client.fetch(&secure.url("/x"), &fetch).unwrap();
    assert_eq!(
        secure.requests()[0].header("authorization"),
        Some("Bearer pass")
    );
    assert_learned_nothing(&plain);
}
