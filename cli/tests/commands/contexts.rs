//! Build contexts that are no directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_testbed::{Ended, GitSite, Kiln, Web, WebAnswer, need, run};

use crate::commands::harness::names;
use crate::program;

const DOCKERFILE: &str = "FROM scratch\nCOPY . /all/\n";

fn archive(directory: &Path, flags: &[&str]) -> Vec<u8> {
    let mut command = Command::new("tar");
    command
        .args(["--owner=7", "--group=7", "--mtime=@1445412480", "-c"])
        .args(flags)
        .arg("-C")
        .arg(directory)
        .arg(".");
    run(&mut command).stdout
}

/// Asserts that the files of a build are there, and nothing unfinished.
#[track_caller]
fn check(kiln: &Kiln, ended: &Ended, expected: &[&str]) {
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(names(&kiln.scratch.join("out/all")), expected);
    fs::remove_dir_all(kiln.scratch.join("out")).unwrap();
    let work = kiln.scratch.join("state/work");
    assert_eq!(names(&work), [] as [&str; 0]);
    assert!(!kiln.scratch.join("state/contexts").exists());
}

#[test]
fn archives_come_through_standard_input() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("tree/Dockerfile", DOCKERFILE);
    kiln.write("tree/.dockerignore", "*\n");
    kiln.write("tree/file", "x");
    let tree = kiln.scratch.join("tree");
    for flags in [
        &[][..],
        &["--gzip"],
        &["--bzip2"],
        &["--xz"],
        &["--zstd"],
        &["--format=v7"],
    ] {
        let input = archive(&tree, flags);
        let ended = kiln.run_with(&input, &["build", "-o", "out", "-"]);
        // Ignore files are for directories of the person's.
        check(&kiln, &ended, &[".dockerignore", "Dockerfile", "file"]);
    }
}

#[test]
fn the_dockerfile_may_be_anywhere() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("tree/sub/Other", DOCKERFILE);
    let tree = kiln.scratch.join("tree");
    let input = archive(&tree, &[]);
    let build = |file: &[&str]| {
        let arguments = [&["build", "-o", "out"], file, &["-"]].concat();
        kiln.run_with(&input, &arguments)
    };
    check(&kiln, &build(&["-f", "sub/Other"]), &["sub"]);
    let host = kiln.write("elsewhere", DOCKERFILE);
    check(&kiln, &build(&["-f", host.to_str().unwrap()]), &["sub"]);
    let web = Web::start(|_| WebAnswer::new(200, DOCKERFILE));
    check(&kiln, &build(&["-f", &web.url("/D")]), &["sub"]);
    let ended = build(&[]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("failed to read dockerfile: open Dockerfile: no such file or directory"),
        "{ended:#?}"
    );
    // Of a directory, too.
    let ended = kiln.run(&["build", "-o", "out", "-f", &web.url("/D"), "tree"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
}

#[test]
fn a_dockerfile_of_an_archive_is_in_the_archive() {
    let kiln = need!(Kiln::for_builds(program()));
    let secret = kiln.write("secret", "FROM scratch\nLABEL from=host\n");
    let tree = kiln.scratch.join("tree");
    fs::create_dir(&tree).unwrap();
    std::os::unix::fs::symlink(&secret, tree.join("Dockerfile")).unwrap();
    let input = archive(&tree, &[]);
    let ended = kiln.run_with(&input, &["build", "-"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(
        ended.stderr.contains("no such file or directory"),
        "{ended:#?}"
    );
}

#[test]
fn broken_archives_are_refused() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("tree/file", &"x".repeat(100_000));
    let mut input = archive(&kiln.scratch.join("tree"), &["--gzip"]);
    input.truncate(input.len() / 2);
    let ended = kiln.run_with(&input, &["build", "-"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("cannot unpack the build context on standard input"),
        "{ended:#?}"
    );
    assert_eq!(names(&kiln.scratch.join("state/work")), [] as [&str; 0]);
}

#[test]
fn a_lower_case_dockerfile_does_and_a_misnamed_one_is_pointed_out() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("lower/dockerfile", DOCKERFILE);
    assert_eq!(kiln.run(&["build", "-o", "out", "lower"]).code, 0);
    let input = archive(&kiln.scratch.join("lower"), &[]);
    let ended = kiln.run_with(&input, &["build", "-o", "out", "-"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    kiln.write("other/Containerfile", DOCKERFILE);
    let ended = kiln.run(&["build", "other"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended
            .stderr
            .contains("hint: is other/Containerfile meant? say -f other/Containerfile"),
        "{ended:#?}"
    );
}

/// The author of a context does not choose which of the builder's files are read and shown.
#[test]
fn a_dockerfile_that_leads_out_of_its_context_is_not_read() {
    let kiln = Kiln::new(program());
    kiln.write("secret", "TOP SECRET\n");
    kiln.write("ctx/real", "FROM scratch\nLABEL a=b\n");
    for target in [
        "../secret".to_owned(),
        kiln.scratch.join("secret").display().to_string(),
    ] {
        let link = kiln.scratch.join("ctx/Dockerfile");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for flags in [&[][..], &["-f", "ctx/Dockerfile"]] {
            let ended = kiln.run(&[&["build"], flags, &["ctx"]].concat());
            assert_eq!(ended.code, 1, "{ended:#?}");
            assert!(
                ended.stderr.contains("leads out of the build context"),
                "{ended:#?}"
            );
            assert!(!ended.stderr.contains("TOP SECRET"), "{ended:#?}");
        }
        fs::remove_file(link).unwrap();
    }
    std::os::unix::fs::symlink("../secret", kiln.scratch.join("ctx/.dockerignore")).unwrap();
    let ended = kiln.run(&["build", "--check", "-f", "ctx/real", "ctx"]);
    assert_ne!(ended.code, 0, "{ended:#?}");
    assert!(
        ended.stderr.contains("leads out of the build context"),
        "{ended:#?}"
    );
}

#[test]
fn urls_are_archives_or_dockerfiles() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("tree/Dockerfile", DOCKERFILE);
    let packed = archive(&kiln.scratch.join("tree"), &["--gzip"]);
    let web = Web::start(move |request| match request.path.as_str() {
        "/c.tar.gz" => WebAnswer::new(200, packed.clone()),
        "/Dockerfile" => WebAnswer::new(200, "FROM scratch\nLABEL a=b\n"),
        "/copies" => WebAnswer::new(200, DOCKERFILE),
        _ => WebAnswer::new(404, ""),
    });
    let ended = kiln.run(&["build", "-o", "out", &web.url("/c.tar.gz")]);
    check(&kiln, &ended, &["Dockerfile"]);
    let ended = kiln.run(&["build", "-q", &web.url("/Dockerfile")]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    // There are no files beside it.
    let ended = kiln.run(&["build", "-q", "-f", "x", &web.url("/copies")]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let ended = kiln.run(&["build", &web.url("/absent?token=hunter2")]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let message = format!(
        "cannot fetch the build context {}: invalid response status 404",
        web.url("/absent")
    );
    assert!(ended.stderr.contains(&message), "{ended:#?}");
    assert!(!ended.stderr.contains("hunter2"), "{ended:#?}");
}

#[test]
fn repositories_are_contexts() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    repository
        .write("Dockerfile", DOCKERFILE)
        .write("sub/Dockerfile", "FROM scratch\nCOPY only /all/\n")
        .write("sub/only", "x")
        .commit("one");
    let (_daemon, address) = need!(site.serve());
    let url = |end: &str| format!("git://{address}/app.git{end}");
    let ended = kiln.run(&["build", "-o", "out", &url("")]);
    check(&kiln, &ended, &["Dockerfile", "sub"]);
    let ended = kiln.run(&["build", "-o", "out", &url("#main:sub")]);
    check(&kiln, &ended, &["only"]);
    let keep = "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1";
    let ended = kiln.run(&["build", "-o", "out", "--build-arg", keep, &url("#main")]);
    check(&kiln, &ended, &[".git", "Dockerfile", "sub"]);
    let ended = kiln.run(&["build", &url("#nothing")]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let message = format!("repository {} does not contain ref nothing", url(""));
    assert!(ended.stderr.contains(&message), "{ended:#?}");
}
