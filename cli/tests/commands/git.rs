//! ADD of git repositories.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use kiln_testbed::{Ended, GitRepository, GitSite, Kiln, Web, WebAnswer, need, run_and_read};

use crate::commands::harness::names;
use crate::program;

/// When [`GitRepository::commit`] commits.
const COMMITTED: i64 = 1_700_000_000;

/// Builds from scratch; the result's files are in `out`.
fn build(kiln: &Kiln, instructions: &str, flags: &[&str]) -> Ended {
    kiln.dockerfile(&format!("FROM scratch\n{instructions}\n"));
    let _ = fs::remove_dir_all(kiln.scratch.join("out"));
    let arguments = [&["build", "-o", "out"], flags, &["ctx"]].concat();
    kiln.run(&arguments)
}

#[track_caller]
fn add(kiln: &Kiln, source: &str) {
    let ended = build(kiln, &format!("ADD {source} /r"), &[]);
    assert_eq!(ended.code, 0, "{source}: {ended:#?}");
}

#[track_caller]
fn refused(kiln: &Kiln, source: &str, message: &str) {
    let ended = build(kiln, &format!("ADD {source} /r"), &[]);
    assert_ne!(ended.code, 0, "{source}: {ended:#?}");
    assert!(ended.stderr.contains(message), "{source}: {ended:#?}");
}

fn read(kiln: &Kiln, path: &str) -> String {
    fs::read_to_string(kiln.scratch.join("out/r").join(path)).unwrap()
}

/// Three commits: `one` under a light tag, `two` on a branch and under an annotated tag, `three`.
fn history(repository: &GitRepository<'_>) -> [String; 3] {
    let one = repository.write("v", "one").commit("one");
    repository.git(&["tag", "light"]);
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    let two = repository.write("v", "two").commit("two");
    repository.git(&["tag", "-a", "heavy", "-m", "heavy"]);
    repository.git(&["checkout", "--quiet", "main"]);
    let three = repository.write("v", "three").commit("three");
    repository.publish();
    [one, two, three]
}

#[test]
fn references_are_branches_tags_and_commits() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    let [one, two, three] = history(&repository);
    let (_daemon, address) = need!(site.serve());
    let url = format!("git://{address}/app.git");
    for (reference, expected) in [
        ("", "three"),
        ("#main", "three"),
        ("#refs/heads/side", "two"),
        ("#light", "one"),
        ("#heavy", "two"),
        ("?tag=heavy", "two"),
        ("?branch=side", "two"),
        (&*format!("#{one}"), "one"),
        (&*format!("#{}", &two[..9]), "two"),
        (&*format!("?ref=main&commit={three}"), "three"),
    ] {
        add(&kiln, &format!("{url}{reference}"));
        assert_eq!(read(&kiln, "v"), expected, "{reference}");
        assert_eq!(names(&kiln.scratch.join("out/r")), ["v"], "{reference}");
    }
    add(&kiln, &format!("--checksum={} {url}#light", &one[..12]));
    refused(
        &kiln,
        &format!("--checksum={one} {url}#side"),
        &format!("expected checksum to match {one}, got {two}"),
    );
    refused(
        &kiln,
        &format!("{url}#absent"),
        "does not contain ref absent",
    );
    refused(
        &kiln,
        &format!("{url}#abcdef0123"),
        "does not contain ref abcdef0123",
    );
    refused(
        &kiln,
        &format!("git://{address}/other.git"),
        &format!("git could not read git://{address}/other.git"),
    );
}

#[test]
fn moved_branches_are_noticed_and_others_are_cached() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    repository.write("v", "one").commit("one");
    let (_daemon, address) = need!(site.serve());
    let url = format!("git://{address}/app.git#main");
    add(&kiln, &url);
    let again = build(&kiln, &format!("ADD {url} /r"), &["--progress=plain"]);
    assert!(again.stderr.contains("CACHED"), "{again:#?}");
    repository.write("v", "two").commit("two");
    add(&kiln, &url);
    assert_eq!(read(&kiln, "v"), "two");
}

#[test]
fn files_have_one_shape() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    repository.write("plain", "x").write("dir/program", "x");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(&repository.path().join("dir/program"), 0o700).unwrap();
    symlink("/etc/passwd", repository.path().join("link")).unwrap();
    repository.commit("one");
    let (_daemon, address) = need!(site.serve());
    add(&kiln, &format!("git://{address}/app.git?mtime=commit"));
    let root = kiln.scratch.join("out/r");
    for (path, mode) in [("plain", 0o644), ("dir", 0o755), ("dir/program", 0o755)] {
        let metadata = fs::metadata(root.join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
        assert_eq!(metadata.mtime(), COMMITTED, "{path}");
    }
    let link = fs::read_link(root.join("link")).unwrap();
    assert_eq!(link, Path::new("/etc/passwd"));
}

#[test]
fn subdirectories_stay_inside() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    repository.write("a/b/file", "x").write("top", "x");
    symlink("/", repository.path().join("root")).unwrap();
    symlink("../../../..", repository.path().join("up")).unwrap();
    symlink("a/b", repository.path().join("inside")).unwrap();
    repository.commit("one");
    let (_daemon, address) = need!(site.serve());
    let url = format!("git://{address}/app.git");
    add(&kiln, &format!("{url}#main:a/b"));
    assert_eq!(names(&kiln.scratch.join("out/r")), ["file"]);
    add(&kiln, &format!("{url}?subdir=inside"));
    assert_eq!(names(&kiln.scratch.join("out/r")), ["file"]);
    // Links that lead out of the repository lead to its root.
    for outside in ["root", "up", "../.."] {
        add(&kiln, &format!("{url}#main:{outside}"));
        assert_eq!(
            names(&kiln.scratch.join("out/r")),
            ["a", "inside", "root", "top", "up"],
            "{outside}"
        );
    }
    // git's own directory is no part of a commit, and does not come along with a part of the tree.
    add(&kiln, &format!("--keep-git-dir {url}#main:a"));
    assert_eq!(names(&kiln.scratch.join("out/r")), ["b"]);
    refused(
        &kiln,
        &format!("{url}#main:.git"),
        "subdirectory \".git\" is not in the repository",
    );
    refused(
        &kiln,
        &format!("{url}#main:x"),
        "subdirectory \"x\" is not in the repository",
    );
    refused(
        &kiln,
        &format!("{url}#main:top"),
        "\"top\" is not a directory of the repository",
    );
}

#[test]
fn submodules_come_along_unless_told_otherwise() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let (_daemon, address) = need!(site.serve());
    let inner = site.repository("inner");
    inner.write("inner", "x").commit("inner");
    let middle = site.repository("middle");
    middle.write("middle", "x");
    let url = |name: &str| format!("git://{address}/{name}.git");
    middle.git(&["submodule", "--quiet", "add", &url("inner"), "inner"]);
    middle.commit("middle");
    let outer = site.repository("outer");
    outer.git(&["submodule", "--quiet", "add", &url("middle"), "deps/middle"]);
    // As hosting sites advise, relative to the repository itself.
    outer.git(&[
        "config",
        "-f",
        ".gitmodules",
        "submodule.deps/middle.url",
        "../middle.git",
    ]);
    outer.commit("outer");
    add(&kiln, &url("outer"));
    let root = kiln.scratch.join("out/r");
    assert_eq!(names(&root), [".gitmodules", "deps"]);
    assert_eq!(
        names(&root.join("deps/middle")),
        [".gitmodules", "inner", "middle"]
    );
    assert_eq!(names(&root.join("deps/middle/inner")), ["inner"]);
    add(&kiln, &format!("{}?submodules=false", url("outer")));
    assert_eq!(names(&root.join("deps/middle")), [] as [&str; 0]);
    // A submodule cannot name a repository of this machine.
    let thief = site.repository("thief");
    thief.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        inner.path().to_str().unwrap(),
        "stolen",
    ]);
    thief.commit("thief");
    refused(&kiln, &url("thief"), "transport 'file' not allowed");
}

#[test]
fn a_kept_git_directory_works_and_is_the_same_every_time() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    history(&repository);
    let (_daemon, address) = need!(site.serve());
    let url = format!("git://{address}/app.git");
    add(&kiln, &format!("--keep-git-dir {url}#heavy"));
    let root = kiln.scratch.join("out/r");
    assert_eq!(names(&root), [".git", "v"]);
    let git = |arguments: &[&str]| {
        run_and_read(
            Command::new("git")
                .args(["-c", "safe.directory=*"])
                .args(arguments)
                .current_dir(&root),
        )
    };
    assert_eq!(git(&["status", "--porcelain"]), "");
    assert_eq!(git(&["describe", "--tags"]), "heavy");
    assert_eq!(git(&["log", "--format=%s"]), "two");
    assert_eq!(git(&["remote", "get-url", "origin"]), url);
    let digests = [Kiln::for_builds(program()), Kiln::for_builds(program())].map(|kiln| {
        let kiln = kiln.unwrap();
        let source = format!("--keep-git-dir {url}?ref=heavy&mtime=commit");
        add(&kiln, &source);
        run_and_read(
            Command::new("sh")
                .args(["-c", "cd \"$0\" && tar --sort=name -c . | sha256sum"])
                .arg(kiln.scratch.join("out/r/.git")),
        )
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn http_is_smart_or_plain_and_asks_for_tokens() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = std::sync::Arc::new(need!(GitSite::new()));
    history(&site.repository("app"));
    let (smart, plain) = (site.clone(), site.clone());
    let smart = Web::start(move |request| smart.answer(request));
    add(&kiln, &format!("{}#heavy", smart.url("/app.git")));
    assert_eq!(read(&kiln, "v"), "two");
    let plain = Web::start(move |request| plain.answer_with_file(request));
    for (reference, expected) in [("", "three"), ("#heavy", "two"), ("#light", "one")] {
        add(&kiln, &format!("{}{reference}", plain.url("/app.git")));
        assert_eq!(read(&kiln, "v"), expected, "{reference}");
    }
    let own = site.clone();
    let private = Web::start(move |request| {
        // x-access-token:hunter2
        match request.headers.get("authorization").map(String::as_str) {
            Some("Basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==") => own.answer(request),
            _ => WebAnswer::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
        }
    });
    let url = private.url("/app.git");
    refused(&kiln, &url, "give a token with --secret id=GIT_AUTH_TOKEN");
    let token = kiln.write("token", "hunter2\n");
    for id in ["GIT_AUTH_TOKEN", "GIT_AUTH_TOKEN.127.0.0.1"] {
        let secret = format!("id={id},src={}", token.display());
        let flags = ["--no-cache", "--secret", &secret];
        let ended = build(&kiln, &format!("ADD {url} /r"), &flags);
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert!(!format!("{ended:?}").contains("hunter2"));
    }
    let found = run_and_read(
        Command::new("sh")
            .args(["-c", "grep -rl -e hunter2 -e aHVudGVyMg \"$0\" || true"])
            .arg(kiln.scratch.join("state")),
    );
    assert_eq!(found, "");
}

/// Git would show it to any host that the server names.
#[test]
fn a_token_for_a_repository_stays_with_its_server() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    repository.write("file", "content").commit("one");
    let other = Web::start(move |request| site.answer(request));
    let target = other.url("");
    let web = Web::start(move |request| {
        let location = format!("{target}{}?{}", request.path, request.query);
        WebAnswer::new(302, "").with("location", &location)
    });
    let secret = format!(
        "id=GIT_AUTH_TOKEN,src={}",
        kiln.write("token", "hunter2").display()
    );
    let add = format!("ADD {} /", web.url("/app.git"));
    let ended = build(&kiln, &add, &["--secret", &secret]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(ended.stderr.contains("name that address"), "{ended:#?}");
    assert!(web.requests()[0].headers.contains_key("authorization"));
    let seen = other.requests();
    assert!(seen.is_empty(), "{seen:#?}");
    // Without one there is nothing to lose.
    let ended = build(&kiln, &add, &[]);
    assert_eq!(ended.code, 0, "{ended:#?}");
}

#[test]
fn ssh_goes_through_the_agent_of_the_build() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    history(&site.repository("app"));
    let ssh_keygen = need!(kiln_testbed::Tool::find("ssh-keygen"));
    let key = kiln.scratch.join("key");
    kiln_testbed::run(
        ssh_keygen
            .command()
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f"])
            .arg(&key),
    );
    // What stands in for ssh and a server: it shows whose keys it could use, and runs the command.
    let ssh = format!(
        "#!/bin/sh\nssh-add -l >{0}/seen 2>&1\necho \"$@\" >>{0}/seen\ncd {1}\n\
         for last; do :; done\nexec sh -c \"$last\"\n",
        kiln.scratch.path().display(),
        site.path().display(),
    );
    let ssh = kiln.write("bin/ssh", &ssh);
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:/usr/local/bin:/usr/bin:/bin",
        ssh.parent().unwrap().display()
    );
    kiln.dockerfile("FROM scratch\nADD git@host.example:app.git#heavy /r\n");
    let output = kiln
        .command()
        .env("PATH", path)
        .args(["build", "-o", "out", "--ssh"])
        .arg(format!("default={}", key.display()))
        .arg("ctx")
        .output()
        .unwrap();
    let ended = Ended::from(output);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(read(&kiln, "v"), "two");
    let seen = fs::read_to_string(kiln.scratch.join("seen")).unwrap();
    assert!(seen.contains("mine (ED25519)"), "{seen}");
    assert!(
        seen.contains("BatchMode=yes") && seen.contains("git@host.example"),
        "{seen}"
    );
}

/// `git checkout` ends as if all were well.
#[test]
fn a_file_that_cannot_be_written_fails_the_build() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let (_daemon, address) = need!(site.serve());
    let url = |name: &str| format!("git://{address}/{name}.git");
    let inner = site.repository("inner");
    let commit = inner.write("large", &"0".repeat(3_000_000)).commit("one");
    let outer = site.repository("outer");
    let modules = format!(
        "[submodule \"inner\"]\npath = inner\nurl = {}\n",
        url("inner")
    );
    outer.write(".gitmodules", &modules);
    outer.git(&["add", ".gitmodules"]);
    let entry = format!("160000,{commit},inner");
    outer.git(&["update-index", "--add", "--cacheinfo", &entry]);
    outer.git(&["commit", "--quiet", "-m", "one"]);
    // Files end at half a megabyte. What travels is smaller: git packs it.
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$@\"";
    for name in ["inner", "outer"] {
        for flag in ["", "--keep-git-dir "] {
            kiln.dockerfile(&format!("FROM scratch\nADD {flag}{} /r\n", url(name)));
            let mut build = Command::new("sh");
            build
                .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_kiln")])
                .args(["build", "-o", "type=cacheonly", "ctx"])
                .current_dir(kiln.scratch.path());
            for (name, value) in kiln.command().get_envs() {
                match value {
                    Some(value) => build.env(name, value),
                    None => build.env_remove(name),
                };
            }
            let ended = Ended::from(build.output().unwrap());
            let said = ended.stderr.contains("unable to write file");
            assert!(ended.code == 1 && said, "{flag}{name}: {ended:#?}");
        }
    }
}

#[test]
fn several_builds_share_a_repository() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    repository.write("v", "one").commit("one");
    let (_daemon, address) = need!(site.serve());
    kiln.dockerfile(&format!(
        "FROM scratch AS a\nADD git://{address}/app.git#main /r\n\
         FROM scratch\nADD git://{address}/app.git /r2\nCOPY --from=a / /\n"
    ));
    let children: Vec<_> = (0..3)
        .map(|number| {
            kiln.command()
                .args(["build", "--no-cache", "-o", &format!("out{number}"), "ctx"])
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (number, child) in children.into_iter().enumerate() {
        let ended = Ended::from(child.wait_with_output().unwrap());
        assert_eq!(ended.code, 0, "{ended:#?}");
        let out = kiln.scratch.join(format!("out{number}"));
        assert_eq!(names(&out), ["r", "r2"]);
    }
}

/// Starts a build that waits for a server which never answers, and returns it and the connection.
fn waiting_build(kiln: &Kiln) -> (std::process::Child, std::net::TcpStream) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    kiln.dockerfile(&format!("FROM scratch\nADD git://{address}/app.git /r\n"));
    let build = kiln
        .command()
        .args(["build", "ctx"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // git is there, and wants to know what there is.
    let (mut connection, _) = silent.accept().unwrap();
    std::io::Read::read_exact(&mut connection, &mut [0; 4]).unwrap();
    (build, connection)
}

/// Waits until the other side of a connection is gone.
fn wait_for_end(mut connection: std::net::TcpStream) {
    // Reading to the end of it takes as long as the program at the other side lives.
    let _ = std::io::Read::read_to_end(&mut connection, &mut Vec::new());
}

#[test]
fn git_ends_when_the_build_is_interrupted_or_killed() {
    let kiln = need!(Kiln::for_builds(program()));
    need!(GitSite::new());
    let (build, connection) = waiting_build(&kiln);
    let interrupt = |signal: &str, id: u32| {
        kiln_testbed::run(Command::new("kill").args([signal, &id.to_string()]));
    };
    interrupt("-INT", build.id());
    let ended = Ended::from(build.wait_with_output().unwrap());
    assert_eq!(ended.code, 130, "{ended:#?}");
    wait_for_end(connection);
    assert_eq!(names(&kiln.scratch.join("state/work")), [] as [&str; 0]);
    let (mut build, connection) = waiting_build(&kiln);
    interrupt("-KILL", build.id());
    build.wait().unwrap();
    wait_for_end(connection);
    // What was left lying does not stop the next one.
    let site = need!(GitSite::new());
    site.repository("app").write("v", "one").commit("one");
    let (_daemon, address) = need!(site.serve());
    add(&kiln, &format!("git://{address}/app.git"));
    assert_eq!(names(&kiln.scratch.join("state/work")), [] as [&str; 0]);
}

#[test]
fn a_commit_s_time_is_the_image_s() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    repository
        .write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
        .commit("one");
    let (_daemon, address) = need!(site.serve());
    let url = format!("git://{address}/app.git");
    let created = |name: &str| kiln.ok(&["inspect", "-f", "{{.Created}}", name]);
    let epoch = "SOURCE_DATE_EPOCH=context";
    kiln.ok(&["build", "--build-arg", epoch, "-t", "context", &url]);
    assert_eq!(created("context"), "2023-11-14T22:13:20Z");
    kiln.dockerfile(&format!(
        "FROM scratch AS time\nADD {url} /\nFROM scratch\nCOPY Dockerfile /\n"
    ));
    let epoch = "SOURCE_DATE_EPOCH=time";
    kiln.ok(&["build", "--build-arg", epoch, "-t", "stage", "ctx"]);
    assert_eq!(created("stage"), "2023-11-14T22:13:20Z");
}
