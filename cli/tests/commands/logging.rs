//! `-D` and `KILN_LOG`: what is logged, where, and what never is.

use kiln_testbed::{Ended, Kiln, Registry, need};

use crate::program;

/// Runs kiln with `KILN_LOG`.
fn logged(kiln: &Kiln, log: &str, arguments: &[&str]) -> Ended {
    let mut command = kiln.command();
    command.env("KILN_LOG", log).args(arguments);
    Ended::from(command.output().expect("kiln starts"))
}

#[test]
fn logs_are_written_to_standard_error_when_asked_for() {
    let kiln = Kiln::new(program());
    assert_eq!(kiln.run(&["images", "-q"]).stderr, "");
    let ended = kiln.run(&["-D", "images", "-q"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{ended:#?}");
    assert!(ended.stderr.contains("kiln begins"), "{ended:#?}");
    let opened = "kiln_cache::store: the state directory is open";
    assert!(ended.stderr.contains(opened), "{ended:#?}");
    // The variable says more than the flag, and so goes before it.
    let quiet = logged(&kiln, "kiln_cache=warn", &["-D", "images"]);
    assert_eq!(quiet.stderr, "");
    assert!(
        logged(&kiln, "kiln_cache=debug", &["images"])
            .stderr
            .contains(opened)
    );
}

#[test]
fn invalid_filters_are_refused_with_the_form_they_have() {
    let ended = logged(&Kiln::new(program()), "kiln_cache=loud", &["images"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(ended.stderr.contains("invalid KILN_LOG"), "{ended:#?}");
    assert!(
        ended.stderr.contains("info,kiln_registry=debug"),
        "{ended:#?}"
    );
}

#[test]
fn builds_log_keys_sandboxes_and_layers() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /bin/sh\nRUN : > /made\n");
    for flags in [
        &["-D", "build", "ctx"][..],
        &["build", "-D", "--no-cache", "ctx"],
    ] {
        let ended = kiln.run(flags);
        assert_eq!(ended.code, 0, "{ended:#?}");
        for part in [
            "kiln_solver::solve: step",
            "recipe=",
            "not found, made",
            "mounting layers",
            "a sandbox starts program=\"/bin/sh\"",
            "a sandbox ended",
        ] {
            assert!(ended.stderr.contains(part), "{part}: {ended:#?}");
        }
    }
    let ended = kiln.run(&["-D", "build", "ctx"]);
    assert!(!ended.stderr.contains("a sandbox starts"), "{ended:#?}");
}

/// Everything that is secret, in one session at the most talkative level.
#[test]
fn secrets_are_never_logged() {
    let registry = need!(Registry::with_basic_auth("user", "pass-hunter2"));
    let kiln = need!(Kiln::for_builds(program()));
    kiln.knows(&registry);
    let server = registry.address();
    let name = format!("{server}/app");
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nARG TOKEN\n\
         RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=VARIABLE \
         test -n \"$TOKEN$VARIABLE\" && : < /run/secrets/file\n",
    );
    kiln.write("secret", "file-hunter2");
    let mut shown = String::new();
    let mut run = |arguments: &[&str]| {
        let mut command = kiln.command();
        command
            .env("KILN_LOG", "trace")
            .env("TOKEN", "token-hunter2")
            .env("SECRET", "variable-hunter2")
            .args(arguments);
        let ended = Ended::from(command.output().unwrap());
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:#?}");
        shown += &ended.stderr;
    };
    run(&["login", "-u", "user", "-p", "pass-hunter2", &server]);
    run(&[
        "build",
        // Progress shows commands as they are run, values of arguments included.
        "--quiet",
        "--build-arg=TOKEN",
        "--secret=id=file,src=secret",
        "--secret=id=variable,env=SECRET",
        "-t",
        &name,
        "--push",
        "ctx",
    ]);
    run(&["pull", &name]);
    run(&[
        "run",
        "--rm",
        "-e",
        "TOKEN",
        &name,
        "sh",
        "-c",
        ": token-hunter2",
    ]);
    for part in [
        "looked for credentials",
        "is_found=true",
        "status=401",
        "status=200",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Base64 of the login, as HTTP carries it and the file of logins holds it.
    for secret in ["hunter2", "dXNlcjpwYXNz", "Basic ", "Bearer "] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}
