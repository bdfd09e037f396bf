//! `testdata/node-app`: the Dockerfile that everybody writes first, with real packages.

use std::fs;
use std::process::Command;

use kiln_testbed::{Kiln, assert_no_leftovers, need, need_root};

use crate::acceptance::harness::{copy_of, is_cached, testdata};
use crate::program;

#[test]
fn unchanged_steps_are_not_run_again() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["node"]));
    let app = copy_of(&kiln, &testdata("node-app"), "app");
    let steps = ["COPY package.json /app", "RUN npm install", "COPY . /app"];
    let cached = |progress: &str| steps.map(|step| is_cached(progress, step));

    let first = kiln.build(&app, &["-t", "app"]);
    assert_eq!(cached(&first), [false, false, false], "{first}");
    let again = kiln.build(&app, &["-t", "app"]);
    assert_eq!(cached(&again), [true, true, true], "{again}");

    let source = fs::read_to_string(app.join("server.js")).unwrap();
    fs::write(app.join("server.js"), source.clone() + "// edited\n").unwrap();
    let edited = kiln.build(&app, &["-t", "app"]);
    assert_eq!(cached(&edited), [true, true, false], "{edited}");

    // Only times change: nothing runs.
    let touched = Command::new("find")
        .arg(&app)
        .args(["-exec", "touch", "-d", "2001-02-03", "{}", "+"])
        .status()
        .unwrap();
    assert!(touched.success());
    let touched = kiln.build(&app, &["-t", "app"]);
    assert_eq!(cached(&touched), [true, true, true], "{touched}");

    // A comment and a label execute nothing. The Dockerfile itself is part of `COPY . /app`, so
    // it is changed outside.
    let dockerfile = fs::read_to_string(app.join("Dockerfile")).unwrap();
    let outside = kiln.scratch.join("Dockerfile.labelled");
    fs::write(&outside, format!("# a comment\n{dockerfile}\nLABEL a=b\n")).unwrap();
    let labelled = kiln.build(&app, &["-t", "app", "-f", outside.to_str().unwrap()]);
    assert_eq!(cached(&labelled), [true, true, true], "{labelled}");
    let inspected = kiln.ok(&["inspect", "app"]);
    assert!(inspected.contains("\"a\": \"b\""), "{inspected}");

    let package = fs::read_to_string(app.join("package.json")).unwrap();
    fs::write(app.join("package.json"), package + "\n").unwrap();
    let changed = kiln.build(&app, &["-t", "app"]);
    assert_eq!(cached(&changed), [false, false, false], "{changed}");

    assert_no_leftovers(&kiln.state());
}

#[test]
fn a_pushed_image_is_pulled_and_run_elsewhere() {
    need!(need_root());
    let (here, registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let context = here.context(
        "context",
        &[(
            "Dockerfile",
            "FROM busybox\nENV GREETING=hello\nRUN echo made > /made\n\
             ENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"echo $GREETING; cat /made; exit 7\"]\n",
        )],
    );
    let name = registry.image("tests/app:v1");
    here.build(&context, &["-t", &name, "--push"]);
    // Another state directory knows nothing of it.
    let elsewhere = here.scratch.join("elsewhere");
    let output = here
        .command_on(&elsewhere)
        .args(["run", "--rm", &name])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\nmade\n");
    assert_no_leftovers(&elsewhere);
}
