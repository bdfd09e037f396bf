//! ADD of what is behind a URL.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_testbed::{Ended, Kiln, Web, WebAnswer, WebRequest, need};

use crate::program;

const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
const DATE_SECONDS: i64 = 1_445_412_480;

/// SHA-256 of `content`.
const DIGEST: &str = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";

fn file(request: &WebRequest) -> WebAnswer {
    let answer = WebAnswer::new(200, "content")
        .with("etag", "\"1\"")
        .with("last-modified", DATE);
    match (request.path.as_str(), request.headers.get("if-none-match")) {
        ("/moved/x", _) => WebAnswer::new(302, "").with("location", "/dir/file.txt?q=1"),
        ("/dir/file.txt", Some(tag)) if tag == "\"1\"" => WebAnswer::new(304, ""),
        ("/dir/file.txt", _) => answer,
        ("/plain/", _) => WebAnswer::new(200, "no date"),
        ("/private", _) => match request.headers.get("authorization").map(String::as_str) {
            Some("Bearer hunter2") => answer,
            Some(_) => WebAnswer::new(403, ""),
            None => WebAnswer::new(401, ""),
        },
        ("/cut", _) => WebAnswer::new(200, "half").with("content-length", "8"),
        _ => WebAnswer::new(404, "nothing here"),
    }
}

/// Builds from scratch and returns the result's files in `out`.
fn build(kiln: &Kiln, instructions: &str, flags: &[&str]) -> Ended {
    kiln.dockerfile(&format!("FROM scratch\n{instructions}\n"));
    let _ = fs::remove_dir_all(kiln.scratch.join("out"));
    let arguments = [&["build", "-o", "out"], flags, &["ctx"]].concat();
    kiln.run(&arguments)
}

fn read(kiln: &Kiln, path: &str) -> String {
    fs::read_to_string(kiln.scratch.join("out").join(path)).unwrap()
}

#[test]
fn df_146_files_have_the_server_s_time_and_the_url_s_name() {
    let kiln = need!(Kiln::for_builds(program()));
    let web = Web::start(file);
    let (moved, plain) = (web.url("/moved/x"), web.url("/plain/"));
    let add = format!(
        "ADD {} /d/\nADD {moved} /d/\nADD {plain} /d/\nADD {plain} /named",
        web.url("/dir/file.txt?a=b")
    );
    let ended = build(&kiln, &add, &[]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(read(&kiln, "d/file.txt"), "content");
    let metadata = fs::metadata(kiln.scratch.join("out/d/file.txt")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_eq!(metadata.mtime(), DATE_SECONDS);
    // The name is that of the URL that was written.
    assert_eq!(read(&kiln, "d/x"), "content");
    assert_eq!(read(&kiln, "d/plain"), "no date");
    assert_eq!(read(&kiln, "named"), "no date");
    let metadata = fs::metadata(kiln.scratch.join("out/named")).unwrap();
    assert_eq!(metadata.mtime(), 0);
}

#[test]
fn unchanged_downloads_are_not_sent_again() {
    let kiln = need!(Kiln::for_builds(program()));
    let web = Web::start(file);
    let add = format!("ADD {} /", web.url("/dir/file.txt"));
    assert_eq!(build(&kiln, &add, &[]).code, 0);
    let first = web.requests();
    assert_eq!(first.len(), 1, "{first:#?}");
    assert!(!first[0].headers.contains_key("if-none-match"));
    let again = build(&kiln, &add, &["--no-cache"]);
    assert_eq!(again.code, 0, "{again:#?}");
    assert_eq!(read(&kiln, "file.txt"), "content");
    let second = web.requests();
    assert_eq!(second.len(), 1, "{second:#?}");
    assert_eq!(second[0].headers["if-none-match"], "\"1\"");
}

#[test]
fn changed_downloads_are_noticed() {
    let kiln = need!(Kiln::for_builds(program()));
    let version = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&version);
    // A server that says nothing about versions.
    let web = Web::start(move |_| WebAnswer::new(200, now.load(Ordering::SeqCst).to_string()));
    let add = format!("ADD {} /v", web.url("/v"));
    for expected in ["0", "1"] {
        let ended = build(&kiln, &add, &[]);
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert_eq!(read(&kiln, "v"), expected);
        version.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn df_148_checksums_are_held_to() {
    let kiln = need!(Kiln::for_builds(program()));
    let web = Web::start(file);
    let url = web.url("/dir/file.txt");
    let wrong = "0".repeat(64);
    let ended = build(
        &kiln,
        &format!("ADD --checksum=sha256:{wrong} {url} /"),
        &[],
    );
    assert_eq!(ended.code, 1);
    let message = format!("digest mismatch sha256:{DIGEST}: sha256:{wrong}");
    assert!(ended.stderr.contains(&message), "{ended:#?}");
    web.requests();
    let add = format!("ADD --checksum=sha256:{DIGEST} {url} /");
    let ended = build(&kiln, &add, &[]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(web.requests().len(), 1);
    let metadata = fs::metadata(kiln.scratch.join("out/file.txt")).unwrap();
    assert_eq!(metadata.mtime(), DATE_SECONDS);
    // Now it is known, and the server is not needed any more.
    drop(web);
    for flags in [&[][..], &["--no-cache"]] {
        let ended = build(&kiln, &add, flags);
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert_eq!(read(&kiln, "file.txt"), "content");
        let metadata = fs::metadata(kiln.scratch.join("out/file.txt")).unwrap();
        assert_eq!(metadata.mtime(), DATE_SECONDS);
    }
}

#[test]
fn failures_say_what_happened_and_leave_nothing() {
    let kiln = need!(Kiln::for_builds(program()));
    let web = Web::start(file);
    for (path, message) in [
        ("/absent", "invalid response status 404"),
        ("/cut", "end of file before message length reached"),
        (
            "/private",
            "invalid response status 401: give the server a token with --secret \
             id=HTTP_AUTH_TOKEN_127.0.0.1",
        ),
    ] {
        let ended = build(&kiln, &format!("ADD {} /", web.url(path)), &[]);
        assert_ne!(ended.code, 0, "{path}: {ended:#?}");
        assert!(ended.stderr.contains(message), "{path}: {ended:#?}");
    }
    let state = kiln.scratch.join("state");
    assert!(!state.join("downloads").exists());
    assert_eq!(fs::read_dir(state.join("work")).unwrap().count(), 0);
    // A server that is not there at all is not the user's fault.
    let url = web.url("/x");
    drop(web);
    let ended = build(&kiln, &format!("ADD {url} /"), &[]);
    assert_ne!(ended.code, 0, "{ended:#?}");
    assert!(ended.stderr.contains("refused"), "{ended:#?}");
}

#[test]
fn secrets_open_doors_and_are_seen_nowhere() {
    let kiln = need!(Kiln::for_builds(program()));
    let web = Web::start(file);
    let secret = format!(
        "id=HTTP_AUTH_TOKEN_127.0.0.1,src={}",
        kiln.write("token", "hunter2\n").display()
    );
    let add = format!("ADD {} /", web.url("/private"));
    let ended = build(&kiln, &add, &["--secret", &secret]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(read(&kiln, "private"), "content");
    assert!(!format!("{ended:?}").contains("hunter2"));
    let found = kiln_testbed::run_and_read(
        std::process::Command::new("sh")
            .args(["-c", "grep -rl hunter2 \"$0\" || true"])
            .arg(kiln.scratch.join("state")),
    );
    assert_eq!(found, "");
    // What one build may read, the next may not.
    assert_ne!(build(&kiln, &add, &[]).code, 0);
    // Another server gets no token, not even by redirection.
    let other = Web::start(|_| WebAnswer::new(200, "other"));
    let target = other.url("/other");
    let web = Web::start(move |_| WebAnswer::new(307, "").with("location", &target));
    let ended = build(
        &kiln,
        &format!("ADD {} /", web.url("/there")),
        &["--secret", &secret],
    );
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(web.requests()[0].headers.contains_key("authorization"));
    assert!(!other.requests()[0].headers.contains_key("authorization"));
}

#[test]
fn df_147_archives_are_unpacked_if_asked() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("tree/inside/file", "packed");
    let tree = kiln.scratch.join("tree");
    let archive = kiln_testbed::run(std::process::Command::new("tar").args([
        "-cz",
        "-C",
        tree.to_str().unwrap(),
        "inside",
    ]));
    let web = Web::start(move |_| WebAnswer::new(200, archive.stdout.clone()));
    let url = web.url("/a.tar.gz");
    let ended = build(
        &kiln,
        &format!("ADD {url} /kept/\nADD --unpack=true {url} /unpacked/"),
        &[],
    );
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(read(&kiln, "unpacked/inside/file"), "packed");
    assert!(kiln.scratch.join("out/kept/a.tar.gz").is_file());
}

#[test]
fn passwords_and_signatures_in_urls_are_not_written_down() {
    let kiln = need!(Kiln::for_builds(program()));
    let web = Web::start(|request| {
        // user:hunter2
        match request.headers.get("authorization").map(String::as_str) {
            Some("Basic dXNlcjpodW50ZXIy") => WebAnswer::new(200, "content"),
            _ => WebAnswer::new(401, ""),
        }
    });
    let url = format!(
        "http://user:hunter2@{}/file?signature=hunter2",
        web.address()
    );
    let ended = build(&kiln, &format!("ADD {url} /"), &["--progress=rawjson"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(read(&kiln, "file"), "content");
    for place in ["actions", "downloads"] {
        let found = kiln_testbed::run_and_read(
            std::process::Command::new("sh")
                .args(["-c", "grep -rl hunter2 \"$0\" || true"])
                .arg(kiln.scratch.join("state").join(place)),
        );
        assert_eq!(found, "");
    }
}

/// Wherever a part of the Dockerfile is shown, it is shown without them.
#[test]
fn passwords_in_urls_are_not_shown() {
    let kiln = need!(Kiln::for_builds(program()));
    let web = Web::start(|_| WebAnswer::new(404, ""));
    let host = web.address();
    for form in [
        format!("ADD http://user:hunter2@{host}/file /"),
        format!(r#"ADD "http://user:hunter2@{host}/file" /"#),
        format!(r#"ADD ["http://user:hunter2@{host}/file", "/"]"#),
        format!("ARG URL=http://user:hunter2@{host}/file\nADD $URL /"),
        format!("ADD https://hunter2@{host}/x.git /"),
        format!("ADD --nonsense http://user:hunter2@{host}/file /"),
        format!("COPY http://user:hunter2@{host}/file /"),
        format!("ADD --checksum=x http://user:hunter2@{host}/file /"),
        format!("FROM http://user:hunter2@{host}/file"),
    ] {
        for progress in ["plain", "rawjson", "quiet"] {
            let ended = build(&kiln, &form, &[&format!("--progress={progress}")]);
            assert_ne!(ended.code, 0, "{form}: {ended:#?}");
            let shown = format!("{ended:?}");
            assert!(!shown.contains("hunter2"), "{form}: {ended:#?}");
        }
        for question in [
            "--check",
            "--plan",
            "--call=lint,format=json",
            "--call=outline",
        ] {
            let ended = kiln.run(&["build", question, "ctx"]);
            let shown = format!("{ended:?}");
            // base64 of `hunter2`, at each of the three places it can have in a group.
            let encoded = ["aHVudGVyM", "h1bnRlcj", "odW50ZXIy"];
            assert!(!shown.contains("hunter2"), "{form}: {ended:#?}");
            assert!(
                !encoded.iter().any(|text| shown.contains(text)),
                "{form}: {ended:#?}"
            );
        }
        let ended = kiln.run(&["why", "ctx"]);
        assert!(
            !format!("{ended:?}").contains("hunter2"),
            "{form}: {ended:#?}"
        );
    }
    let found = kiln_testbed::run_and_read(
        std::process::Command::new("sh")
            .args(["-c", "grep -rl hunter2 \"$0\" || true"])
            .arg(kiln.scratch.join("state")),
    );
    assert_eq!(found, "");
}

/// A download goes on where its connection broke, and ends where it breaks again and again.
#[test]
fn downloads_go_on_where_they_broke() {
    let kiln = need!(Kiln::for_builds(program()));
    let web = Web::start(|request| {
        let answer = |status, body: &str| WebAnswer::new(status, body).with("etag", "\"1\"");
        match request.headers.get("range").map(String::as_str) {
            None => answer(200, "first").with("content-length", "11"),
            Some("bytes=5-") => answer(206, "second").with("content-range", "bytes 5-10/11"),
            Some(_) => WebAnswer::new(416, ""),
        }
    });
    let ended = build(&kiln, &format!("ADD {} /", web.url("/x")), &[]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(read(&kiln, "x"), "firstsecond");
    assert_eq!(web.requests().len(), 2);
}

#[test]
fn df_149_copy_fetches_nothing() {
    let kiln = need!(Kiln::for_builds(program()));
    for (source, message) in [
        ("http://127.0.0.1:1/x", "source can't be a URL for COPY"),
        (
            "http://127.0.0.1:1/x.git",
            "source can't be a git ref for COPY",
        ),
    ] {
        let ended = build(&kiln, &format!("COPY {source} /"), &[]);
        assert_eq!(ended.code, 1, "{ended:#?}");
        assert!(ended.stderr.contains(message), "{ended:#?}");
    }
}

/// A server that only has a date says 304 for what is older now: a file that was put back.
#[test]
fn a_date_does_not_say_that_nothing_changed() {
    let kiln = need!(Kiln::for_builds(program()));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let web = Web::start(move |request| {
        if request.headers.contains_key("if-modified-since") {
            return WebAnswer::new(304, "");
        }
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => WebAnswer::new(200, "later").with("last-modified", DATE),
            _ => WebAnswer::new(200, "earlier")
                .with("last-modified", "Tue, 20 Oct 2015 07:28:00 GMT"),
        }
    });
    let add = format!("ADD {} /", web.url("/file"));
    for expected in ["later", "earlier"] {
        let ended = build(&kiln, &add, &[]);
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert_eq!(read(&kiln, "file"), expected);
    }
}

/// A stage that tells the time may use arguments; an archive has the time of its newest file.
#[test]
fn df_169_an_archive_without_a_date_has_its_newest_file_s() {
    let kiln = need!(Kiln::for_builds(program()));
    let tree = kiln.scratch.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "text").unwrap();
    let tar = std::process::Command::new("tar")
        .args(["-c", "--mtime=@1500000000", "-C"])
        .args([&tree, std::path::Path::new("file")])
        .output();
    let archive = Arc::new(tar.unwrap().stdout);
    let web = Web::start(move |request: &WebRequest| match request.path.as_str() {
        "/a.tar" => WebAnswer::new(200, archive.to_vec()),
        "/dated" => WebAnswer::new(200, "text").with("last-modified", DATE),
        _ => WebAnswer::new(200, "no date"),
    });
    kiln.dockerfile(
        "ARG HOST\nFROM scratch AS time\nARG NAME=a.tar\nADD $HOST/$NAME /\nFROM scratch\n\
         ARG SOURCE_DATE_EPOCH\nLABEL at=$SOURCE_DATE_EPOCH\n",
    );
    let host = format!("HOST={}", web.url(""));
    let label = |arguments: &[&str]| {
        let epoch = [
            "--build-arg",
            "SOURCE_DATE_EPOCH=time",
            "--build-arg",
            &host,
        ];
        let all = [&["build", "-t", "x"][..], &epoch, arguments, &["ctx"]].concat();
        kiln.ok(&all);
        kiln.ok(&["inspect", "-f", "{{.Config.Labels.at}} {{.Created}}", "x"])
    };
    assert_eq!(label(&[]).trim(), "1500000000 2017-07-14T02:40:00Z");
    let dated = label(&["--build-arg", "NAME=dated"]);
    assert_eq!(dated.trim(), "1445412480 2015-10-21T07:28:00Z");
    // Nothing says when it was made.
    let none = label(&["--build-arg", "NAME=plain"]);
    assert!(none.starts_with(' '), "{none}");
}

/// A server that is busy for a moment is asked again.
#[test]
fn a_busy_server_is_asked_again() {
    let kiln = need!(Kiln::for_builds(program()));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let web = Web::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => WebAnswer::new(503, "busy").with("retry-after", "0"),
        1 => WebAnswer::new(503, "busy"),
        _ => WebAnswer::new(200, "content"),
    });
    let ended = build(&kiln, &format!("ADD {} /", web.url("/file")), &[]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(read(&kiln, "file"), "content");
}
