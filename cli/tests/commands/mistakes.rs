//! The commonest mistakes: what is wrong, where, and what to do next.

use std::fs;

use kiln_testbed::{Kiln, Registry, need};

use crate::program;

/// Runs kiln, which must fail, and returns the last lines of what it says.
#[track_caller]
fn last_lines(kiln: &Kiln, arguments: &[&str], count: usize) -> String {
    let ended = kiln.run(arguments);
    assert_ne!(ended.code, 0, "{ended:#?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    lines[lines.len() - count..].join("\n")
}

#[test]
fn dockerfiles_that_are_not_there() {
    let kiln = Kiln::new(program());
    kiln.write("ctx/file", "");
    kiln.write("other/my.Dockerfile", "");
    let message = "ERROR: failed to build: failed to read dockerfile: open";
    for (arguments, complaint) in [
        (
            &["build", "ctx"][..],
            "Dockerfile: no such file or directory\n\
             hint: it was looked for in ctx; -f names another file",
        ),
        (
            &["build", "other"],
            "Dockerfile: no such file or directory\n\
             hint: is other/my.Dockerfile meant? say -f other/my.Dockerfile",
        ),
        (
            &["build", "-f", "Dockerfile", "ctx"],
            "Dockerfile: no such file or directory\n\
             hint: it was looked for in the working directory; -f names another file",
        ),
    ] {
        let shown = last_lines(&kiln, arguments, 2);
        assert_eq!(shown, format!("{message} {complaint}"));
    }
}

#[test]
fn files_that_are_not_in_the_context() {
    let kiln = Kiln::new(program());
    kiln.write("ctx/sub/requirements.txt", "");
    kiln.write("ctx/secret", "");
    kiln.write("ctx/.dockerignore", "secret\n");
    for (file, hint) in [
        ("sub/requirement.txt", "did you mean sub/requirements.txt?"),
        ("SUB", "did you mean sub?"),
        (
            "secret",
            "secret is in the context, but .dockerignore excludes it",
        ),
        // What is ignored is not suggested.
        (
            "secre",
            "files are looked for in the context, or where --from says",
        ),
    ] {
        kiln.dockerfile(&format!("FROM scratch\nCOPY {file} /\n"));
        let shown = last_lines(&kiln, &["build", "ctx"], 2);
        let message = format!("failed to calculate checksum: \"/{file}\": not found");
        assert!(
            shown.ends_with(&format!("{message}\nhint: {hint}")),
            "{shown}"
        );
    }
}

#[test]
fn registries_that_do_not_serve() {
    let kiln = Kiln::new(program());
    kiln.write("ctx/file", "");
    kiln.dockerfile("FROM scratch\nCOPY file /\n");
    assert_eq!(
        last_lines(&kiln, &["pull", "127.0.0.1:1/app"], 2),
        "Error: http://127.0.0.1:1/v2/app/manifests/latest: Connection refused\n\
         hint: check that a registry runs at 127.0.0.1:1 and can be reached from here"
    );
    let registry = need!(Registry::with_basic_auth("user", "secret"));
    let (host, name) = (registry.address(), registry.image("app"));
    kiln.ok(&["build", "-t", &name, "ctx"]);
    assert_eq!(
        last_lines(&kiln, &["push", &name], 2),
        format!(
            "Error: push access denied for {name}: unauthorized: authentication required\n\
             hint: log in with: kiln login {host}"
        )
    );
    assert_eq!(
        last_lines(&kiln, &["login", "-u", "user", "-p", "wrong", &host], 1),
        "Error: unauthorized: incorrect username or password"
    );
    // Who has a certificate for it speaks TLS with it.
    let directory = format!(".config/containers/certs.d/{host}");
    fs::create_dir_all(kiln.scratch.join(&directory)).unwrap();
    assert_eq!(
        last_lines(&kiln, &["pull", &name], 2),
        format!(
            "Error: https://{host}/v2/app/manifests/latest: the server speaks HTTP without TLS\n\
             hint: to use it without TLS, give it a [[registry]] with location = \"{host}\" and \
             insecure = true in registries.conf"
        )
    );
}

#[test]
fn images_and_archives_that_are_none() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    kiln.write("text", "FROM scratch\n");
    for (arguments, complaint) in [
        (
            &["run", "--rm", "app"][..],
            "kiln: no command specified\n\
             hint: the image has none; name one behind it, as in: kiln run app COMMAND",
        ),
        (
            &["load", "-i", "text"],
            "Error: text: the input is not an archive: unexpected end of file\n\
             hint: images are in what 'kiln save', 'docker save' or 'kiln build -o type=oci' wrote",
        ),
        (&["pull", ""], "Error: the name of an image is empty"),
        (
            &["run", "-v", "/data", "app"],
            "kiln: anonymous volumes are not supported yet: /data\n\
             hint: for a directory of the host write ./DIRECTORY:/data",
        ),
        (
            &["run", "--network", "front", "app"],
            "kiln: network front not found\n\
             hint: there are two: host, which is this machine's, and none",
        ),
        (
            &["ps", "--filter", "nome=x"],
            "Error: invalid filter 'nome'\n\
             hint: filters are KEY=VALUE with id, name, label, exited, status, ancestor",
        ),
        (
            &["build", "--output=", "ctx"],
            "ERROR: the output is empty: expected DIRECTORY, - or type=TYPE,...",
        ),
        (
            &["load", "-i", "missing"],
            "Error: open missing: No such file or directory",
        ),
    ] {
        let count = complaint.lines().count();
        assert_eq!(last_lines(&kiln, arguments, count), complaint);
    }
    // No question is asked about what cannot be done.
    let prune = ["cache", "prune", "--max-used-space", "much"];
    let ended = kiln.run_with("y\n", &prune);
    assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{ended:#?}");
    assert!(
        ended
            .stderr
            .starts_with("Error: invalid argument \"much\" for \"--max-used-space\" flag: "),
        "{ended:#?}"
    );
    // Its default tag is said once, not by the pull again.
    let ended = kiln.run(&["run", "127.0.0.1:1/none"]);
    assert_eq!(ended.code, 125);
    assert!(
        ended
            .stderr
            .starts_with("Unable to find image '127.0.0.1:1/none:latest' locally\nError: "),
        "{ended:#?}"
    );
}
