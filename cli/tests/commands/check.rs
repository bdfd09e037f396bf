//! Looking at Dockerfiles without building them: `--check` and `--call`
//! (docs/spec/cli.md 1.2, 1.11).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use regex::Regex;
use serde_json::{Value, json};

use kiln_testbed::{Ended, Kiln};

use crate::program;

/// Returns every Dockerfile below `testdata`, by its directory.
fn dockerfiles() -> Vec<PathBuf> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let mut pending = vec![testdata];
    let mut found = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                pending.push(path);
            } else if path.file_name().is_some_and(|name| name == "Dockerfile") {
                found.push(directory.clone());
            }
        }
    }
    found.sort();
    found
}

/// Checks a context as on a screen of 80 columns.
fn check(kiln: &Kiln, context: &Path) -> Ended {
    let output = kiln
        .command()
        .env("COLUMNS", "80")
        .args(["build", "--check"])
        .arg(context)
        .output();
    Ended::from(output.unwrap())
}

/// Makes empty images under the names that Dockerfiles start from, so that nothing is pulled.
fn make_bases(kiln: &Kiln, contexts: &[PathBuf]) {
    let mut names = BTreeSet::from(["busybox".to_owned()]);
    for context in contexts {
        let text = fs::read(context.join("Dockerfile")).unwrap();
        for line in String::from_utf8_lossy(&text).lines() {
            let mut words = line.split_whitespace();
            let is_from = words
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case("from"));
            let image = words.find(|word| !word.starts_with("--"));
            let is_name = |name: &&str| {
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || b"-:.0123456789".contains(&byte))
            };
            if let (true, Some(image)) = (is_from, image.filter(is_name))
                && image != "scratch"
            {
                names.insert(image.to_owned());
            }
        }
    }
    kiln.dockerfile("FROM scratch\nLABEL a=b\n");
    let mut arguments = vec!["build", "-q"];
    arguments.extend(names.iter().flat_map(|name| ["-t", name.as_str()]));
    arguments.push("ctx");
    kiln.ok(&arguments);
}

#[test]
fn df_172_every_dockerfile_of_the_testdata_reads_well_at_80_columns() {
    let kiln = Kiln::new(program());
    let contexts = dockerfiles();
    make_bases(&kiln, &contexts);
    let trailing_blank = Regex::new(r"(?m)[ \t]+$").unwrap();
    let mut pictures = String::new();
    for context in &contexts {
        let name = context.display().to_string();
        let (_, name) = name.rsplit_once("testdata/").unwrap();
        let ended = check(&kiln, context);
        let is_fine = ended.stdout == "Check complete, no warnings found.\n";
        let is_wrong = ended.stderr.contains("ERROR: failed to build: ");
        assert_eq!(
            ended.code,
            i32::from(!is_fine || is_wrong),
            "{name}: {ended:#?}"
        );
        // Excerpts are the user's own.
        let prose = ended.stdout.lines().filter(|line| !line.contains(" | "));
        for line in prose {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        // The conformance cases are about other things, and many.
        if !name.starts_with("conformance/") {
            let shown = trailing_blank.replace_all(&ended.stdout, "");
            pictures.push_str(&format!("######## {name}\n{shown}\n"));
        }
    }
    assert_snapshot!(pictures);
}

const STAGES: &str = "\
# VERSION is what is built
ARG VERSION=1
ARG UNUSED=1
ARG TAG=v$VERSION

# base has the tools
FROM scratch AS base
ARG TAG
ARG PROXY
RUN --mount=type=secret,id=key,required=true --mount=type=secret,id=extra [\"x\"]
RUN --mount=type=ssh [\"x\"]

FROM scratch AS Unused
RUN --mount=type=secret,id=other [\"x\"]

# not about the stage
FROM --platform=$BUILDPLATFORM base
# MODE is how
ARG MODE=fast EXTRA
";

fn json_of(kiln: &Kiln, call: &str) -> Value {
    let ended = kiln.run(&["build", "--call", call, "--build-arg", "PROXY=p", "ctx"]);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"))
}

/// Returns names and the lines they stand on.
fn names(list: &Value) -> Vec<(String, u64)> {
    let list = list.as_array().unwrap().iter();
    list.map(|entry| {
        let name = entry["name"].as_str().unwrap_or_default().to_owned();
        let line = &entry["location"]["ranges"][0]["start"]["line"];
        (name, line.as_u64().unwrap())
    })
    .collect()
}

#[test]
fn outlines_say_what_a_build_can_be_given() {
    let kiln = Kiln::new(program());
    kiln.dockerfile(STAGES);
    assert_snapshot!(kiln.ok(&["build", "--call=outline", "--build-arg=PROXY=p", "ctx"]), @r"
    BUILD ARG   VALUE     DESCRIPTION
    VERSION     1         is what is built
    TAG         v1
    PROXY       p
    MODE        fast      is how
    EXTRA

    SECRET    REQUIRED
    key       true
    extra

    SSH       REQUIRED
    default
    ");
    assert_snapshot!(kiln.ok(&["build", "--call=outline", "--target=base", "ctx"]), @r"
    TARGET:      base
    DESCRIPTION: has the tools

    BUILD ARG   VALUE     DESCRIPTION
    VERSION     1         is what is built
    TAG         v1
    PROXY

    SECRET    REQUIRED
    key       true
    extra

    SSH       REQUIRED
    default
    ");
    let outline = json_of(&kiln, "outline,format=json");
    let own = |name: &str, line| (name.to_owned(), line);
    let arguments = ["VERSION", "TAG", "PROXY", "MODE", "EXTRA"]
        .into_iter()
        .zip([2, 4, 9, 19, 19]);
    let arguments: Vec<_> = arguments.map(|(name, line)| own(name, line)).collect();
    assert_eq!(names(&outline["args"]), arguments);
    assert_eq!(outline["args"][1]["value"], "v1");
    assert_eq!(outline["args"][0]["description"], "is what is built");
    assert_eq!(outline["args"][4].get("value"), None);
    assert_eq!(
        names(&outline["secrets"]),
        [own("key", 10), own("extra", 10)]
    );
    assert_eq!(outline["secrets"][0]["required"], true);
    assert_eq!(outline["secrets"][1].get("required"), None);
    assert_eq!(names(&outline["ssh"]), [own("default", 11)]);
    assert_eq!(outline["sources"].as_array().unwrap().len(), 1);
    assert_eq!(outline.get("name"), None);
}

/// What a stage takes over cannot be given, unless it is.
#[test]
fn outlines_leave_out_what_is_only_taken_over() {
    let kiln = Kiln::new(program());
    kiln.dockerfile(
        "ARG GLOBAL=g\nFROM scratch\nARG TARGETARCH BUILDPLATFORM\nARG GLOBAL\nARG OWN TARGETOS=x\n",
    );
    assert_snapshot!(kiln.ok(&["build", "--call=outline", "ctx"]), @r"
    BUILD ARG   VALUE     DESCRIPTION
    GLOBAL      g
    OWN
    TARGETOS    x
    ");
    let given = ["build", "--call=outline", "--build-arg=TARGETARCH=a", "ctx"];
    assert!(kiln.ok(&given).contains("\nTARGETARCH "));
}

/// What the message of an error suggests, programs read too.
#[test]
fn suggestions_are_part_of_messages() {
    let kiln = Kiln::new(program());
    kiln.dockerfile("FROM --platform=$TARGTPLATFORM scratch\n");
    let ended = kiln.run(&["build", "--call=check,format=json", "ctx"]);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        found["buildError"]["message"],
        "empty platform value from expression $TARGTPLATFORM (did you mean TARGETPLATFORM?)"
    );
    assert_eq!(found["warnings"][0]["ruleName"], "UndefinedArgInFrom");
}

#[test]
fn targets_are_the_stages() {
    let kiln = Kiln::new(program());
    kiln.dockerfile(STAGES);
    assert_snapshot!(kiln.ok(&["build", "--call=targets", "ctx"]), @r"
    TARGET      DESCRIPTION
    base        has the tools
    unused
    (default)
    ");
    let targets = json_of(&kiln, "targets,format=json");
    assert_eq!(targets["targets"][0]["description"], "has the tools");
    assert_eq!(targets["targets"][1]["name"], "unused");
    assert_eq!(
        targets["targets"][2],
        json!({
            "default": true,
            "base": "base",
            "platform": "$BUILDPLATFORM",
            "location": { "ranges": [{ "start": { "line": 17 }, "end": { "line": 17 } }] },
        })
    );
    let methods = json_of(&kiln, "subrequests.describe,format=json");
    let methods = methods
        .as_array()
        .unwrap()
        .iter()
        .map(|method| method["name"].as_str().unwrap());
    assert_eq!(
        methods.collect::<Vec<_>>(),
        [
            "frontend.outline",
            "frontend.targets",
            "frontend.lint",
            "frontend.subrequests.describe"
        ]
    );
    let table = kiln.ok(&["build", "--call=subrequests.describe", "ctx"]);
    assert!(table.starts_with("NAME "), "{table}");
}

#[test]
fn findings_come_as_json_and_in_the_metadata_file() {
    let kiln = Kiln::new(program());
    kiln.dockerfile("FROM scratch AS Base\nCMD echo \\\n  a\n");
    let ended = kiln.run(&[
        "build",
        "--call=check,format=json",
        "--metadata-file=meta",
        "ctx",
    ]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    let warnings = found["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 2);
    assert_eq!(warnings[1]["ruleName"], "JSONArgsRecommended");
    assert_eq!(
        warnings[1]["location"]["ranges"].as_array().unwrap().len(),
        2
    );
    assert_eq!(found["sources"][0]["filename"], "Dockerfile");
    assert_eq!(found.get("buildError"), None);
    let metadata = fs::read(kiln.scratch.join("meta")).unwrap();
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    assert_eq!(metadata["result.json"], found);
    let ended = kiln.run(&["build", "--call=check,ignorestatus", "ctx"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
}

#[test]
fn df_171_df_172_skips_and_statuses() {
    let kiln = Kiln::new(program());
    let check = |dockerfile: &str, arguments: &[&str]| {
        kiln.dockerfile(dockerfile);
        let ended = kiln.run(&[&["build", "--check"], arguments, &["ctx"]].concat());
        let warnings = ended
            .stdout
            .lines()
            .filter(|line| line.starts_with("WARNING: "));
        let rules = warnings.map(|line| line.split(' ').nth(1).unwrap().to_owned());
        (ended.code, rules.collect::<Vec<_>>().join(" "))
    };
    let some = |code, rules: &str| (code, rules.to_owned());
    let text = "FROM scratch as a\nMAINTAINER me\n";
    assert_eq!(
        check(text, &[]),
        some(1, "FromAsCasing MaintainerDeprecated")
    );
    assert_eq!(
        check(&format!("# check=skip=all\n{text}"), &[]),
        some(0, "")
    );
    assert_eq!(
        check(&format!("# check=skip=FromAsCasing,Unknown\n{text}"), &[]),
        some(1, "MaintainerDeprecated")
    );
    let one =
        "FROM scratch as a\n# check=skip=MaintainerDeprecated\nMAINTAINER me\nMAINTAINER you\n";
    assert_eq!(
        check(one, &[]),
        some(1, "FromAsCasing MaintainerDeprecated")
    );
    let replaced = ["--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=MaintainerDeprecated"];
    assert_eq!(
        check(&format!("# check=skip=all\n{text}"), &replaced),
        some(1, "FromAsCasing")
    );
    // All stages count unless one is named.
    let stages = "FROM scratch AS a\nCMD x\nFROM scratch AS b\n";
    assert_eq!(check(stages, &[]), some(1, "JSONArgsRecommended"));
    assert_eq!(check(stages, &["--target=b"]), some(0, ""));
    // Errors are reported beside the findings before them.
    kiln.dockerfile("FROM scratch as a\nFROM a\nEXPOSE 80/foo\n");
    let ended = kiln.run(&["build", "--check", "ctx"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended
            .stdout
            .starts_with("Check complete, 1 warning has been found!\n"),
        "{ended:#?}"
    );
    assert!(
        ended.stderr.contains("   3 | >>> EXPOSE 80/foo\n"),
        "{ended:#?}"
    );
    kiln.dockerfile("FORM scratch\n");
    let ended = kiln.run(&["build", "--check", "ctx"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
}

#[test]
fn df_170_only_stages_that_are_built_fail_a_build() {
    let kiln = Kiln::new(program());
    kiln.dockerfile(
        "# check=error=true\nFROM scratch AS a\nMAINTAINER me\nFROM scratch AS b\nLABEL a=b\n",
    );
    let ended = kiln.run(&["build", "ctx"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(ended.stderr.contains("MaintainerDeprecated"), "{ended:#?}");
    let ended = kiln.run(&["build", "--target=a", "ctx"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.ends_with(
            "ERROR: failed to build: lint violation found for rules: MaintainerDeprecated\n"
        ),
        "{ended:#?}"
    );
    // Nothing was begun.
    assert!(!ended.stderr.contains("[internal] load build context"));
}

#[test]
fn calls_that_are_none_are_refused() {
    let kiln = Kiln::new(program());
    kiln.dockerfile("FROM scratch\n");
    for arguments in [
        ["--call=chekc", "-q"],
        ["--call=check,format=xml", "-q"],
        ["--call=outline", "--check"],
    ] {
        let ended = kiln.run(&["build", arguments[0], arguments[1], "ctx"]);
        assert_eq!(ended.code, 125, "{ended:#?}");
    }
    kiln.ok(&["build", "--call=build", "ctx"]);
}

/// Docker refuses to run what BuildKit and kiln build of it.
#[test]
fn more_layers_than_docker_runs_are_found() {
    let kiln = Kiln::new(program());
    let copies = |count: usize| format!("FROM scratch\n{}", "COPY file /\n".repeat(count));
    kiln.write("many/file", "content");
    for (count, lines) in [(127, 0), (128, 1)] {
        kiln.write("many/Dockerfile", &copies(count));
        let found = check(&kiln, &kiln.scratch.join("many"));
        let text = found.stdout.matches("TooManyLayers").count();
        assert_eq!(text, lines, "{found:#?}");
    }
    let skipped = format!("# check=skip=TooManyLayers\n{}", copies(128));
    kiln.write("many/Dockerfile", &skipped);
    let found = check(&kiln, &kiln.scratch.join("many"));
    assert_eq!(found.code, 0, "{found:#?}");
}
