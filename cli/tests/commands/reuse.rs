//! What a second build runs again, and what it finds done (docs/spec/dockerfile.md 12).

use std::collections::BTreeMap;

use kiln_testbed::{Kiln, need};

use crate::commands::harness::names;
use crate::program;

/// Builds `ctx` and says of each step, without its number, whether its result was there.
#[track_caller]
fn cached(kiln: &Kiln, arguments: &[&str]) -> BTreeMap<String, bool> {
    let all = [&["build", "--progress=plain"], arguments, &["ctx"]].concat();
    let ended = kiln.run(&all);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let steps = ended.stderr.lines().filter_map(|line| {
        let (number, name) = line.split_once(" [")?;
        let (place, text) = name.split_once("] ")?;
        let is_cached = ended.stderr.contains(&format!("\n{number} CACHED\n"));
        let stage = place.split_once(' ').map_or("", |(stage, _)| stage);
        (place != "internal").then(|| (format!("{stage} {text}").trim().to_owned(), is_cached))
    });
    steps.collect()
}

fn expected(steps: &[(&str, bool)]) -> BTreeMap<String, bool> {
    let steps = steps
        .iter()
        .map(|(name, is_cached)| ((*name).to_owned(), *is_cached));
    steps.collect()
}

#[test]
fn df_155_an_ignored_dockerfile_is_built_and_not_copied() {
    let kiln = Kiln::new(program());
    kiln.dockerfile("FROM scratch\nCOPY . /\n");
    kiln.write("ctx/kept", "k");
    kiln.write("ctx/.dockerignore", "Dockerfile\n.dockerignore\n");
    kiln.ok(&["build", "-o", "out", "ctx"]);
    assert_eq!(names(&kiln.scratch.join("out")), ["kept"]);
}

#[test]
fn df_162_an_argument_counts_from_where_it_is_declared() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nRUN echo before\nARG UNUSED\nRUN echo behind\n",
    );
    cached(&kiln, &["--build-arg=UNUSED=1"]);
    assert_eq!(
        cached(&kiln, &["--build-arg=UNUSED=2"]),
        expected(&[
            ("COPY busybox /bin/sh", true),
            ("RUN echo before", true),
            ("RUN echo behind", false),
        ])
    );
    // Both values are known now.
    let again = cached(&kiln, &["--build-arg=UNUSED=1"]);
    assert!(again.values().all(|is_cached| *is_cached), "{again:?}");
}

#[test]
fn df_163_labels_and_commands_run_nothing_again() {
    let kiln = need!(Kiln::for_builds(program()));
    let build = |further: &str, behind: &str| {
        kiln.dockerfile(&format!(
            "FROM scratch\nCOPY busybox /bin/sh\n{further}\nRUN echo one\n{behind}\n"
        ));
        cached(&kiln, &["-t", "app"])
    };
    build("LABEL a=1", "CMD [\"x\"]");
    let steps = build("LABEL a=2 b=3\nEXPOSE 80", "CMD [\"y\"]");
    assert_eq!(
        steps,
        expected(&[("COPY busybox /bin/sh", true), ("RUN echo one", true)])
    );
    assert_eq!(
        kiln.ok(&["inspect", "-f", "{{index .Config.Labels \"a\"}}", "app"]),
        "2"
    );
}

#[test]
fn df_165_some_stages_are_run_again() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch AS A\nCOPY busybox /bin/sh\nRUN echo a > /a\n\
         FROM scratch AS b\nCOPY busybox /bin/sh\nRUN echo b > /b\n\
         FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
    );
    cached(&kiln, &[]);
    let steps = cached(&kiln, &["--no-cache-filter=a"]);
    assert_eq!(steps.get("a RUN echo a > /a"), Some(&false), "{steps:?}");
    // The stage that copies is found again by what it copies. What both begin with is one step.
    let others = steps
        .iter()
        .filter(|(name, _)| !name.starts_with("a ") && !name.ends_with("COPY busybox /bin/sh"));
    let again: Vec<_> = others.filter(|(_, is_cached)| !**is_cached).collect();
    assert!(again.is_empty(), "{steps:?}");
}

/// Equal steps are one, and belong to every stage that has them.
#[test]
fn a_step_of_two_stages_is_run_again_for_either() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch AS a\nCOPY busybox /bin/sh\nRUN echo same > /f\n\
         FROM scratch AS b\nCOPY busybox /bin/sh\nRUN echo same > /f\n\
         FROM scratch\nCOPY --from=a /f /a\nCOPY --from=b /f /b\n",
    );
    cached(&kiln, &[]);
    for stage in ["a", "b"] {
        let steps = cached(&kiln, &[&format!("--no-cache-filter={stage}")]);
        let ran = steps.iter().filter(|(name, _)| name.contains("echo same"));
        let ran: Vec<_> = ran.map(|(_, is_cached)| *is_cached).collect();
        assert_eq!(ran, [false], "{stage}: {steps:?}");
    }
}

/// `make` goes by times: a file that the Dockerfile itself holds is as new as the build that made it.
#[test]
fn an_edited_heredoc_is_newer_than_what_was_made_of_it() {
    let kiln = need!(Kiln::for_builds(program()));
    let build = |text: &str| {
        kiln.dockerfile(&format!(
            "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\n\
             COPY <<EOF /source\n{text}\nEOF\n\
             RUN --mount=type=cache,target=/c \
             test -e /c/made || busybox touch -d 2020-01-01 /c/made; \
             if test /source -nt /c/made; then busybox cp /source /c/made; fi; \
             busybox touch -d 2020-01-01 /c/made; busybox cp /c/made /made\n"
        ));
        kiln.ok(&["build", "-o", "out", "ctx"]);
        std::fs::read_to_string(kiln.scratch.join("out/made")).unwrap()
    };
    assert_eq!(build("one"), "one\n");
    assert_eq!(build("two"), "two\n");
}
