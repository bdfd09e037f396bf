//! Command lines, good and bad (docs/spec/cli.md 0.1).

use insta::assert_snapshot;

use kiln_testbed::Kiln;

use crate::program;

#[test]
fn versions_are_one_line_and_touch_nothing() {
    let kiln = Kiln::new(program());
    for flags in [&["--version"][..], &["-v"]] {
        let text = kiln.ok(flags);
        let rest = text.strip_prefix(concat!("kiln version ", env!("CARGO_PKG_VERSION")));
        let commit = rest.and_then(|rest| rest.strip_prefix(", build "));
        // Made from an archive of its sources, kiln knows no commit.
        assert!(
            rest == Some("") || commit.is_some_and(|commit| commit.len() == 12),
            "{text}"
        );
        let shown = kiln.ok(&["version", "--format", "{{.Client.GitCommit}}"]);
        assert_eq!(commit.unwrap_or_default(), shown);
    }
    let version = kiln.ok(&["version", "--format", "{{.Server.Version}}"]);
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    assert!(!kiln.scratch.join("state").exists());
}

#[test]
fn every_command_has_help() {
    let kiln = Kiln::new(program());
    let help = kiln.ok(&["--help"]);
    assert_eq!(kiln.ok(&[]), help);
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next());
    let mut count = 0;
    for command in commands.filter(|command| *command != "help") {
        let text = kiln.ok(&[command, "--help"]);
        assert!(text.contains(&format!("Usage: kiln {command}")), "{text}");
        // Switches look like switches; only this one is on unless it is turned off.
        let text = text.replace("--human[=<BOOL>]", "--human");
        assert!(
            !text.contains("[=<") && !text.contains("see more"),
            "{text}"
        );
        count += 1;
    }
    assert!(count > 20, "{help}");
    let run = kiln.ok(&["run", "--help"]);
    assert!(run.contains("-m, --memory <BYTES>"), "{run}");
    assert!(!kiln.scratch.join("state").exists());
}

#[test]
fn man_pages_show_what_help_shows() {
    let kiln = Kiln::new(program());
    let pages = kiln.scratch.join("man");
    kiln.ok(&["man-pages", pages.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    let root = page("kiln.1");
    for line in kiln
        .ok(&["--help"])
        .lines()
        .filter(|line| line.starts_with("  "))
    {
        let command = line.split_whitespace().next().unwrap();
        if !command.starts_with('-') && command != "help" {
            assert!(root.contains(&format!("kiln\\-{command}(1)")), "{command}");
            assert!(
                pages.join(format!("kiln-{command}.1")).exists(),
                "{command}"
            );
        }
    }
    let prune = page("kiln-cache-prune.1");
    assert!(prune.contains("kiln cache prune") && prune.contains("max\\-used\\-space"));
    // What is hidden from help is hidden here.
    assert!(!root.contains("man\\-pages"));
    assert!(!page("kiln-build.1").contains("isolation"));
}

#[test]
fn aliases_are_the_same_commands() {
    let kiln = Kiln::new(program());
    for path in ["image build", "builder build", "buildx build"] {
        let words: Vec<&str> = path.split(' ').chain(["--help"]).collect();
        assert!(kiln.ok(&words).contains("--build-arg"), "{path}");
    }
    for path in [
        "image ls",
        "image list",
        "container ls",
        "container ps",
        "container list",
    ] {
        let words: Vec<&str> = path.split(' ').chain(["-q"]).collect();
        assert_eq!(kiln.ok(&words), "", "{path}");
    }
}

/// Flags end with 125, wrong counts and unknown commands with 1.
#[test]
fn mistakes_have_dockers_exit_codes() {
    let kiln = Kiln::new(program());
    for (words, code, message) in [
        ("build --sceret x .", 125, "unknown flag: --sceret"),
        ("build -Z .", 125, "unknown shorthand flag: -Z"),
        (
            "build --attest type=sbom .",
            125,
            "--attest=type=sbom is not supported yet",
        ),
        (
            "buildx build --logfile=x .",
            125,
            "--logfile is not supported yet",
        ),
        (
            "build --progress=fancy .",
            125,
            "hint: the values are auto, plain, tty, quiet, rawjson, none",
        ),
        ("build --destination=x .", 125, "hint: say -t NAME --push"),
        (
            "run --privileged x",
            125,
            "--privileged is not supported yet",
        ),
        (
            "build --pull=maybe .",
            125,
            "invalid value 'maybe' for '--pull'",
        ),
        (
            "build --progress=odd .",
            125,
            "invalid value 'odd' for '--progress <MODE>'",
        ),
        (
            "build --jobs 0 .",
            125,
            "invalid value '0' for '--jobs <N>'",
        ),
        ("build -o dest=x .", 125, "type is required for output"),
        ("build --ulimit x=1 .", 125, "invalid ulimit type: x"),
        (
            "build --network br0 .",
            125,
            "network mode \"br0\" not supported",
        ),
        ("build", 1, "'kiln build' requires 1 argument"),
        ("build a b", 1, "'kiln build' requires 1 argument"),
        ("rmi", 1, "'kiln rmi' requires at least 1 argument"),
        ("version x", 1, "'kiln version' accepts no arguments"),
        ("images x y", 1, "'kiln images' requires at most 1 argument"),
        ("biuld", 1, "'biuld' is not a kiln command"),
        ("image frob", 1, "'frob' is not a kiln image command"),
        (
            "build nowhere",
            1,
            "unable to prepare context: path \"nowhere\" not found",
        ),
        (
            "build --push .",
            1,
            "tag is needed when pushing to registry",
        ),
        ("run --rm --pull never nope", 125, "No such image: nope"),
        ("run --name - nope", 125, "Invalid container name (-)"),
        ("run --network br0 nope", 125, "network br0 not found"),
        (
            "run -v data:/x nope",
            125,
            "named volumes are not supported yet",
        ),
        ("logs nope", 1, "No such container: nope"),
        ("stop nope", 1, "No such container: nope"),
        ("rmi nope", 1, "No such image: nope"),
        ("history nope", 1, "No such image: nope"),
        ("tag nope x", 1, "No such image: nope"),
        ("tag nope X", 1, "must be lowercase"),
        ("images --filter age=1", 1, "invalid filter 'age'"),
        ("images --format {{", 1, "unclosed action"),
        ("inspect nope", 1, "No such object: nope"),
        ("inspect --format {{ nope", 64, "template parsing error"),
        ("completion tcl", 1, "no completion for shell \"tcl\""),
    ] {
        let ended = kiln.run(&words.split(' ').collect::<Vec<_>>());
        assert!(ended.stderr.contains(message), "{words}: {ended:#?}");
        assert_eq!(ended.code, code, "{words}: {ended:#?}");
    }
}

#[test]
fn mistakes_are_explained_with_usage() {
    let kiln = Kiln::new(program());
    assert_snapshot!(kiln.run(&["build", "--no-cach", "."]).stderr, @r"
    kiln: unknown flag: --no-cach
    Did you mean '--no-cache'?

    Usage:  kiln build [OPTIONS] PATH | URL | -

    Run 'kiln build --help' for more information
    ");
    assert_snapshot!(kiln.run(&["biuld"]).stderr, @r"
    kiln: 'biuld' is not a kiln command
    Did you mean 'build'?

    Usage:  kiln COMMAND

    Run 'kiln --help' for more information
    ");
}

/// It said that they are not supported, and left it at that.
#[test]
fn commands_of_docker_lead_to_those_of_kiln() {
    let kiln = Kiln::new(program());
    assert_snapshot!(kiln.run(&["exec", "-it", "web", "sh"]).stderr, @r"
    kiln: 'kiln exec' is not supported yet
    hint: start another container of the image with 'kiln run --rm -it IMAGE sh', with the same -v, or see what the first one does with 'kiln logs CONTAINER'

    Usage:  kiln COMMAND

    Run 'kiln --help' for more information
    ");
    let ports = "hint: a container has this machine's network, so what listens in it is reached";
    for flags in [
        &["-p", "80:80"][..],
        &["-dp80:80"],
        &["--publish=80:80"],
        &["-P"],
    ] {
        let ended = kiln.run(&[&["run"], flags, &["app"]].concat());
        assert_eq!(ended.code, 125);
        assert!(ended.stderr.contains(ports), "{ended:#?}");
    }
    let ended = kiln.run(&["prune"]);
    assert!(ended.stderr.contains("'kiln system prune'"), "{ended:#?}");
    assert!(!ended.stderr.contains("'run'"), "{ended:#?}");
}

#[test]
fn several_objects_are_all_tried() {
    let kiln = Kiln::new(program());
    let ended = kiln.run(&["rm", "one", "two"]);
    assert_eq!(
        ended.stderr,
        "Error: No such container: one\nError: No such container: two\n"
    );
    assert_eq!(ended.code, 1);
    // With force, what is missing is gone already.
    assert_eq!(kiln.ok(&["rm", "-f", "one", "two"]), "");
}

#[test]
fn completions_know_the_commands() {
    let kiln = Kiln::new(program());
    for shell in ["bash", "zsh", "fish"] {
        let script = kiln.ok(&["completion", shell]);
        assert!(script.contains("no-cache-filter"), "{shell}");
        assert!(!script.contains("container-monitor"), "{shell}");
    }
}

/// `docker top web` once led to `kiln stop web`.
#[test]
fn commands_of_docker_lead_to_no_other_command() {
    let kiln = Kiln::new(program());
    for line in [
        "top web",
        "port web",
        "restart web",
        "export web",
        "container update web",
        "container rename a b",
        "image import x.tar",
        "builder rm x",
        "system events",
    ] {
        let ended = kiln.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.code, 1, "{ended:#?}");
        assert!(
            ended.stderr.contains("is not supported yet\nhint: "),
            "{ended:#?}"
        );
        assert!(!ended.stderr.contains("Did you mean"), "{ended:#?}");
    }
    let ended = kiln.run(&["histroy"]);
    assert!(
        ended.stderr.contains("Did you mean 'history'?"),
        "{ended:#?}"
    );
}
