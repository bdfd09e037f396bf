//! Passwords: where they come from and where they go (docs/spec/cli.md 3.5).

use std::fs;

use insta::assert_snapshot;
use kiln_testbed::{Kiln, Registry, need};

use crate::commands::harness::masked;
use crate::program;

#[test]
fn passwords_come_from_standard_input() {
    let registry = need!(Registry::with_basic_auth("user", "secret"));
    let kiln = Kiln::new(program());
    let server = registry.address();
    kiln.knows(&registry);
    let login = |password: &str| {
        kiln.run_with(
            password,
            &["login", "-u", "user", "--password-stdin", &server],
        )
    };
    let ended = login("wrong\n");
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(ended.stderr.contains("nauthorized"), "{ended:#?}");
    assert!(!kiln.scratch.join(".docker/config.json").exists());
    let ended = login("secret\n");
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "Login Succeeded\n"),
        "{ended:#?}"
    );
    assert_snapshot!(masked(&kiln, &ended.stderr), @r"

    WARNING! Your credentials are stored unencrypted in '[DIR]/.docker/config.json'.
    Configure a credential helper to remove this warning. See
    https://docs.docker.com/go/credential-store/
    ");
    let stored = fs::read_to_string(kiln.scratch.join(".docker/config.json")).unwrap();
    assert!(stored.contains(&server), "{stored}");
    let text = kiln.ok(&["logout", &server]);
    assert_eq!(text, format!("Removing login credentials for {server}"));
    assert_eq!(
        kiln.ok(&["logout", &server]),
        format!("Not logged in to {server}")
    );
}

#[test]
fn missing_names_and_passwords_are_named() {
    let kiln = Kiln::new(program());
    for (arguments, message) in [
        (
            &["login"][..],
            "cannot perform an interactive login from a non-TTY device",
        ),
        (
            &["login", "--password-stdin"],
            "the --password-stdin option requires --username",
        ),
        (
            &["login", "-u", "a", "-p", "b", "--password-stdin"],
            "--password and --password-stdin are mutually exclusive",
        ),
        (
            &["login", "-u", "a", "--password-stdin"],
            "password is required",
        ),
    ] {
        let ended = kiln.run(arguments);
        assert_eq!(ended.code, 1, "{ended:#?}");
        assert!(ended.stderr.contains(message), "{ended:#?}");
    }
}
