//! Text that others chose, and nothing in it that a terminal would obey.

use kiln_testbed::{Ended, Kiln, need};

use crate::program;

/// A screen cleared, a title set, colours hidden, a line overwritten, words reordered, in one byte
/// and in two.
const HOSTILE: &str = "\x1b[2J\x1b]0;owned\x07\x1b[8m\rx\x08\u{9b}2J\u{202e}\u{2066}";

/// Fails if a terminal would do anything but show what a command printed. Colours are no harm.
#[track_caller]
fn assert_harmless(ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        let found = text.char_indices().find(|(at, character)| {
            let is_colour = || {
                let rest = &text[at + character.len_utf8()..];
                let end = rest.find('m').unwrap_or(0);
                rest.starts_with('[')
                    && rest[1..end.max(1)]
                        .bytes()
                        .all(|b| b.is_ascii_digit() || b == b';')
            };
            match character {
                '\n' | '\t' => false,
                '\x1b' => !is_colour(),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
                other => other.is_control(),
            }
        });
        assert!(found.is_none(), "{found:?} in {text:?}");
    }
}

#[test]
fn a_hostile_build_prints_no_orders() {
    let kiln = need!(Kiln::for_builds(program()));
    let octal: String = HOSTILE
        .bytes()
        .map(|byte| format!("\\{byte:03o}"))
        .collect();
    kiln.write(format!("ctx/src/{HOSTILE}"), "1");
    kiln.dockerfile(&format!(
        "FROM scratch AS shell\nCOPY busybox /bin/sh\n\
         ARG who\nLABEL title=\"{HOSTILE}\"\nENV A=\"{HOSTILE}\"\n\
         COPY src /src\nRUN echo '{HOSTILE}'; printf '{octal}\\n\\033[31mred\\n'; echo $who\n\
         ENTRYPOINT [\"sh\", \"-c\", {}]\n",
        serde_json::Value::from(HOSTILE)
    ));
    let who = format!("who={HOSTILE}");
    for progress in ["plain", "rawjson"] {
        let arguments = [
            "build",
            "--no-cache",
            "--progress",
            progress,
            "--build-arg",
            &who,
            "-t",
            "hostile",
            "ctx",
        ];
        let built = kiln.run(&arguments);
        assert_eq!(built.code, 0, "{built:#?}");
        assert_harmless(&built);
        if progress == "plain" {
            // A colour is kept, and ends where its line does.
            assert!(built.stderr.contains("\x1b[31mred\x1b[0m\n"), "{built:#?}");
        }
    }
    kiln.write(format!("ctx/src/{HOSTILE}"), "2");
    for arguments in [
        &["build", "--plan", "ctx"][..],
        &["build", "--progress", "plain", "-t", "hostile", "ctx"],
        &["why"],
        &["why", "--json"],
        &["history", "hostile"],
        &["history", "--no-trunc", "hostile"],
        &["inspect", "hostile"],
        &[
            "inspect",
            "--format",
            "{{.Config.Labels}} {{json .Config.Env}}",
            "hostile",
        ],
        &["cache", "du"],
        &["cache", "du", "--verbose"],
        &["images", "--format", "{{json .}}"],
        &["build", "--call", "outline", "ctx"],
        &["build", "--check", "ctx"],
    ] {
        let ended = kiln.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:#?}");
        assert_harmless(&ended);
    }
    // What is shown instead is JSON's own way to write it.
    let labels: serde_json::Value = serde_json::from_str(&kiln.ok(&[
        "inspect",
        "--format",
        "{{json .Config.Labels}}",
        "hostile",
    ]))
    .unwrap();
    assert_eq!(labels["title"], HOSTILE);
}

#[test]
fn hostile_mistakes_print_no_orders() {
    let kiln = need!(Kiln::for_builds(program()));
    let many = format!("FROM scratch\n{HOSTILE} x\nCPOY {HOSTILE}\n");
    for dockerfile in [
        many.as_str(),
        &format!("FROM scratch\nCOPY --from={HOSTILE} a b\n"),
        &format!("FROM scratch\nCOPY {HOSTILE} /\n"),
        &format!("FROM {HOSTILE}\n"),
        &format!("FROM scratch\nCOPY busybox /bin/sh\nRUN echo '{HOSTILE}' >&2; exit 3\n"),
        &format!("FROM scratch\nADD http://127.0.0.1:1/{HOSTILE} /\n"),
    ] {
        kiln.dockerfile(dockerfile);
        for progress in ["plain", "quiet"] {
            let ended = kiln.run(&["build", "--progress", progress, "ctx"]);
            assert_ne!(ended.code, 0, "{ended:#?}");
            assert_harmless(&ended);
        }
    }
    for arguments in [
        &["inspect", HOSTILE][..],
        &["run", HOSTILE],
        &["build", "-f", HOSTILE, "ctx"],
        &["logs", HOSTILE],
        &[HOSTILE],
        &["images", "--filter", HOSTILE],
        &["pull", "127.0.0.1:1/x:y\x1b[2J"],
    ] {
        let ended = kiln.run(arguments);
        assert_ne!(ended.code, 0, "{arguments:?}: {ended:#?}");
        assert_harmless(&ended);
    }
}

/// Runs kiln with a terminal of its own; returns what the terminal got.
fn on_a_terminal(kiln: &Kiln, arguments: &str) -> Ended {
    let mut script = kiln.command();
    let program = script.get_program().to_owned();
    let environment: Vec<_> = script
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_owned()))
        .collect();
    script = std::process::Command::new("script");
    let command = format!("{} {arguments}", program.display());
    script
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env_clear()
        .envs(environment)
        .current_dir(kiln.scratch.path())
        .stdin(std::process::Stdio::null());
    script
        .output()
        .map(Ended::from)
        .expect("script(1) is there")
}

#[test]
fn a_container_orders_only_a_terminal_that_it_was_given() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("shell", "");
    let run = "--network host shell sh -c \"printf 'a\\\\r\\\\033[2Jb\\\\033[31mred\\\\n'\"";
    let raw = "a\r\x1b[2Jb\x1b[31mred\n";
    let tame = "a\rb\x1b[31mred\r\n\x1b[0m";

    let looked_at = on_a_terminal(&kiln, &format!("run --name one {run}"));
    assert_eq!(looked_at.stdout, tame, "{looked_at:#?}");
    assert_eq!(on_a_terminal(&kiln, "logs one").stdout, tame);
    assert_eq!(kiln.ok(&["logs", "one"]), raw.trim_end());
    let given = on_a_terminal(&kiln, &format!("run --rm -t {run}"));
    assert!(given.stdout.contains("\x1b[2Jb\x1b[31mred"), "{given:#?}");
}
