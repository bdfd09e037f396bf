//! Several platforms in one build, and what registries and other tools make of them.

use std::fs;

use kiln_testbed::{Bases, Kiln, Skopeo, Umoci, need, need_root, ordinary_user, run, run_and_read};
use serde_json::Value;

use crate::program;

/// Made by this machine for every platform: nothing that runs is of another one.
const CROSS: &str = "FROM --platform=$BUILDPLATFORM busybox AS build\n\
    ARG TARGETPLATFORM\nRUN mkdir /out && echo for $TARGETPLATFORM > /out/made\n\
    FROM scratch\nCOPY --from=build /out /\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n";
const PLATFORMS: &str = "linux/amd64,linux/arm64,linux/arm/v7";

fn platforms(index: &Value) -> Vec<String> {
    let entries = index["manifests"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let platform = &entry["platform"];
            ["os", "architecture", "variant"]
                .iter()
                .filter_map(|part| platform[part].as_str())
                .collect::<Vec<_>>()
                .join("/")
        })
        .collect()
}

#[test]
fn registries_and_their_clients_take_an_index() {
    need!(need_root());
    let (kiln, registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let skopeo = need!(Skopeo::new());
    let context = kiln.context("context", &[("Dockerfile", CROSS)]);
    let name = registry.image("cross/app:v1");
    let metadata = kiln.scratch.join("metadata");
    kiln.build(
        &context,
        &[
            "--platform",
            PLATFORMS,
            "--annotation=index,manifest:made.by=kiln",
            "--annotation=manifest-descriptor[linux/arm64]:only=arm",
            "--metadata-file",
            metadata.to_str().unwrap(),
            "-t",
            &name,
            "--push",
        ],
    );
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    let inspect = |arguments: &[&str], name: &str| {
        let mut command = skopeo.command();
        command.args(arguments).arg(format!("docker://{name}"));
        run_and_read(&mut command)
    };
    let raw = ["inspect", "--tls-verify=false", "--raw"];
    let index: Value = serde_json::from_str(&inspect(&raw, &name)).unwrap();
    assert_eq!(
        platforms(&index),
        ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    );
    assert_eq!(index["annotations"]["made.by"], "kiln");
    assert_eq!(index["manifests"][1]["annotations"]["only"], "arm");
    let repository = name.trim_end_matches(":v1");
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    let child = index["manifests"][2]["digest"].as_str().unwrap();
    inspect(&raw, &format!("{repository}@{digest}"));
    let manifest: Value =
        serde_json::from_str(&inspect(&raw, &format!("{repository}@{child}"))).unwrap();
    assert_eq!(manifest["annotations"]["made.by"], "kiln");
    let flags = [
        "--override-arch=arm64",
        "inspect",
        "--tls-verify=false",
        "--config",
    ];
    let config: Value = serde_json::from_str(&inspect(&flags, &name)).unwrap();
    assert_eq!(config["architecture"], "arm64");
    assert_eq!(config["config"]["Labels"]["arch"], "arm64");

    // Another tool copies all of it, and kiln takes the copy for a base, without emulation.
    let layout = kiln.scratch.join("layout");
    run(skopeo
        .copy()
        .args(["--all", "--src-tls-verify=false"])
        .arg(format!("docker://{name}"))
        .arg(format!("oci:{}:v1", layout.display())));
    let above = kiln.context(
        "above",
        &[("Dockerfile", "FROM base\nCOPY Dockerfile /more\n")],
    );
    let out = kiln.scratch.join("out");
    kiln.build(
        &above,
        &[
            "--platform",
            PLATFORMS,
            "--build-context",
            &format!("base=oci-layout://{}:v1", layout.display()),
            "-o",
            out.to_str().unwrap(),
        ],
    );
    let made = |platform: &str| fs::read_to_string(out.join(platform).join("made")).unwrap();
    assert_eq!(made("linux_arm_v7"), "for linux/arm/v7\n");
    assert_eq!(made("linux_amd64"), "for linux/amd64\n");
}

#[test]
fn layouts_and_archives_hold_every_platform() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let (skopeo, umoci) = (need!(Skopeo::new()), need!(Umoci::new()));
    let context = kiln.context("context", &[("Dockerfile", CROSS)]);
    let (layout, archive) = (kiln.scratch.join("layout"), kiln.scratch.join("app.tar"));
    let saved = kiln.scratch.join("saved.tar");
    kiln.build(
        &context,
        &[
            "--platform",
            PLATFORMS,
            "-t",
            "app:v1",
            "--load",
            "-o",
            &format!("type=oci,tar=false,dest={}", layout.display()),
            "-o",
            &format!("type=oci,dest={}", archive.display()),
        ],
    );
    kiln.ok(&["save", "-o", saved.to_str().unwrap(), "app:v1"]);
    for (number, source) in [
        format!("oci:{}:v1", layout.display()),
        format!("oci-archive:{}:v1", archive.display()),
        format!("oci-archive:{}", saved.display()),
    ]
    .iter()
    .enumerate()
    {
        for (platform, arch, variant) in [
            (
                "linux/arm64",
                "--override-arch=arm64",
                "--override-variant=",
            ),
            (
                "linux/arm/v7",
                "--override-arch=arm",
                "--override-variant=v7",
            ),
        ] {
            let single = kiln.scratch.join(format!("{number}{arch}"));
            let mut command = skopeo.command();
            command
                .args([arch, variant, "copy", "--quiet", source])
                .arg(format!("oci:{}:v1", single.display()));
            run(&mut command);
            let bundle = kiln.scratch.join(format!("{number}{arch}-bundle"));
            let root = umoci.unpack(&single, "v1", &bundle);
            let made = fs::read_to_string(root.join("made")).unwrap();
            assert_eq!(made, format!("for {platform}\n"));
        }
    }
    // Docker's own list in the saved archive names this machine's image.
    let listed = kiln.scratch.join("listed");
    run(skopeo
        .command()
        .args(["copy", "--quiet"])
        .arg(format!("docker-archive:{}", saved.display()))
        .arg(format!("dir:{}", listed.display())));
}

#[test]
fn an_ordinary_user_builds_for_other_platforms() {
    need!(need_root());
    let user = need!(ordinary_user());
    let kiln = Kiln::of_user(program(), user);
    let registry = need!(Bases::by(program()).serve(&["busybox"]));
    kiln.knows(&registry);
    let context = kiln.context("context", &[("Dockerfile", CROSS)]);
    let name = registry.image("user/cross:v1");
    let context = context.to_str().unwrap();
    let built = kiln.ok(&[
        "build",
        "-q",
        "--platform",
        PLATFORMS,
        "-t",
        &name,
        "--push",
        "--load",
        "-o",
        "out",
        context,
    ]);
    let made = fs::read_to_string(kiln.scratch.join("out/linux_arm64/made")).unwrap();
    assert_eq!(made, "for linux/arm64\n");
    let id = kiln.ok(&["images", "-q", "--no-trunc"]);
    assert_eq!(built, id);
    let pulled = kiln.ok(&["pull", "-q", "--platform=linux/arm/v7", &name]);
    assert_eq!(pulled, name);
    let arch = kiln.ok(&["inspect", "-f", "{{.Architecture}}/{{.Variant}}", &name]);
    assert_eq!(arch, "arm/v7");
}
