//! Proving who the user is.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kiln_registry::{
    Client, ClientOptions, Credential, CredentialError, Credentials, ErrorClass, HelperError,
    Notice, Secret, Stored,
};

use crate::sample::{image, options};
use crate::script::{Reply, Request, Server};

/// Returns a client with this `config.json` inline.
fn client_with(auths: &str) -> Client {
    Client::new(ClientOptions {
        credentials: Credentials {
            inline: Some(Secret::new(format!(r#"{{"auths":{{{auths}}}}}"#))),
            ..Credentials::default()
        },
        ..options()
    })
}

/// A registry that wants `Bearer good`, and its token server, in one.
///
/// `token` answers requests for `/token`. Every manifest exists.
fn token_registry(token: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    let host = Arc::new(Mutex::new(String::new()));
    let named = Arc::clone(&host);
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            return token(request);
        }
        match request.header("authorization") {
            Some("Bearer good") => tags(),
            _ => Reply::new(401).header(
                "WWW-Authenticate",
                format!(
                    r#"Bearer realm="http://{}/token",service="test, service",scope="repository:a/b:pull""#,
                    named.lock().unwrap()
                ),
            ),
        }
    });
    *host.lock().unwrap() = server.host();
    server
}

fn tags() -> Reply {
    Reply::ok(r#"{"name":"a/b","tags":["one"]}"#)
}

fn good() -> Reply {
    Reply::ok(r#"{"token":"good","expires_in":300}"#)
}

/// OCI-007.
#[test]
fn without_credentials_an_anonymous_token_is_fetched_once() {
    let server = token_registry(|_| Reply::ok(r#"{"access_token":"good"}"#));
    let client = client_with("");
    for _ in 0..2 {
        assert_eq!(client.list_tags(&server.image("a/b")).unwrap(), ["one"]);
    }
    assert_eq!(
        server.lines(),
        [
            "GET /v2/a/b/tags/list?n=1000",
            "GET /token?service=test%2C+service&scope=repository%3Aa%2Fb%3Apull",
            "GET /v2/a/b/tags/list?n=1000",
            "GET /v2/a/b/tags/list?n=1000",
        ]
    );
    assert_eq!(server.requests()[1].header("authorization"), None);
}

/// Some servers write numbers as texts.
#[test]
fn a_tokens_lifetime_may_be_written_in_many_ways() {
    for lifetime in [r#""300""#, "300.5", "300", "null", r#""soon""#, "-1"] {
        let answer = format!(r#"{{"token":"good","expires_in":{lifetime}}}"#);
        let server = token_registry(move |_| Reply::ok(answer.clone()));
        let client = client_with("");
        for _ in 0..2 {
            let tags = client.list_tags(&server.image("a/b")).unwrap();
            assert_eq!(tags, ["one"], "{lifetime}");
        }
        let tokens = server.lines();
        let tokens = tokens.iter().filter(|line| line.starts_with("GET /token"));
        assert_eq!(tokens.count(), 1, "{lifetime}");
    }
}

/// OCI-008.
#[test]
fn a_token_server_without_post_is_asked_by_get() {
    for status in [401, 404, 405] {
        let server = token_registry(move |request| match request.method.as_str() {
            "POST" => Reply::new(status),
            _ => match request.header("authorization") {
                // base64 of `ann:p:w`
                Some("Basic YW5uOnA6dw==") => good(),
                _ => Reply::new(403),
            },
        });
        let client = client_with(&format!(r#""{}":{{"auth":"YW5uOnA6dw=="}}"#, server.host()));
        assert_eq!(client.list_tags(&server.image("a/b")).unwrap(), ["one"]);
        let requests = server.requests();
        assert_eq!(requests[1].line(), "POST /token");
        let form = requests[1].body_text();
        for pair in [
            "grant_type=password",
            "username=ann",
            "password=p%3Aw",
            "service=test%2C+service",
            "scope=repository%3Aa%2Fb%3Apull",
            "client_id=kiln",
        ] {
            assert!(
                form.split('&').any(|found| found == pair),
                "{pair} in {form}"
            );
        }
        assert!(
            requests[2].path.contains("account=ann"),
            "{}",
            requests[2].path
        );
    }
}

/// OCI-009.
#[test]
fn an_identity_token_is_exchanged_and_never_shown_otherwise() {
    for accepted in [true, false] {
        let server = token_registry(move |request| {
            if accepted && request.body_text().contains("refresh_token=id%2Ftoken") {
                good()
            } else {
                Reply::new(401).body(r#"{"details":"token revoked"}"#)
            }
        });
        let auths = format!(r#""{}":{{"identitytoken":"id/token"}}"#, server.host());
        let outcome = client_with(&auths).list_tags(&server.image("a/b"));
        if accepted {
            assert_eq!(outcome.unwrap(), ["one"]);
        } else {
            let error = outcome.unwrap_err();
            assert_eq!(error.class(), ErrorClass::Unauthorized);
            assert!(error.to_string().contains("token revoked"), "{error}");
        }
        let lines = server.lines();
        assert_eq!(lines[1], "POST /token");
        assert!(!lines.iter().any(|line| line.starts_with("GET /token")));
        let grant = server.requests()[1].body_text().to_owned();
        assert!(grant.contains("grant_type=refresh_token"), "{grant}");
    }
}

#[test]
fn a_registry_token_is_sent_as_it_is() {
    let server = token_registry(|_| Reply::new(500));
    let auths = format!(r#""{}":{{"registrytoken":"good"}}"#, server.host());
    let tags = client_with(&auths).list_tags(&server.image("a/b")).unwrap();
    assert_eq!(tags, ["one"]);
    assert_eq!(server.lines().len(), 2);
}

#[test]
fn too_small_a_token_is_replaced_once_by_a_larger_one() {
    for satisfied in [true, false] {
        let host = Arc::new(Mutex::new(String::new()));
        let named = Arc::clone(&host);
        let server = Server::start(move |request| {
            if request.path.starts_with("/token") {
                let large = request.path.contains("repository%3Asecret%3Apull");
                let token = if large { "large" } else { "small" };
                return Reply::ok(format!(r#"{{"token":"{token}"}}"#));
            }
            match request.header("authorization") {
                Some("Bearer large") if satisfied => tags(),
                shown => {
                    let more = match shown {
                        None => "",
                        Some(_) => r#",error="insufficient_scope",scope="repository:secret:pull""#,
                    };
                    Reply::new(401).header(
                        "WWW-Authenticate",
                        format!(
                            r#"Bearer realm="http://{}/token"{more}"#,
                            named.lock().unwrap()
                        ),
                    )
                }
            }
        });
        *host.lock().unwrap() = server.host();
        let outcome = client_with("").list_tags(&server.image("a/b"));
        let lines = server.lines();
        let tokens: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("/token"))
            .collect();
        if satisfied {
            assert_eq!(outcome.unwrap(), ["one"]);
            assert_eq!(
                tokens,
                [
                    "GET /token?scope=repository%3Aa%2Fb%3Apull",
                    "GET /token?scope=repository%3Aa%2Fb%3Apull&scope=repository%3Asecret%3Apull"
                ]
            );
        } else {
            assert_eq!(outcome.unwrap_err().class(), ErrorClass::Unauthorized);
            assert!(lines.len() < 10, "{lines:?}");
        }
    }
}

#[test]
fn a_token_that_is_no_longer_accepted_is_replaced() {
    let generation = Arc::new(AtomicUsize::new(1));
    let current = Arc::clone(&generation);
    let host = Arc::new(Mutex::new(String::new()));
    let named = Arc::clone(&host);
    let server = Server::start(move |request| {
        let good = format!("token{}", current.load(Ordering::SeqCst));
        if request.path.starts_with("/token") {
            return Reply::ok(format!(r#"{{"token":"{good}"}}"#));
        }
        match request.header("authorization") {
            Some(shown) if shown == format!("Bearer {good}") => tags(),
            _ => Reply::new(401).header(
                "WWW-Authenticate",
                format!(r#"Bearer realm="http://{}/token""#, named.lock().unwrap()),
            ),
        }
    });
    *host.lock().unwrap() = server.host();
    let client = client_with("");
    client.list_tags(&server.image("a/b")).unwrap();
    generation.store(2, Ordering::SeqCst);
    client.list_tags(&server.image("a/b")).unwrap();
    let fetched = server.lines();
    let fetched = fetched
        .iter()
        .filter(|line| line.contains("/token"))
        .count();
    assert_eq!(fetched, 2);
}

/// One token serves a push and the repository that blobs are mounted from.
#[test]
fn a_push_asks_for_everything_at_once() {
    let server = token_registry(|_| Reply::new(403).body("no pushing here"));
    let mut pushed = image("amd64", &[b"layer".to_vec()], "v1");
    pushed.blobs[0].mount_from = Some(server.image("base").into());
    let error = client_with("")
        .push(&server.image("a/b"), &pushed, &|_| {})
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unauthorized);
    assert!(error.to_string().contains("no pushing here"), "{error}");
    assert_eq!(
        server.lines()[1],
        "GET /token?service=test%2C+service&scope=repository%3Aa%2Fb%3Apull%2Cpush\
         &scope=repository%3Abase%3Apull"
    );
}

#[test]
fn passwords_do_not_travel_in_the_clear_on_a_registrys_word() {
    // 192.0.2.0/24 is nobody's (RFC 5737), so a connection would not even be refused.
    let server = Server::start(|_| {
        Reply::new(401).header(
            "WWW-Authenticate",
            r#"Bearer realm="http://192.0.2.1/token""#,
        )
    });
    let auths = format!(r#""{}":{{"auth":"YW5uOnA6dw=="}}"#, server.host());
    let error = client_with(&auths)
        .list_tags(&server.image("a/b"))
        .unwrap_err();
    assert!(error.to_string().contains("plain HTTP"), "{error}");
}

/// OCI-010.
#[test]
fn authorization_stays_behind_when_a_redirect_leaves_the_host() {
    let storage = Server::start(|request| match request.path.as_str() {
        "/stored?signature=s3cret" => Reply::ok("content"),
        _ => Reply::new(404),
    });
    let elsewhere = storage.url("/stored?signature=s3cret");
    let registry = Server::start(move |request| {
        match (request.header("authorization"), request.path.as_str()) {
            (None, _) => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
            (Some("Basic YW5uOnA6dw=="), "/same") => {
                Reply::new(302).header("Location", elsewhere.clone())
            }
            (Some("Basic YW5uOnA6dw=="), _) => Reply::new(307).header("Location", "/same"),
            _ => Reply::new(403),
        }
    });
    let client = client_with(&format!(
        r#""{}":{{"auth":"YW5uOnA6dw=="}}"#,
        registry.host()
    ));
    let content = crate::sample::blob("x", b"content".to_vec()).descriptor;
    let mut reader = client.open_blob(&registry.image("a"), &content).unwrap();
    let read = std::io::read_to_string(&mut reader).unwrap();
    assert_eq!(read, "content");
    assert_eq!(storage.requests()[0].header("authorization"), None);
    assert_eq!(registry.lines().last().unwrap(), "GET /same");
}

#[test]
fn signatures_in_urls_are_not_shown() {
    let storage = Server::start(|_| Reply::ok("").header("Content-Length", "7").cut_after(0));
    let elsewhere = storage.url("/stored?signature=s3cret");
    let registry = Server::start(move |_| Reply::new(307).header("Location", elsewhere.clone()));
    let content = crate::sample::blob("x", b"content".to_vec()).descriptor;
    let mut reader = client_with("")
        .open_blob(&registry.image("a"), &content)
        .unwrap();
    let error = std::io::read_to_string(&mut reader).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("/stored"), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn secrets_do_not_show_when_printed() {
    let client = client_with(r#""h":{"auth":"YW5uOnA6dw==","identitytoken":"s3cret"}"#);
    let found = client.credentials().lookup("h", "").unwrap();
    let shown = format!("{client:?} {:?} {found:?}", client.credentials());
    assert!(
        !shown.contains("s3cret") && !shown.contains("YW5u"),
        "{shown}"
    );
    assert!(shown.contains("[hidden]"));
}

/// Writes a helper that logs its calls and answers `get` for the servers it knows.
fn write_helper(directory: &Path, helper: &str, username: &str, knows: &str) {
    let script = format!(
        r#"#!/bin/sh
read input
echo "{helper} $1 $input" >> {log}
case "$1 $input" in
"get {knows}") printf '{{"ServerURL":"%s","Username":"{username}","Secret":"pw"}}' "$input" ;;
"get broken.io") echo 'the vault is locked'; exit 1 ;;
get*) echo 'credentials not found in native keychain'; exit 1 ;;
list*) echo '{{"{knows}":"{username}"}}' ;;
esac
"#,
        log = directory.join("log").display()
    );
    // Written by another process: a program that anybody here holds open for writing, if only in a
    // child between fork and exec, cannot be run.
    let mut shell = Command::new("sh")
        .args(["-c", r#"cat > "$0" && chmod 755 "$0""#])
        .arg(directory.join(format!("docker-credential-{helper}")))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    assert!(shell.wait().unwrap().success());
}

/// OCI-017.
#[test]
fn helpers_come_before_the_store_and_the_store_before_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write_helper(root, "own", "from-own", "own.io");
    write_helper(root, "all", "<token>", "https://index.docker.io/v1/");
    let config = |store: &str| {
        let text = format!(
            r#"{{"auths":{{"own.io":{{"auth":"eDp5"}},"docker.io":{{"auth":"eDp5"}},
                "file.io":{{"auth":"eDp5"}}}},
                {store}"credHelpers":{{"own.io":"own","gone.io":"not-installed-anywhere"}}}}"#
        );
        fs::write(root.join("config.json"), text).unwrap();
    };
    let credentials = Credentials {
        docker_directory: Some(root.to_owned()),
        search_path: Some(root.into()),
        ..Credentials::default()
    };
    let password = |username: &str, password: &str| {
        Some(Credential::Password {
            username: username.to_owned(),
            password: Secret::new(password),
        })
    };
    let lookup = |domain: &str| credentials.lookup(domain, "x").unwrap();

    config("");
    assert_eq!(lookup("own.io"), password("from-own", "pw"));
    assert_eq!(lookup("docker.io"), password("x", "y"));
    config(r#""credsStore":"all","#);
    assert_eq!(lookup("own.io"), password("from-own", "pw"));
    assert_eq!(
        lookup("docker.io"),
        Some(Credential::Identity(Secret::new("pw")))
    );
    assert_eq!(lookup("file.io"), None);
    assert!(matches!(
        credentials.lookup("gone.io", "x"),
        Err(CredentialError::Helper(HelperError::Missing(program)))
            if program == "docker-credential-not-installed-anywhere"
    ));
    assert!(matches!(
        credentials.lookup("broken.io", "x"),
        Err(CredentialError::Helper(HelperError::Failed { message, .. }))
            if message == "the vault is locked"
    ));

    let stored = credentials
        .store("own.io", "me", &Secret::new("pw"))
        .unwrap();
    assert_eq!(stored, Stored::Helper("own".to_owned()));
    assert!(credentials.erase("own.io").unwrap());
    let log = fs::read_to_string(root.join("log")).unwrap();
    assert!(
        log.contains(r#"own store {"ServerURL":"own.io","Username":"me","Secret":"pw"}"#),
        "{log}"
    );
    assert!(log.contains("own erase own.io"), "{log}");
}

#[test]
fn all_accounts_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    write_helper(directory.path(), "all", "keeper", "kept.io");
    fs::write(
        directory.path().join("config.json"),
        r#"{"credsStore":"all","auths":{"file.io":{"auth":"eDp5"},"kept.io":{}}}"#,
    )
    .unwrap();
    let credentials = Credentials {
        docker_directory: Some(directory.path().to_owned()),
        search_path: Some(directory.path().into()),
        ..Credentials::default()
    };
    let accounts: Vec<_> = credentials.list().unwrap().into_iter().collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(accounts, [pair("file.io", "x"), pair("kept.io", "keeper")]);
}

/// A pull goes on without what a helper keeps, and says so.
#[test]
fn a_missing_helper_is_a_warning_for_a_pull() {
    let directory = tempfile::tempdir().unwrap();
    let server = token_registry(|_| good());
    fs::write(
        directory.path().join("config.json"),
        r#"{"credsStore":"not-installed-anywhere"}"#,
    )
    .unwrap();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&notices);
    let client = Client::new(ClientOptions {
        credentials: Credentials {
            docker_directory: Some(directory.path().to_owned()),
            ..Credentials::default()
        },
        notice: Arc::new(move |notice| told.lock().unwrap().push(notice)),
        ..options()
    });
    assert_eq!(client.list_tags(&server.image("a/b")).unwrap(), ["one"]);
    let notices = notices.lock().unwrap();
    assert!(
        matches!(&notices[..], [Notice::NoCredentials { reason, .. }]
            if reason.contains("not-installed-anywhere")),
        "{notices:?}"
    );
}

#[test]
fn auth_json_may_have_keys_for_namespaces() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    fs::write(&path, r#"{"auths":{"q.io/team":{"auth":"eDp5"}}}"#).unwrap();
    let credentials = Credentials {
        auth_files: vec![directory.path().join("absent.json"), path],
        ..Credentials::default()
    };
    assert!(credentials.lookup("q.io", "team/app").unwrap().is_some());
    assert!(credentials.lookup("q.io", "other/app").unwrap().is_none());
}

/// Only a token server that refuses the credential says that it is wrong.
#[test]
fn a_token_server_in_trouble_says_nothing_about_a_password() {
    for (status, class) in [
        (401, ErrorClass::Unauthorized),
        (404, ErrorClass::NotFound),
        (501, ErrorClass::Server),
    ] {
        let server = token_registry(move |_| Reply::new(status));
        let credential = Credential::Password {
            username: "ann".to_owned(),
            password: Secret::new("pw"),
        };
        let error = client_with("")
            .verify(&server.host(), &credential)
            .unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        let says = error.to_string().contains("incorrect username or password");
        assert_eq!(says, status == 401, "{error}");
    }
}

#[test]
fn login_by_token_server_verifies_before_it_stores() {
    let home = tempfile::tempdir().unwrap();
    let server = token_registry(|request| match request.body_text() {
        form if form.contains("password=right") => good(),
        _ => Reply::new(401).body(r#"{"details":"nope"}"#),
    });
    let client = Client::new(ClientOptions {
        credentials: Credentials {
            docker_directory: Some(home.path().join("new")),
            ..Credentials::default()
        },
        ..options()
    });
    let login = |password| client.login(&server.url("/v2/"), "ann", &Secret::new(password));
    let error = login("wrong").unwrap_err();
    assert_eq!(
        error.to_string(),
        "unauthorized: incorrect username or password"
    );
    assert!(!home.path().join("new").exists());
    login("right").unwrap();
    let found = client.credentials().lookup(&server.host(), "").unwrap();
    assert!(found.is_some());
    assert_eq!(client.list_tags(&server.image("a/b")).unwrap(), ["one"]);
    // The name of a repository is no part of a login.
    assert_eq!(server.lines()[0], "GET /v2/");
}
