//! What the last build did, why, and what the next one would do.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kiln_testbed::{Kiln, need};
use serde_json::Value;

use crate::commands::harness::{masked, names};
use crate::program;

/// A stage with a shell, and what follows.
const SHELL: &str = "FROM scratch\nCOPY busybox /bin/sh\n";

/// What became of a step, and why.
type Step = (String, Vec<String>);

/// Builds `ctx` and says of each step, by its text, what became of it.
#[track_caller]
fn built(kiln: &Kiln, arguments: &[&str]) -> BTreeMap<String, Step> {
    let all = [&["build", "-q"], arguments, &["ctx"]].concat();
    kiln.ok(&all);
    steps(kiln)
}

/// Returns what the last build did.
#[track_caller]
fn steps(kiln: &Kiln) -> BTreeMap<String, Step> {
    let build: Value = serde_json::from_str(&kiln.ok(&["why", "--json"])).unwrap();
    let steps = build["steps"].as_array().unwrap().iter().map(|step| {
        let name = step["name"].as_str().unwrap();
        let (_, text) = name.split_once("] ").unwrap();
        let because = step["because"].as_array().unwrap().iter();
        let because = because.map(|reason| reason["text"].as_str().unwrap().to_owned());
        let outcome = step["outcome"].as_str().unwrap().to_owned();
        (text.to_owned(), (outcome, because.collect()))
    });
    steps.collect()
}

fn ran(because: &[&str]) -> Step {
    let because = because.iter().map(|&text| text.to_owned());
    ("ran".to_owned(), because.collect())
}

fn hit() -> Step {
    ("hit".to_owned(), Vec::new())
}

#[test]
fn a_file_of_another_mode_says_so() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(&format!("{SHELL}COPY src /src\n"));
    kiln.write("ctx/src/run.sh", "1");
    let mode = |mode| {
        let path = kiln.scratch.join("ctx/src/run.sh");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    built(&kiln, &[]);
    mode(0o755);
    let steps = built(&kiln, &[]);
    assert_eq!(
        steps["COPY src /src"],
        ran(&["src/run.sh changed its mode from 0644 to 0755"])
    );
}

#[test]
fn the_same_dockerfile_elsewhere_is_compared_with() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(&format!("{SHELL}COPY src /src\nRUN ls /src\n"));
    kiln.write("ctx/src/a", "1");
    built(&kiln, &[]);
    kiln.write("ctx/src/a", "2");
    // A copy of the project whose files differ.
    let other = kiln.scratch.join("other");
    fs::create_dir_all(other.join("src")).unwrap();
    for file in ["Dockerfile", "busybox", "src/a"] {
        fs::copy(kiln.scratch.join("ctx").join(file), other.join(file)).unwrap();
    }
    kiln.ok(&["build", "-q", "other"]);
    let steps = steps(&kiln);
    assert_eq!(steps["COPY busybox /bin/sh"].0, "hit");
    assert_eq!(steps["COPY src /src"], ran(&["src/a changed"]));
    let why = kiln.ok(&["why"]);
    let headline = why.lines().next().unwrap();
    assert!(headline.contains("compared with"), "{why}");
    assert!(
        headline.contains("ctx/Dockerfile, which has the same steps"),
        "{why}"
    );
}

#[test]
fn changed_files_are_named() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(&format!(
        "{SHELL}COPY src /src\nCOPY *.txt notes/ /notes/\nRUN ls /src\n"
    ));
    kiln.write("ctx/src/app.js", "1");
    kiln.write("ctx/src/lib/a.js", "1");
    kiln.write("ctx/src/lib/b.js", "1");
    kiln.write("ctx/one.txt", "1");
    kiln.write("ctx/two.txt", "1");
    kiln.write("ctx/notes/n", "1");
    let first = built(&kiln, &[]);
    assert_eq!(first["COPY src /src"], ran(&["never built before"]));
    let again = built(&kiln, &[]);
    assert_eq!(again["RUN ls /src"], hit());
    assert_eq!(again["COPY src /src"].0, "not-needed");

    kiln.write("ctx/src/app.js", "2");
    let steps = built(&kiln, &[]);
    assert_eq!(steps["COPY src /src"], ran(&["src/app.js changed"]));
    let before = steps["COPY *.txt notes/ /notes/"].1.join("\n");
    assert_eq!(
        before,
        "the step before it came out differently: [2/4] COPY src /src"
    );
    let before = steps["RUN ls /src"].1.join("\n");
    assert!(
        before.starts_with("the step before it came out differently: [3/4]"),
        "{before}"
    );

    kiln.write("ctx/src/lib/a.js", "2");
    kiln.write("ctx/src/lib/c.js", "1");
    fs::remove_file(kiln.scratch.join("ctx/src/lib/b.js")).unwrap();
    kiln.write("ctx/one.txt", "2");
    fs::remove_file(kiln.scratch.join("ctx/two.txt")).unwrap();
    let touched = fs::File::options();
    let touched = touched
        .clone()
        .append(true)
        .open(kiln.scratch.join("ctx/notes/n"));
    touched
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    let steps = built(&kiln, &[]);
    assert_eq!(
        steps["COPY src /src"],
        ran(&["src/lib/a.js changed, src/lib/b.js deleted, src/lib/c.js added"])
    );
    // Where the deleted one came from, two arguments might tell: its place in the image remains.
    assert_eq!(
        steps["COPY *.txt notes/ /notes/"].1[0],
        "one.txt changed, /notes/two.txt deleted"
    );
}

#[test]
fn files_of_stages_are_named_too() {
    let kiln = need!(Kiln::for_builds(program()));
    let dockerfile = |text: &str| {
        kiln.dockerfile(&format!(
            "FROM scratch AS build\nCOPY busybox /bin/sh\nRUN mkdir /out && echo same > /out/same\n\
             RUN echo {text} > /out/app\n{SHELL}COPY --from=build /out /app\n\
             RUN --mount=from=build,source=/out,target=/in cat /in/app\n"
        ));
    };
    dockerfile("1");
    built(&kiln, &[]);
    dockerfile("2");
    let steps = built(&kiln, &[]);
    assert_eq!(
        steps["RUN echo 2 > /out/app"],
        ran(&["command was echo 1 > /out/app, now echo 2 > /out/app"])
    );
    assert_eq!(
        steps["COPY --from=build /out /app"],
        ran(&["stage \"build\" came out differently: /out/app changed"])
    );
    let mounted = &steps["RUN --mount=from=build,source=/out,target=/in cat /in/app"];
    assert_eq!(mounted.1[0], "stage \"build\" came out differently");
    // What a changed command leaves as it was lets everything behind it hit.
    let dockerfile = kiln.scratch.join("ctx/Dockerfile");
    let text = fs::read_to_string(&dockerfile).unwrap();
    fs::write(
        &dockerfile,
        text.replace("RUN echo 2", "RUN  printf '2\\n'"),
    )
    .unwrap();
    let steps = built(&kiln, &[]);
    assert_eq!(steps["COPY --from=build /out /app"].0, "found", "{steps:?}");
}

#[test]
fn dockerfile_and_command_line_are_compared() {
    let kiln = need!(Kiln::for_builds(program()));
    let dockerfile = |inserted: &str, user: &str| {
        kiln.dockerfile(&format!(
            "{SHELL}ARG VERSION=1.2\nENV MODE=fast\n{inserted}RUN echo $VERSION\n{user}RUN echo end\n"
        ));
    };
    dockerfile("", "");
    built(&kiln, &[]);
    let steps = built(&kiln, &["--build-arg=VERSION=1.3"]);
    assert_eq!(
        steps["RUN echo 1.3"],
        ran(&["ARG VERSION was 1.2, now 1.3"])
    );
    dockerfile("RUN echo new\n", "USER 5\n");
    let steps = built(&kiln, &["--build-arg=VERSION=1.3"]);
    assert_eq!(steps["RUN echo new"], ran(&["never built before"]));
    // A command that changes nothing leaves the same layer.
    assert_eq!(steps["RUN echo end"].1[0], "user is new: 5");
    let steps = built(&kiln, &["--no-cache"]);
    assert_eq!(steps["RUN echo new"], ran(&["--no-cache"]));
    let steps = built(&kiln, &["--no-cache-filter=stage-0,0"]);
    assert!(
        steps["RUN echo new"].1[0].starts_with("--no-cache-filter="),
        "{steps:?}"
    );
}

#[test]
fn a_base_that_moved_is_named() {
    let kiln = need!(Kiln::for_builds(program()));
    let base = |text: &str, name: &str| {
        kiln.dockerfile(&format!(
            "{SHELL}LABEL of={text}\nRUN echo {text} > /base\n"
        ));
        kiln.ok(&["build", "-q", "-t", name, "ctx"]);
        kiln.ok(&["inspect", "-f", "{{.Id}}", name]);
    };
    let child = |base: &str| {
        kiln.write("child/Dockerfile", &format!("FROM {base}\nRUN cat /base\n"));
        kiln.ok(&["build", "-q", "child"]);
        steps(&kiln)
    };
    base("1", "base:1");
    child("base:1");
    base("2", "base:1");
    let because = child("base:1")["RUN cat /base"].1.join("\n");
    assert!(
        because.starts_with("base base:1 moved from sha256:"),
        "{because}"
    );
    base("3", "other");
    let because = child("other")["RUN cat /base"].1.join("\n");
    assert_eq!(because, "base was base:1, now other:latest");
}

#[test]
fn lost_layers_and_records_are_told() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(&format!("{SHELL}RUN echo a > /a\n"));
    built(&kiln, &[]);
    let state = kiln.scratch.join("state");
    fs::remove_dir_all(state.join("layers")).unwrap();
    let steps = built(&kiln, &[]);
    let gone = ran(&["its layer was missing from the store"]);
    assert_eq!(steps["COPY busybox /bin/sh"], gone);
    assert_eq!(steps["RUN echo a > /a"], gone);

    let actions = state.join("actions");
    let keys: Vec<String> = names(&actions)
        .iter()
        .flat_map(|shard| names(&actions.join(shard)))
        .collect();
    fs::remove_dir_all(&actions).unwrap();
    let steps = built(&kiln, &[]);
    let gone = ran(&["its last result is not in the cache any more"]);
    assert_eq!(steps["RUN echo a > /a"], gone);

    fs::remove_dir_all(&actions).unwrap();
    let lines = keys
        .iter()
        .map(|key| format!("{key} 1795000000 the 10 GB limit\n"));
    fs::write(state.join("tombstones"), lines.collect::<String>()).unwrap();
    let steps = built(&kiln, &[]);
    let evicted = ran(&["evicted on 2026-11-18 because of the 10 GB limit"]);
    assert_eq!(steps["RUN echo a > /a"], evicted);
}

#[test]
fn another_platform_is_a_first_time() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(&format!("{SHELL}RUN echo a > /a\n"));
    built(&kiln, &["--platform=linux/amd64"]);
    let steps = built(&kiln, &["--platform=linux/arm64"]);
    assert_eq!(steps["COPY busybox /bin/sh"].0, "hit");
    assert_eq!(
        steps["RUN echo a > /a"],
        ran(&["never built on linux/arm64"])
    );
}

#[test]
fn a_failed_build_is_remembered_and_loses_nothing() {
    let kiln = need!(Kiln::for_builds(program()));
    let dockerfile = |middle: &str| {
        kiln.dockerfile(&format!(
            "{SHELL}RUN true\nARG V=1\nRUN {middle}\nRUN echo $V\n"
        ));
    };
    dockerfile("echo ok");
    built(&kiln, &[]);
    dockerfile("exit 3");
    assert_eq!(kiln.run(&["build", "-q", "ctx"]).code, 1);
    let failed = steps(&kiln);
    assert_eq!(failed["RUN true"].0, "hit");
    let because = vec!["command was echo ok, now exit 3".to_owned()];
    assert_eq!(failed["RUN exit 3"], ("failed".to_owned(), because));
    assert_eq!(failed["RUN echo 1"], ("not-reached".to_owned(), Vec::new()));
    let text = kiln.ok(&["why"]);
    assert!(text.contains("It failed: "), "{text}");
    // The last step is still compared with the last time that it ran. What it stands on is the
    // same: neither command left anything behind.
    dockerfile("echo fine");
    let steps = built(&kiln, &["--build-arg=V=2"]);
    assert_eq!(steps["RUN echo 2"].1, ["ARG V was 1, now 2"]);
}

#[test]
fn people_get_lines_and_details() {
    let kiln = need!(Kiln::for_builds(program()));
    let ended = kiln.run(&["why"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert_eq!(ended.stderr, "Error: no build is remembered here\n");
    kiln.dockerfile(&format!("{SHELL}COPY many /many\nRUN echo a > /a\n"));
    for number in 0..12 {
        kiln.write(format!("ctx/many/{number:02}"), "1");
    }
    built(&kiln, &[]);
    for number in 0..12 {
        kiln.write(format!("ctx/many/{number:02}"), "2");
    }
    kiln.write("ctx/many/new", "1");
    built(&kiln, &[]);
    let age = regex::Regex::new(r"(less than a|\d+) seconds? ago").unwrap();
    let text = masked(&kiln, &kiln.ok(&["why"]));
    insta::assert_snapshot!(age.replace(&text, "[AGE] ago"), @r"
    Built [DIR]/ctx/Dockerfile [AGE] ago in [TIME]: 2 of 3 steps ran

    = [1/3] COPY busybox /bin/sh  hit
    * [2/3] COPY many /many  ran [TIME]
        many/00 changed, many/01 changed, many/02 changed and 10 more files
    * [3/3] RUN echo a > /a  ran [TIME]
        the step before it came out differently: [2/3] COPY many /many
    ");
    insta::assert_snapshot!(masked(&kiln, &kiln.ok(&["why", ":3"])), @r"
    * [2/3] COPY many /many  ran [TIME]
        many/00 changed
        many/01 changed
        many/02 changed
        many/03 changed
        many/04 changed
        many/05 changed
        many/06 changed
        many/07 changed
        many/08 changed
        many/09 changed
        and 3 more files
    ");
    assert_eq!(
        kiln.run(&["why", "nonsense"]).stderr,
        "Error: the build has no step \"nonsense\"\n\
         hint: it has these; name one by its number, its stage, :LINE or a part of it:\n\
         [1/3] COPY busybox /bin/sh\n[2/3] COPY many /many\n[3/3] RUN echo a > /a\n"
    );
    // Other builds can be asked for.
    kiln.write("other/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    kiln.ok(&["build", "-q", "other"]);
    assert!(kiln.ok(&["why"]).contains("COPY Dockerfile /"));
    for choice in [["--context", "ctx"], ["-f", "ctx/Dockerfile"]] {
        assert!(
            kiln.ok(&[&["why"], &choice[..]].concat())
                .contains("COPY many")
        );
    }
    let ended = kiln.run(&["why", "--context", "nowhere"]);
    assert!(
        ended
            .stderr
            .starts_with("Error: no build of that is remembered here\n")
    );
}

#[test]
fn a_plan_says_what_would_run_and_runs_nothing() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(&format!(
        "FROM scratch AS build\nCOPY busybox /bin/sh\nCOPY src /src\nRUN cat /src/a > /made\n\
         {SHELL}RUN echo aside\nCOPY --from=build /made /made\n"
    ));
    kiln.write("ctx/src/a", "1");
    let plan = || {
        masked(
            &kiln,
            &kiln.ok(&["build", "--plan", "--progress=quiet", "ctx"]),
        )
    };
    insta::assert_snapshot!(plan(), @r"
    * [build 1/3] COPY busybox /bin/sh  would run
        never built before
    * [build 2/3] COPY src /src  would run
        never built before
    * [build 3/3] RUN cat /src/a > /made  would run
        never built before
    * [stage-1 2/3] RUN echo aside  would run
        never built before
    * [stage-1 3/3] COPY --from=build /made /made  would run
        never built before

    5 steps would run.
    ");
    let state = kiln.scratch.join("state");
    for made in ["actions", "builds", "layers", "refs"] {
        assert!(!state.join(made).exists(), "{made}");
    }
    built(&kiln, &[]);
    insta::assert_snapshot!(plan(), @r"
    - [build 1/3] COPY busybox /bin/sh  not needed
    - [build 2/3] COPY src /src  not needed
    - [build 3/3] RUN cat /src/a > /made  not needed
    - [stage-1 2/3] RUN echo aside  not needed
    = [stage-1 3/3] COPY --from=build /made /made  hit

    Nothing would run: every result is there.
    ");
    kiln.write("ctx/src/a", "2");
    let records = names(&state.join("actions"));
    insta::assert_snapshot!(plan(), @r"
    = [build 1/3] COPY busybox /bin/sh  hit
    * [build 2/3] COPY src /src  would run, [TIME] last time
        src/a changed
    ? [build 3/3] RUN cat /src/a > /made  unknown until [build 2/3] ran, [TIME] last time
    = [stage-1 2/3] RUN echo aside  hit
    ? [stage-1 3/3] COPY --from=build /made /made  unknown until [build 2/3] ran, [TIME] last time

    1 step would run ([TIME] last time), 2 more may ([TIME] last time).
    ");
    assert_eq!(names(&state.join("actions")), records);
    // What it said comes true.
    let steps = built(&kiln, &[]);
    assert_eq!(steps["COPY src /src"], ran(&["src/a changed"]));
    assert_eq!(steps["RUN echo aside"].0, "hit");
}
