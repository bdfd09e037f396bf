//! The same files and the same config as `buildah bud` makes of the same input.
//!
//! Where the two builders differ, the difference is listed here with its reason; anything else
//! fails the test.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_testbed::{
    Buildah, Scratch, Skip, differences, image_tree, need, need_root, run, run_and_read,
};
use serde_json::Value;

use crate::harness::{Kiln, testdata};

/// Files on which buildah and kiln (which follows BuildKit) disagree: the context, or `*` for all,
/// a part of the listing's line, and why.
const EXPECTED: &[(&str, &str, &str)] = &[
    (
        "*",
        " etc/hostname ",
        "buildah leaves the mount points that it made in the image",
    ),
    ("*", " etc/hosts ", "the same"),
    ("*", " etc/resolv.conf ", "the same"),
    ("*", "+ run directory ", "the same"),
    (
        "ownership",
        " modes directory ",
        "an octal --chmod reaches directories that COPY makes; in buildah it does not",
    ),
    (
        "user-workdir",
        " srv/app directory ",
        "buildah gives directories that WORKDIR made to the owner of a later COPY",
    ),
    (
        "user-workdir",
        " srv/app/data/~ directory ",
        "a directory that WORKDIR makes belongs to the user's group too; in buildah to root's",
    ),
    (
        "user-workdir",
        " stat file ",
        "lists the two directories above",
    ),
];

#[test]
fn twelve_contexts_give_the_image_that_buildah_makes() {
    need!(need_root());
    let kiln = need!(Kiln::with_bases(&["busybox", "debian"]));
    let buildah = need!(Buildah::new(Some(kiln.registry())));
    let mut problems = Vec::new();
    for name in [
        "archives",
        "deletions",
        "dockerignore",
        "links",
        "multi-stage",
        "onbuild",
        "ownership",
        "runtime-config",
        "user-workdir",
        "variables",
        "volumes",
        "wildcard-copy",
    ] {
        let found = need!(compare(&kiln, &buildah, name));
        problems.extend(found.into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn compare(kiln: &Kiln, buildah: &Buildah, name: &str) -> Result<Vec<String>, Skip> {
    let context = testdata(&format!("parity/{name}"));
    let layouts = Scratch::new();
    let ours = layouts.join("ours");
    kiln.build(
        &context,
        &[
            "-t",
            "parity:ours",
            "-o",
            &format!("type=oci,tar=false,dest={}", ours.display()),
        ],
    );
    run(&mut buildah.build(&context, &format!("parity-{name}")));
    let theirs = layouts.join("theirs");
    buildah.save_layout(&format!("parity-{name}"), &theirs, "ours");
    let mut problems: Vec<String> =
        differences(&image_tree(&ours, "ours")?, &image_tree(&theirs, "ours")?)
            .into_iter()
            .filter(|line| {
                !EXPECTED
                    .iter()
                    .any(|(context, part, _)| ["*", name].contains(context) && line.contains(part))
            })
            .collect();
    let ours = config(&ours);
    let theirs = docker_config(buildah, &format!("parity-{name}"));
    for key in ours.keys().chain(theirs.keys()) {
        if ours.get(key) != theirs.get(key) && !is_expected(name, key) {
            problems.push(format!(
                "{key}: {:?} against {:?}",
                ours.get(key),
                theirs.get(key)
            ));
        }
    }
    problems.dedup();
    Ok(problems)
}

/// Members of the config on which the builders differ by design (spec/dockerfile.md section 16).
fn is_expected(context: &str, key: &str) -> bool {
    match (context, key) {
        // A relic that BuildKit writes and buildah does not.
        (_, "ArgsEscaped") => true,
        // Relics that buildah's Docker format writes and BuildKit does not.
        (
            _,
            "Hostname" | "Domainname" | "AttachStdin" | "AttachStdout" | "AttachStderr" | "Tty"
            | "OpenStdin" | "StdinOnce" | "Image",
        ) => true,
        // The shell form of ENTRYPOINT uses SHELL; buildah's uses /bin/sh -c all the same.
        ("runtime-config", "Entrypoint") => true,
        // A range is one entry for each port; buildah stores it as written.
        ("volumes", "ExposedPorts") => true,
        _ => false,
    }
}

/// Returns the `config` member of the only image in a layout.
fn config(layout: &Path) -> BTreeMap<String, Value> {
    let read =
        |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        read(&layout.join("blobs").join(digest))
    };
    let manifest = blob(&read(&layout.join("index.json"))["manifests"][0]);
    members(&blob(&manifest["config"])["config"])
}

/// Returns the Docker config that buildah keeps: the OCI form loses HEALTHCHECK, SHELL and ONBUILD.
fn docker_config(buildah: &Buildah, image: &str) -> BTreeMap<String, Value> {
    let text = run_and_read(
        buildah
            .command()
            .args(["inspect", "--type", "image", image]),
    );
    let value: Value = serde_json::from_str(&text).unwrap();
    members(&value["Docker"]["config"])
}

/// Drops what means the same as its absence.
fn members(config: &Value) -> BTreeMap<String, Value> {
    let mut members: BTreeMap<String, Value> = config
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| {
            !matches!(value, Value::Null | Value::Bool(false))
                && value.as_str() != Some("")
                && value.as_array().is_none_or(|array| !array.is_empty())
                && value.as_object().is_none_or(|object| !object.is_empty())
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // buildah appends what BuildKit replaces in place.
    if let Some(Value::Array(variables)) = members.get_mut("Env") {
        variables.sort_by_key(ToString::to_string);
    }
    // buildah's signature.
    if let Some(Value::Object(labels)) = members.get_mut("Labels") {
        labels.remove("io.buildah.version");
        if labels.is_empty() {
            members.remove("Labels");
        }
    }
    members
}
