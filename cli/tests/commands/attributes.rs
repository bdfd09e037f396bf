//! Attributes of outputs, and flags that say how a result is written (docs/spec/cli.md 1.3, 1.5).

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use kiln_testbed::{Kiln, Registry, need};
use serde_json::{Value, json};

use crate::commands::harness::names;
use crate::program;

fn kiln() -> Kiln {
    let kiln = Kiln::new(program());
    kiln.write("ctx/file", "content");
    kiln.dockerfile("FROM scratch\nCOPY file /file\n");
    kiln
}

fn read_json(kiln: &Kiln, path: &str) -> Value {
    serde_json::from_slice(&fs::read(kiln.scratch.join(path)).unwrap()).unwrap()
}

/// Returns what a descriptor in a layout points at.
fn blob(kiln: &Kiln, layout: &str, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap();
    let hex = digest.strip_prefix("sha256:").unwrap();
    read_json(kiln, &format!("{layout}/blobs/sha256/{hex}"))
}

#[test]
fn annotations_go_where_they_are_meant() {
    let kiln = kiln();
    kiln.ok(&[
        "build",
        "--platform=linux/amd64,linux/arm64",
        "--annotation=everywhere=m",
        "--annotation=manifest[linux/arm64]:Arm.Only=m",
        "--annotation=manifest-descriptor[linux/amd64]:amd.only=d",
        "--annotation=index,index-descriptor:top=i",
        "-o=type=oci,tar=false,dest=layout,annotation-index.own=o,annotation.everywhere=lost",
        "ctx",
    ]);
    let top = &read_json(&kiln, "layout/index.json")["manifests"][0];
    assert_eq!(top["annotations"]["top"], "i");
    assert_eq!(top["annotations"].get("own"), None);
    let index = blob(&kiln, "layout", top);
    assert_eq!(index["annotations"], json!({"own": "o", "top": "i"}));
    let [amd, arm] = [0, 1].map(|number| &index["manifests"][number]);
    assert_eq!(amd["annotations"], json!({"amd.only": "d"}));
    assert_eq!(arm.get("annotations"), None);
    let annotations = |entry| blob(&kiln, "layout", entry)["annotations"].clone();
    assert_eq!(annotations(amd), json!({"everywhere": "m"}));
    assert_eq!(
        annotations(arm),
        json!({"everywhere": "m", "Arm.Only": "m"})
    );
}

#[test]
fn annotations_of_one_image_are_kept_but_not_inherited() {
    let kiln = kiln();
    let layout = "type=oci,tar=false,dest=layout";
    let flags = ["--annotation=k=v", "--annotation=manifest-descriptor:d=v"];
    kiln.ok(&[
        "build", "-t=base", flags[0], flags[1], "-o", layout, "--load", "ctx",
    ]);
    let top = &read_json(&kiln, "layout/index.json")["manifests"][0];
    assert_eq!(top["annotations"]["d"], "v");
    let manifest = blob(&kiln, "layout", top);
    assert_eq!(manifest["annotations"], json!({"k": "v"}));
    // The local store has them too, and hands them on.
    kiln.ok(&["save", "-o", "base.tar", "base"]);
    let archive = fs::read(kiln.scratch.join("base.tar")).unwrap();
    let text = String::from_utf8_lossy(&archive);
    assert!(text.contains("\"k\": \"v\""));
    kiln.dockerfile("FROM base\nLABEL a=b\n");
    kiln.ok(&["build", "-o=type=oci,tar=false,dest=above", "ctx"]);
    let top = &read_json(&kiln, "above/index.json")["manifests"][0];
    assert_eq!(blob(&kiln, "above", top).get("annotations"), None);
    // Docker's media types have none.
    kiln.dockerfile("FROM scratch\nCOPY file /file\n");
    kiln.ok(&[
        "build",
        flags[0],
        "--format=docker",
        "-o=type=oci,tar=false,dest=plain",
        "ctx",
    ]);
    let top = &read_json(&kiln, "plain/index.json")["manifests"][0];
    let manifest = blob(&kiln, "plain", top);
    assert_eq!(manifest.get("annotations"), None);
    assert_eq!(
        manifest["mediaType"],
        "application/vnd.docker.distribution.manifest.v2+json"
    );
}

#[test]
fn annotations_that_cannot_be_are_refused() {
    let kiln = kiln();
    for (flag, code, message) in [
        (
            "--annotation=index:k=v",
            1,
            "index annotations not supported for single platform export",
        ),
        (
            "--output=type=oci,dest=x.tar,annotation-index-descriptor.k=v",
            1,
            "index annotations not supported for single platform export",
        ),
        (
            "--annotation=layer:k=v",
            125,
            "unknown annotation type \"layer\"",
        ),
        (
            "--annotation=k",
            125,
            "invalid annotation \"k\", expected key=value",
        ),
    ] {
        let ended = kiln.run(&["build", flag, "ctx"]);
        assert_eq!(ended.code, code, "{ended:#?}");
        assert!(ended.stderr.contains(message), "{ended:#?}");
        assert!(!kiln.scratch.join("x.tar").exists());
    }
}

/// DF-169: what SOURCE_DATE_EPOCH sets, and what only `rewrite-timestamp` does.
#[test]
fn df_169_times_follow_the_epoch() {
    let kiln = kiln();
    let build = |name: &str, flags: &[&str]| {
        let output = format!("type=oci,tar=false,dest={name},compression=uncompressed");
        let rewrite = format!("{output},rewrite-timestamp=true,source-date-epoch=77");
        let output = if flags.is_empty() { rewrite } else { output };
        let mut arguments = vec!["build", "-o", &output];
        arguments.extend_from_slice(flags);
        arguments.push("ctx");
        kiln.ok(&arguments);
        let top = &read_json(&kiln, &format!("{name}/index.json"))["manifests"][0];
        let manifest = blob(&kiln, name, top);
        let created = blob(&kiln, name, &manifest["config"])["created"].clone();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        let layer = layer.replace("sha256:", "");
        let path = kiln.scratch.join(name).join("blobs/sha256").join(layer);
        let tar = fs::read(path).unwrap();
        // ustar: the time of the first member, in octal digits.
        let time = std::str::from_utf8(&tar[136..147]).unwrap().to_owned();
        (
            created.as_str().unwrap().to_owned(),
            u64::from_str_radix(&time, 8).unwrap(),
        )
    };
    let file = fs::metadata(kiln.scratch.join("ctx/file")).unwrap();
    let now = u64::try_from(file.mtime()).unwrap();
    let epoch = "1970-01-01T00:01:17Z".to_owned();
    assert_eq!(build("attribute", &[]), (epoch.clone(), 77));
    assert_eq!(
        build("argument", &["--build-arg=SOURCE_DATE_EPOCH=77"]),
        (epoch.clone(), now)
    );
    assert_eq!(
        build("flags", &["--timestamp=77", "--rewrite-timestamp"]),
        (epoch, 77)
    );
    assert_eq!(
        build("reproducible", &["--reproducible"]),
        ("1970-01-01T00:00:00Z".to_owned(), 0)
    );
    // What an epoch found in the cache has the real time again.
    let (created, _) = build("plain", &["--pull"]);
    assert!(!created.starts_with("1970"), "{created}");
    for (name, flags) in [
        ("a", ["-o=type=local,dest=a,source-date-epoch=77", "--pull"]),
        ("b", ["-o=b", "--build-arg=SOURCE_DATE_EPOCH=77"]),
    ] {
        kiln.ok(&["build", flags[0], flags[1], "ctx"]);
        let written = fs::metadata(kiln.scratch.join(name).join("file")).unwrap();
        assert_eq!(written.mtime(), 77);
    }
}

#[test]
fn stale_files_go_only_where_that_is_allowed() {
    let kiln = kiln();
    kiln.write("out/stale", "");
    kiln.ok(&["build", "-o=type=local,dest=out", "ctx"]);
    assert_eq!(names(&kiln.scratch.join("out")), ["file", "stale"]);
    kiln.ok(&["build", "-o=type=local,dest=out,mode=delete", "ctx"]);
    assert_eq!(names(&kiln.scratch.join("out")), ["file"]);
    // Elsewhere it has to be said.
    kiln.write("elsewhere/stale", "");
    fs::create_dir(kiln.scratch.join("here")).unwrap();
    let elsewhere = kiln.scratch.join("elsewhere");
    let output = format!("-o=type=local,dest={},mode=delete", elsewhere.display());
    let build = |flags: &[&str]| {
        let mut command = kiln.command();
        command
            .current_dir(kiln.scratch.join("here"))
            .args(["build", &output])
            .args(flags)
            .arg("../ctx");
        command.output().unwrap()
    };
    let refused = build(&[]);
    assert_eq!(refused.status.code(), Some(125));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("--allow buildx.local.delete"), "{message}");
    assert_eq!(names(&elsewhere), ["stale"]);
    let allowed = build(&["--allow=buildx.local.delete"]);
    assert!(allowed.status.success(), "{allowed:?}");
    assert_eq!(names(&elsewhere), ["file"]);
}

#[test]
fn images_can_go_by_their_digest_alone() {
    let kiln = kiln();
    let registry = need!(Registry::shared());
    kiln.knows(&registry);
    let repository = registry.image("team/app");
    for output in [
        format!("type=image,name={repository},push=true,push-by-digest=true,name-canonical=true"),
        format!("type=registry,dangling-name-prefix={repository},registry.insecure=true"),
    ] {
        kiln.ok(&["build", "-o", &output, "--digest-file=digest", "ctx"]);
        let digest = fs::read_to_string(kiln.scratch.join("digest")).unwrap();
        kiln.ok(&["pull", "-q", &format!("{repository}@{digest}")]);
        let ended = kiln.run(&["pull", &repository]);
        assert_eq!(ended.code, 1, "there is no tag: {ended:#?}");
        kiln.ok(&["rmi", "-f", &format!("{repository}@{digest}")]);
    }
    // What is pushed is kept here only if that is said.
    assert_eq!(kiln.ok(&["images", "-q"]), "");
    let output = format!("type=image,name={repository}:kept,push=true,store=true,unpack=true");
    kiln.ok(&["build", "-o", &output, "ctx"]);
    assert_eq!(
        kiln.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        format!("{repository}:kept")
    );
}

#[test]
fn outputs_have_short_flags() {
    let kiln = kiln();
    kiln.ok(&[
        "build",
        "-t=app",
        "--tar-path=app.tar",
        "--oci-layout-path=layout",
        "ctx",
    ]);
    assert_eq!(
        kiln.ok(&["load", "-i", "app.tar"]),
        "Loaded image: app:latest"
    );
    assert!(kiln.scratch.join("layout/index.json").exists());
    kiln.ok(&["rmi", "app"]);
    kiln.ok(&["build", "-t=app", "--no-push", "ctx"]);
    assert_eq!(kiln.ok(&["images", "-q"]), "");
}

/// A layout is a context: by tag, by digest, for each platform.
#[test]
fn layouts_are_contexts() {
    let kiln = kiln();
    let flags = ["--platform=linux/amd64,linux/arm64", "-t=x:v1"];
    kiln.ok(&[
        "build",
        flags[0],
        flags[1],
        "-o=type=oci,tar=false,dest=layout",
        "ctx",
    ]);
    let top = read_json(&kiln, "layout/index.json")["manifests"][0].clone();
    let digest = top["digest"].as_str().unwrap();
    kiln.dockerfile("FROM base\nCOPY file /other\n");
    for value in [
        "oci-layout://layout:v1".to_owned(),
        format!("oci-layout://layout@{digest}"),
    ] {
        let context = format!("--build-context=base={value}");
        kiln.ok(&[
            "build",
            &context,
            "--platform=linux/arm64",
            "-t=y",
            "-o=out",
            "--load",
            "ctx",
        ]);
        assert_eq!(names(&kiln.scratch.join("out")), ["file", "other"]);
        assert_eq!(
            kiln.ok(&["inspect", "-f", "{{.Architecture}}", "y"]),
            "arm64"
        );
    }
    let ended = kiln.run(&["build", "--build-context=base=oci-layout://layout", "ctx"]);
    assert_eq!(ended.code, 1);
    let message = "oci-layout://layout: there is no tag latest; there is v1";
    assert!(ended.stderr.contains(message), "{ended:#?}");
}

/// The local store kept it as an OCI image whatever the format, and so it was pushed.
#[test]
fn formats_hold_for_the_local_store() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nCMD [\"/bin/sh\", \"-c\", \"echo here\"]\n",
    );
    let media_type = |name: &str| {
        let template = "{{.Descriptor.mediaType}}";
        kiln.ok(&["inspect", "-f", template, name])
    };
    let manifest = "application/vnd.docker.distribution.manifest.v2+json";
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    kiln.ok(&["build", "--format=docker", "-t=app", "ctx"]);
    assert_eq!(media_type("app"), manifest);
    kiln.ok(&[
        "build",
        "-o=type=image,name=own,oci-mediatypes=false",
        "ctx",
    ]);
    assert_eq!(media_type("own"), manifest);
    let both = "--platform=linux/amd64,linux/arm64";
    kiln.ok(&["build", "--format=docker", both, "-t=both", "ctx"]);
    assert_eq!(media_type("both"), list);
    kiln.ok(&["build", "--format=oci", "-t=oci", "ctx"]);
    assert_eq!(
        media_type("oci"),
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(kiln.ok(&["run", "--rm", "app"]), "here");
    // What is packed later has the same types all over.
    kiln.ok(&["save", "-o", "app.tar", "app"]);
    let layout = kiln.scratch.join("layout");
    fs::create_dir(&layout).unwrap();
    let tar = std::process::Command::new("tar")
        .args(["-x", "-f", "app.tar", "-C", "layout"])
        .current_dir(kiln.scratch.path())
        .status();
    assert!(tar.unwrap().success());
    let index = read_json(&kiln, "layout/index.json");
    let manifest = blob(&kiln, "layout", &index["manifests"][0]);
    assert_eq!(
        [
            &manifest["config"]["mediaType"],
            &manifest["layers"][0]["mediaType"]
        ],
        [
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        ]
    );
}
