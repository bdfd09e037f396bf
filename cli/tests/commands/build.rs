//! What a build leaves behind: an image, files about it, outputs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use kiln_testbed::{Kiln, need};
use serde_json::Value;

use crate::commands::harness::names;
use crate::program;

const DOCKERFILE: &str = "FROM scratch\nARG WHO=nobody\nCOPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"touch\", \"/made\"]\nLABEL who=$WHO\nCMD [\"/bin/busybox\", \"true\"]\n";

#[test]
fn quiet_prints_only_the_id() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(DOCKERFILE);
    let ended = kiln.run(&["build", "-q", "-t", "app", "ctx"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let id = ended.stdout.strip_suffix('\n').unwrap();
    assert_eq!(id, kiln.ok(&["inspect", "-f", "{{.Id}}", "app"]));
    // The same steps make the same image.
    assert_eq!(kiln.ok(&["build", "--progress=quiet", "ctx"]), id);
    let ended = kiln.run(&["build", "-q", "--progress=plain", "ctx"]);
    assert_eq!(ended.code, 125);
    assert!(
        ended
            .stderr
            .contains("progress=plain and quiet cannot be used together")
    );
}

#[test]
fn a_parent_that_ignores_its_children_does_not_matter() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(DOCKERFILE);
    let command = kiln.command();
    let output = Command::new("sh")
        .args(["-c", "trap '' CHLD; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(["build", "-q", "ctx"])
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(command.get_current_dir().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn working_directories_and_programs_do_not_lead_to_the_host() {
    let kiln = need!(Kiln::for_builds(program()));
    let secret = kiln.write("secret", "of the host");
    let upwards = format!("../../../../../../../../..{}", secret.display());
    let links = (3..16).map(|number| format!("/proc/self/fd/{number}"));
    for link in links.chain(["/proc/self/exe".to_owned(), "/proc/self/root".to_owned()]) {
        for lines in [
            format!("WORKDIR {link}\nRUN [\"/bin/busybox\", \"cat\", \"{upwards}\"]\n"),
            format!("RUN [\"{link}/../../../../../../../bin/sh\", \"-c\", \"cat {upwards}\"]\n"),
            format!("RUN [\"{link}\", \"--version\"]\n"),
        ] {
            kiln.dockerfile(&format!("FROM scratch\nCOPY busybox /bin/busybox\n{lines}"));
            let ended = kiln.run(&["build", "--progress=plain", "ctx"]);
            assert_ne!(ended.code, 0, "{lines}{}", ended.stderr);
            assert!(
                !ended.stderr.contains("of the host"),
                "{lines}{}",
                ended.stderr
            );
        }
    }
}

#[test]
fn ids_and_metadata_are_written_to_files() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(DOCKERFILE);
    let iidfile = kiln.write("iid", "an older id");
    kiln.ok(&[
        "build",
        "-t",
        "app:1",
        "-t",
        "other",
        "--iidfile",
        "iid",
        "--metadata-file",
        "meta",
        "ctx",
    ]);
    let id = fs::read_to_string(&iidfile).unwrap();
    assert_eq!(id, kiln.ok(&["inspect", "-f", "{{.Id}}", "app:1"]));
    let metadata = fs::read(kiln.scratch.join("meta")).unwrap();
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], id.as_str());
    assert_eq!(
        metadata["containerimage.digest"],
        metadata["containerimage.descriptor"]["digest"]
    );
    assert_eq!(
        metadata["image.name"],
        "docker.io/library/app:1,docker.io/library/other:latest"
    );
    // A build that fails leaves no id of an older one.
    kiln.dockerfile("FROM scratch\nCOPY nothing /\n");
    assert_eq!(kiln.run(&["build", "--iidfile", "iid", "ctx"]).code, 1);
    assert!(!iidfile.exists());
}

#[test]
fn arguments_come_from_flags_files_and_the_environment() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(DOCKERFILE);
    kiln.write("args", "# who\nWHO=file\n");
    let who = |flags: &[&str]| {
        let mut command = kiln.command();
        command.env("WHO", "environment").arg("build").args(flags);
        let output = command.args(["-t", "app", "ctx"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        kiln.ok(&["inspect", "-f", "{{index .Config.Labels \"who\"}}", "app"])
    };
    assert_eq!(who(&[]), "nobody");
    assert_eq!(who(&["--build-arg", "WHO"]), "environment");
    assert_eq!(who(&["--build-arg", "WHO=flag"]), "flag");
    assert_eq!(who(&["--build-arg-file", "args"]), "file");
    assert_eq!(who(&["--label", "who=label"]), "label");
}

#[test]
fn dockerfiles_come_from_files_and_standard_input() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("elsewhere/Other", "FROM scratch\nCOPY busybox /from-file\n");
    kiln.ok(&["build", "-f", "elsewhere/Other", "-t", "app", "ctx"]);
    let input = "FROM scratch\nCOPY busybox /from-stdin\n";
    let ended = kiln.run_with(input, &["build", "-f", "-", "-o", "out", "ctx"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(names(&kiln.scratch.join("out")), ["from-stdin"]);
    let ended = kiln.run_with("FROM scratch\nLABEL a=b\n", &["build", "-q", "-"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    for (arguments, message) in [
        (
            &["build", "-f", "x", "-"][..],
            "ambiguous Dockerfile source",
        ),
        (
            &["build", "-f", "-", "-"],
            "can't use stdin for both build context and dockerfile",
        ),
        (
            &["build", "ctx"],
            "failed to read dockerfile: open Dockerfile: no such file or directory",
        ),
    ] {
        let ended = kiln.run_with(input, arguments);
        assert_eq!(ended.code, 1, "{ended:#?}");
        assert!(ended.stderr.contains(message), "{ended:#?}");
    }
}

#[test]
fn outputs_are_directories_and_archives() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY --chmod=0640 busybox /b\n");
    kiln.ok(&["build", "-o", "out", "-o", "type=oci,dest=app.tar", "ctx"]);
    assert_eq!(names(&kiln.scratch.join("out")), ["b"]);
    let mode = fs::metadata(kiln.scratch.join("out/b")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o7777, 0o640);
    kiln.ok(&["build", "-o", "type=oci,dest=layout,tar=false", "ctx"]);
    assert_eq!(
        names(&kiln.scratch.join("layout")),
        ["blobs", "index.json", "oci-layout"]
    );
    // None of these is kept in the local store.
    assert_eq!(kiln.ok(&["images", "-q"]), "");
    let tar = kiln
        .command()
        .args(["build", "-o", "-", "ctx"])
        .output()
        .unwrap();
    assert_eq!(&tar.stdout[257..262], b"ustar");
    let quiet = kiln
        .command()
        .args(["build", "-q", "-o", "-", "ctx"])
        .output()
        .unwrap();
    assert_eq!(quiet.stdout, tar.stdout);
    let ended = kiln.run(&["build", "--iidfile", "iid", "-o", "out", "ctx"]);
    assert!(
        ended
            .stderr
            .contains("local and tar exporters are incompatible with image ID file")
    );
}
