//! One build for several platforms: an index here, in registries and in archives.

use std::fs;

use kiln_testbed::{Kiln, Registry, need};
use serde_json::Value;

use crate::commands::harness::names;
use crate::program;

/// Another file for each platform; no emulation is needed.
const DOCKERFILE: &str = "FROM --platform=$BUILDPLATFORM scratch AS files\nCOPY . /\n\
    FROM scratch\nARG TARGETARCH\nCOPY --from=files /$TARGETARCH /arch\nLABEL arch=$TARGETARCH\n";
const BOTH: &str = "linux/amd64,linux/arm64";

fn kiln_with_files() -> Kiln {
    let kiln = Kiln::new(program());
    for architecture in ["amd64", "arm64"] {
        kiln.write(format!("ctx/{architecture}"), architecture);
    }
    kiln.dockerfile(DOCKERFILE);
    kiln
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn read_json(kiln: &Kiln, path: &str) -> Value {
    json(&fs::read_to_string(kiln.scratch.join(path)).unwrap())
}

/// Returns the platforms of an index's entries.
fn platforms(index: &Value) -> Vec<String> {
    let entries = index["manifests"].as_array().unwrap().iter();
    let part = |entry: &Value, name: &str| match entry["platform"][name].as_str() {
        Some(text) => format!("/{text}"),
        None => String::new(),
    };
    entries
        .map(|entry| {
            let os = entry["platform"]["os"].as_str().unwrap();
            format!(
                "{os}{}{}",
                part(entry, "architecture"),
                part(entry, "variant")
            )
        })
        .collect()
}

#[test]
fn an_index_is_kept_under_its_tags() {
    let kiln = kiln_with_files();
    kiln.ok(&[
        "build",
        "--platform",
        "linux/amd64,linux/arm64,linux/arm/v6",
        "--target=files",
        "--iidfile=iid",
        "--metadata-file=meta",
        "-t=app",
        "-t=app:2",
        "ctx",
    ]);
    let id = kiln.ok(&["images", "-q", "--no-trunc", "app:latest"]);
    assert_eq!(fs::read_to_string(kiln.scratch.join("iid")).unwrap(), id);
    let metadata = read_json(&kiln, "meta");
    assert_eq!(metadata["containerimage.digest"], id.as_str());
    assert_eq!(metadata["containerimage.descriptor"]["digest"], id.as_str());
    assert_eq!(metadata.get("containerimage.config.digest"), None);
    let inspected = json(&kiln.ok(&["inspect", "app"]));
    assert_eq!(inspected[0]["Id"], id.as_str());
    assert_eq!(
        inspected[0]["Descriptor"]["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    let listed = serde_json::json!({"manifests": inspected[0]["Manifests"]});
    assert_eq!(
        platforms(&listed),
        ["linux/amd64", "linux/arm64", "linux/arm/v6"]
    );
    assert_eq!(kiln.ok(&["images", "-q"]).lines().count(), 2);
    // Again it is the same, and -q says so.
    let flags = [
        "--platform=linux/amd64,linux/arm64,linux/arm/v6",
        "--target=files",
    ];
    assert_eq!(kiln.ok(&["build", "-q", flags[0], flags[1], "ctx"]), id);

    assert_eq!(kiln.ok(&["rmi", "app:2"]), "Untagged: app:2");
    let removed = kiln.ok(&["rmi", &id]);
    assert_eq!(removed, format!("Untagged: app:latest\nDeleted: {id}"));
    assert_eq!(kiln.ok(&["images", "-q"]), "");
}

#[test]
fn a_platform_of_an_index_can_be_chosen() {
    let kiln = kiln_with_files();
    kiln.ok(&["build", "--platform", BOTH, "-t", "app", "ctx"]);
    let label = "{{.Config.Labels.arch}} {{.Architecture}}";
    for architecture in ["amd64", "arm64"] {
        let platform = format!("--platform=linux/{architecture}");
        assert_eq!(
            kiln.ok(&["image", "inspect", &platform, "-f", label, "app"]),
            format!("{architecture} {architecture}")
        );
        let history = kiln.ok(&["history", &platform, "--no-trunc", "app"]);
        assert!(
            history.contains(&format!("LABEL arch={architecture}")),
            "{history}"
        );
    }
    let ended = kiln.run(&["inspect", "--platform=linux/s390x", "app"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains(
            "image with reference app was found but does not provide the specified platform \
             (linux/s390x)"
        ),
        "{ended:#?}"
    );
    let ended = kiln.run(&["run", "--rm", "--platform=linux/s390x", "app", "true"]);
    assert_eq!(ended.code, 125);
    assert!(
        ended.stderr.contains("it is for linux/amd64, linux/arm64"),
        "{ended:#?}"
    );
}

#[test]
fn running_an_index_takes_this_machines_image() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch\nARG TARGETARCH\nENV FOR=$TARGETARCH\nCOPY busybox /bin/sh\n\
         CMD [\"/bin/sh\", \"-c\", \"echo $FOR\"]\n",
    );
    kiln.ok(&["build", "--platform=linux/s390x,local", "-t=app", "ctx"]);
    let host = kiln.ok(&["inspect", "-f", "{{.Architecture}}", "app"]);
    assert_eq!(kiln.ok(&["run", "--rm", "app"]), host);
    // Only the other platform: the program is this machine's, so it can run all the same.
    let flags = ["run", "--rm", "--platform=linux/s390x", "app"];
    assert_eq!(kiln.ok(&flags), "s390x");
}

/// A base for several platforms serves each of them, and what is built for one is for it alone.
#[test]
fn an_index_serves_as_a_base_for_each_platform() {
    let kiln = kiln_with_files();
    kiln.ok(&["build", "--platform", BOTH, "-t", "base", "ctx"]);
    kiln.dockerfile("FROM base\nCOPY amd64 /more\n");
    kiln.ok(&["build", "--platform", BOTH, "-t", "app", "ctx"]);
    for architecture in ["amd64", "arm64"] {
        let platform = format!("--platform=linux/{architecture}");
        let output = format!("out-{architecture}");
        kiln.ok(&["build", &platform, "-o", &output, "ctx"]);
        let content = fs::read_to_string(kiln.scratch.join(&output).join("arch")).unwrap();
        assert_eq!(content, architecture);
        assert_eq!(names(&kiln.scratch.join(&output)), ["arch", "more"]);
        let label = kiln.ok(&["inspect", &platform, "-f", "{{.Config.Labels.arch}}", "app"]);
        assert_eq!(label, architecture);
    }
}

#[test]
fn files_of_platforms_are_apart_or_together() {
    let kiln = kiln_with_files();
    let build = |flags: &[&str]| {
        let mut arguments = vec!["build"];
        arguments.extend_from_slice(flags);
        arguments.push("ctx");
        kiln.run(&arguments)
    };
    assert_eq!(build(&["--platform", BOTH, "-o", "both"]).code, 0);
    assert_eq!(
        names(&kiln.scratch.join("both")),
        ["linux_amd64", "linux_arm64"]
    );
    let content = fs::read_to_string(kiln.scratch.join("both/linux_arm64/arch"));
    assert_eq!(content.unwrap(), "arm64");
    let together = "type=local,dest=together,platform-split=false";
    let ended = build(&["--platform", BOTH, "-o", together]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let message = "cannot overwrite arch from linux/amd64 with linux/arm64 when split option is \
                   disabled";
    assert!(ended.stderr.contains(message), "{ended:#?}");
    assert!(!kiln.scratch.join("together").exists());
    let ended = build(&[
        "--platform=linux/amd64",
        "-o=type=local,dest=one,platform-split=true",
    ]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(names(&kiln.scratch.join("one")), ["linux_amd64"]);

    kiln.dockerfile("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /files/\n");
    assert_eq!(build(&["--platform", BOTH, "-o", together]).code, 0);
    assert_eq!(
        names(&kiln.scratch.join("together/files")),
        ["amd64", "arm64"]
    );
    let tar = "type=tar,dest=files.tar,platform-split=false";
    assert_eq!(build(&["--platform", BOTH, "-o", tar]).code, 0);
    let bytes = fs::read(kiln.scratch.join("files.tar")).unwrap();
    for name in ["files/", "files/amd64", "files/arm64"] {
        let field = format!("{name}\0");
        let at = bytes
            .windows(field.len())
            .filter(|w| *w == field.as_bytes());
        assert_eq!(at.count(), 1, "{name}");
    }
}

#[test]
fn docker_archives_hold_no_index() {
    let kiln = kiln_with_files();
    let docker = "type=docker,dest=app.tar";
    let ended = kiln.run(&["build", "--platform", BOTH, "-o", docker, "ctx"]);
    assert_eq!(ended.code, 1);
    let message = "docker exporter does not currently support exporting manifest lists";
    assert!(ended.stderr.contains(message), "{ended:#?}");
    // It is said before anything is built.
    assert!(!ended.stderr.contains("COPY"), "{ended:#?}");
}

#[test]
fn one_platform_can_have_an_index_too() {
    let kiln = kiln_with_files();
    let forced = "--build-arg=BUILDKIT_MULTI_PLATFORM=1";
    let layout = "type=oci,tar=false,dest=layout";
    kiln.ok(&[
        "build",
        forced,
        "--platform=linux/arm64",
        "-o",
        layout,
        "-o=out",
        "ctx",
    ]);
    let top = &read_json(&kiln, "layout/index.json")["manifests"][0];
    assert_eq!(top["mediaType"], "application/vnd.oci.image.index.v1+json");
    let digest = top["digest"].as_str().unwrap().replace("sha256:", "");
    let index = read_json(&kiln, &format!("layout/blobs/sha256/{digest}"));
    assert_eq!(platforms(&index), ["linux/arm64"]);
    assert_eq!(names(&kiln.scratch.join("out")), ["linux_arm64"]);
    let ended = kiln.run(&["build", "--build-arg=BUILDKIT_MULTI_PLATFORM=many", "ctx"]);
    assert!(
        ended.stderr.contains("invalid boolean value \"many\""),
        "{ended:#?}"
    );
}

#[test]
fn indexes_travel_through_archives() {
    let kiln = kiln_with_files();
    kiln.ok(&["build", "--platform", BOTH, "-t", "app:1", "ctx"]);
    kiln.ok(&["save", "-o", "all.tar", "app:1"]);
    kiln.ok(&["save", "-o", "arm.tar", "--platform=linux/arm64", "app:1"]);
    let elsewhere = |state: &str, arguments: &[&str]| {
        let mut command = kiln.command();
        command.env("KILN_ROOT", kiln.scratch.join(state));
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    };
    let format = ["inspect", "-f", "{{.Architecture}} {{len .RootFS.Layers}}"];
    let load = |state: &str, arguments: &[&str]| {
        let loaded = elsewhere(state, arguments);
        assert_eq!(loaded, "Loaded image: app:1");
    };
    load("all", &["load", "-i", "all.tar"]);
    for (platform, expected) in [("linux/amd64", "amd64 1"), ("linux/arm64", "arm64 1")] {
        let platform = format!("--platform={platform}");
        let [verb, flag, template] = format;
        let shown = elsewhere("all", &[verb, &platform, flag, template, "app:1"]);
        assert_eq!(shown, expected);
    }
    // What was packed once travels unchanged.
    elsewhere("all", &["save", "-o", "again.tar", "app:1"]);
    let bytes = |name: &str| fs::read(kiln.scratch.join(name)).unwrap();
    assert!(bytes("all.tar") == bytes("again.tar"));
    for (state, arguments) in [
        ("arm", &["load", "-i", "arm.tar"][..]),
        ("only", &["load", "--platform=linux/arm64", "-i", "all.tar"]),
    ] {
        load(state, arguments);
        let media_type = "{{.Architecture}} {{.Descriptor.mediaType}}";
        let shown = elsewhere(state, &["inspect", "-f", media_type, "app:1"]);
        assert_eq!(shown, "arm64 application/vnd.oci.image.manifest.v1+json");
    }
}

#[test]
fn indexes_are_pushed_whole_or_in_part() {
    let kiln = kiln_with_files();
    let registry = need!(Registry::shared());
    kiln.knows(&registry);
    let name = registry.image("team/app:v1");
    let pushed = ["--push", "--metadata-file=meta", "ctx"];
    kiln.ok(&[
        "build",
        "--platform",
        BOTH,
        "-t",
        &name,
        pushed[0],
        pushed[1],
        pushed[2],
    ]);
    let metadata = read_json(&kiln, "meta");
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    // The registry knows the index by the digest that was written down.
    let by_digest = format!("{}@{digest}", name.trim_end_matches(":v1"));
    for architecture in ["amd64", "arm64"] {
        let platform = format!("--platform=linux/{architecture}");
        let pulled = kiln.ok(&["pull", &platform, &name]);
        assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
        kiln.ok(&["pull", "-q", &platform, &by_digest]);
        let shown = kiln.ok(&["inspect", "-f", "{{.Config.Labels.arch}}", &name]);
        assert_eq!(shown, architecture);
    }
    // Children come before what names them, the tag last.
    kiln.ok(&["build", "--platform", BOTH, "-t", &name, "ctx"]);
    let whole = kiln.ok(&["push", &name]);
    assert!(whole.ends_with(&format!("v1: digest: {digest} size: {}", {
        let size = &metadata["containerimage.descriptor"]["size"];
        size.as_u64().unwrap()
    })));
    let part = kiln.ok(&["push", "--platform=linux/arm64", &name]);
    assert!(!part.contains(digest), "{part}");
    let ended = kiln.run(&["pull", "--platform=linux/s390x", &by_digest]);
    assert_eq!(ended.code, 1, "{ended:#?}");
}

/// It was asked of a registry, and the answer was about Linux machines of that name.
#[test]
fn unknown_platforms_are_refused_by_name() {
    let kiln = kiln_with_files();
    for command in ["pull", "run", "build", "save"] {
        let last = if command == "build" { "ctx" } else { "nope" };
        let ended = kiln.run(&[command, "--platform", "bogus", last]);
        assert_eq!(ended.code, 125, "{ended:#?}");
        let message = "invalid platform \"bogus\": unknown operating system or architecture; \
                       platforms are, for example, linux/amd64, linux/arm64 and linux/arm/v7\n";
        assert!(ended.stderr.contains(message), "{ended:#?}");
    }
}

/// An image without an index is taken, whichever platform is asked for, but not in silence.
#[test]
fn images_for_another_platform_are_pointed_out() {
    let kiln = need!(Kiln::for_builds(program()));
    let registry = need!(Registry::shared());
    kiln.knows(&registry);
    let name = registry.image("team/app:v1");
    kiln.dockerfile("FROM scratch\nCOPY busybox /bin/sh\n");
    kiln.ok(&["build", "--platform=linux/s390x", "-t", &name, "ctx"]);
    kiln.ok(&["push", "-q", &name]);
    let host = kiln.ok(&["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"]);
    // The program is this machine's, so it can run all the same.
    let run = ["run", "--rm", &name, "/bin/sh", "-c", "echo here"];
    let ended = kiln.run(&run);
    assert_eq!(ended.stdout, "here\n", "{ended:#?}");
    assert_eq!(
        ended.stderr,
        format!(
            "WARNING: The requested image's platform (linux/s390x) does not match the detected \
             host platform ({host}) and no specific platform was requested\n"
        )
    );
    let asked = ["run", "--rm", "--platform=linux/s390x", &name, "/bin/sh"];
    assert_eq!(kiln.run(&asked).stderr, "");
    let ended = kiln.run(&["pull", "-q", "--platform=linux/arm64", &name]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(
        ended.stderr,
        format!(
            "WARNING: image with reference {name} was found but does not match the specified \
             platform: wanted linux/arm64, actual: linux/s390x\n"
        )
    );
    assert_eq!(
        kiln.run(&["pull", "-q", "--platform=linux/s390x", &name])
            .stderr,
        ""
    );
}

/// Layers for Windows have a form of their own; files have none.
#[test]
fn no_image_is_made_for_windows() {
    let kiln = Kiln::new(program());
    kiln.dockerfile("FROM scratch\nCOPY Dockerfile C:/dir/\n");
    let windows = ["build", "--platform=windows/amd64", "ctx"];
    let refused = kiln.run(&windows);
    assert_eq!(refused.code, 1);
    for part in [
        "an image for windows/amd64 cannot be written",
        "hint: take its files with -o DIRECTORY",
    ] {
        assert!(refused.stderr.contains(part), "{refused:#?}");
    }
    kiln.ok(&[&windows[..], &["-o", "out"]].concat());
    assert!(kiln.scratch.join("out/dir/Dockerfile").exists());
}
