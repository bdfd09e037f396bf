use super::*;

fn git(text: &str) -> GitSource {
    match remote_source(text, SourcePlace::Instruction) {
        Some(Ok(RemoteSource::Git(source))) => source,
        other => panic!("{text}: {other:?}"),
    }
}

#[track_caller]
fn check(text: &str, remote: &str, reference: Option<&str>, subdirectory: Option<&str>) {
    let expected = GitSource {
        remote: remote.to_owned(),
        reference: reference.map(str::to_owned),
        subdirectory: subdirectory.map(str::to_owned),
        ..GitSource::default()
    };
    assert_eq!(git(text), expected);
}

#[test]
fn repositories_are_told_by_their_address() {
    check("https://h/x.git", "https://h/x.git", None, None);
    check("HTTP://h/x.git", "http://h/x.git", None, None);
    check("https://u:p@h:1/x.git", "https://u:p@h:1/x.git", None, None);
    check("git://h/x", "git://h/x", None, None);
    check("ssh://git@h:22/x", "ssh://git@h:22/x", None, None);
    check("git@h:x/y", "git@h:x/y", None, None);
    check("me-2@h.x:y.git", "me-2@h.x:y.git", None, None);
}

#[test]
fn fragments_name_reference_and_directory() {
    let remote = "https://h/x.git";
    check("https://h/x.git#", remote, None, None);
    check("https://h/x.git#v1/a", remote, Some("v1/a"), None);
    check(
        "https://h/x.git#v1:a/b:c",
        remote,
        Some("v1"),
        Some("a/b:c"),
    );
    check("https://h/x.git#:a", remote, None, Some("a"));
    check("https://h/x.git#a:", remote, Some("a"), None);
    check("https://h/x.git#a%20b?c", remote, Some("a b?c"), None);
    check("git@h:x#a%20b", "git@h:x", Some("a%20b"), None);
    check("git@h:x?subdir=/d#a", "git@h:x", Some("a"), Some("/d"));
}

#[test]
fn queries_name_reference_and_directory() {
    let remote = "https://h/x.git";
    let reference = |query: &str| git(&format!("{remote}?{query}")).reference.unwrap();
    assert_eq!(git("https://h/x.git?").reference, None);
    check(
        "https://h/x.git?ref=v1&subdir=/d",
        remote,
        Some("v1"),
        Some("/d"),
    );
    check("https://h/x.git?ref=a#a:d", remote, Some("a"), Some("d"));
    assert_eq!(reference("tag=v1"), "refs/tags/v1");
    assert_eq!(reference("tag=refs/tags/v1"), "refs/tags/v1");
    assert_eq!(reference("branch=a%2fb+c"), "refs/heads/a/b c");
    assert_eq!(reference("ref=refs/heads/b&branch=b"), "refs/heads/b");

    let bare = git("https://h/x.git?commit=abc");
    assert_eq!(bare.reference.as_deref(), Some("abc"));
    assert_eq!(bare.commit.as_deref(), Some("abc"));
    let verified = git("https://h/x.git?checksum=abc&fetch-by-commit&mtime=commit#main");
    assert_eq!(verified.reference.as_deref(), Some("main"));
    assert_eq!(verified.commit.as_deref(), Some("abc"));
    assert_eq!(verified.modified, Modified::Commit);
    assert!(verified.fetch_by_commit);
    let switches = git("https://h/x.git?keep-git-dir&submodules=0&fetch-by-commit=f");
    assert_eq!(switches.keep_git_dir, Some(true));
    assert_eq!(switches.submodules, Some(false));
    assert!(!switches.fetch_by_commit);
    assert_eq!(git("git://h/x?mtime=checkout").modified, Modified::Checkout);
}

#[test]
fn contradictory_addresses_are_refused() {
    #[track_caller]
    fn check(rest: &str, expected: &str) {
        let found = remote_source(&format!("https://h/x.git{rest}"), SourcePlace::Instruction);
        assert_eq!(found.unwrap().unwrap_err().to_string(), expected);
    }
    check("?x=1", r#"unexpected query "x""#);
    check("?REF=1", r#"unexpected query "REF""#);
    check("?ref", r#"query "ref" has no value"#);
    check("?tag=&ref=b", r#"query "tag" has no value"#);
    check("?mtime", r#"query "mtime" has no value"#);
    check("?ref=a&ref=a", r#"query "ref" has multiple values"#);
    check("?ref=a#b", r#"ref conflicts: "b" vs "a""#);
    check("?ref=a&tag=b", r#"ref conflicts: "a" vs "refs/tags/b""#);
    check("?branch=b#a", r#"ref conflicts: "a" vs "refs/heads/b""#);
    check("?branch=b&tag=b", "branch conflicts with tag");
    check("?subdir=a#:b", r#"subdir conflicts: "b" vs "a""#);
    check("?commit=a&checksum=b", r#"commit conflicts: "a" vs "b""#);
    check("?keep-git-dir=x", r#"invalid keep-git-dir value: "x""#);
    check("?submodules=yes", r#"invalid submodules value: "yes""#);
    check(
        "?fetch-by-commit=2",
        r#"invalid fetch-by-commit value: "2""#,
    );
    check("?mtime=now", r#"invalid mtime value: "now""#);
    check("#a%", r#"invalid URL escape "%""#);
    check("?ref=%g0", r#"invalid URL escape "%g0""#);
}

#[test]
fn other_urls_are_downloads() {
    for url in [
        "https://h",
        "https://h/x",
        "https://x.git",
        "https://h/x.git/",
        "https://h/x.git.bar",
        "http://h/x.git:#branch",
        "https://h/x?a=b.git",
        "https://h/x#y.git",
        "Https://h/%zz.git",
    ] {
        let expected = RemoteSource::Http(url.to_owned());
        assert_eq!(
            remote_source(url, SourcePlace::Instruction),
            Some(Ok(expected))
        );
    }
}

#[test]
fn other_texts_are_paths() {
    for path in [
        "",
        ".git",
        "./x.git",
        "h/x.git",
        "ftp://h/x.git",
        "docker-image://x@sha256:0",
        "oci-layout://x@y:z",
        "a b@h:x",
        "@h:x",
        "a@:x",
        "-a@h:x",
        "a@-h:x",
        "a@h",
        "./git@h:x",
    ] {
        assert_eq!(
            remote_source(path, SourcePlace::Instruction),
            None,
            "{path}"
        );
        assert_eq!(
            remote_source(path, SourcePlace::BuildContext),
            None,
            "{path}"
        );
    }
}

#[test]
fn a_bare_github_address_is_for_contexts_only() {
    let text = "github.com/a/b?tag=v1#:c";
    assert_eq!(remote_source(text, SourcePlace::Instruction), None);
    let expected = GitSource {
        remote: "https://github.com/a/b".to_owned(),
        reference: Some("refs/tags/v1".to_owned()),
        subdirectory: Some("c".to_owned()),
        ..GitSource::default()
    };
    assert_eq!(
        remote_source(text, SourcePlace::BuildContext),
        Some(Ok(RemoteSource::Git(expected)))
    );
}

#[test]
fn df_146_names_of_downloads() {
    #[track_caller]
    fn check(url: &str, expected: &str) {
        assert_eq!(download_name(url), expected);
    }
    check("http://h/a/b.tgz?x=/y#/z", "b.tgz");
    check("http://h/a/", "a");
    check("http://h/a%20b", "a b");
    check("http://h/a%2Fb", "b");
    check("http://h/a%FF", "a%FF");
    for url in [
        "http://h",
        "http://h/",
        "http://h?a/b",
        "http://h/%2e%2E",
        "http://h/a%00",
        "http://h/%zz",
    ] {
        check(url, "__unnamed__");
    }
}
