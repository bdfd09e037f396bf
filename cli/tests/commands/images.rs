//! Local images: lists, names, templates (docs/spec/cli.md 3).

use insta::assert_snapshot;

use kiln_testbed::{Ended, Kiln, Registry, need};

use crate::commands::harness::masked;
use crate::program;

#[test]
fn an_empty_store_has_a_header() {
    let kiln = Kiln::new(program());
    assert_eq!(
        kiln.ok(&["images"]),
        "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE"
    );
    assert_eq!(kiln.ok(&["images", "-q"]), "");
    assert_eq!(
        kiln.ok(&["ps"]),
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES"
    );
}

#[test]
fn names_come_and_go() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nLABEL team=a\nCOPY busybox /b\n");
    kiln.ok(&["build", "-t", "registry.example/team/app:v1", "ctx"]);
    assert_eq!(
        kiln.ok(&["tag", "registry.example/team/app:v1", "short"]),
        ""
    );
    let list = |flags: &[&str]| {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let text = kiln.ok(&[&format[..], flags].concat());
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join(" ")
    };
    assert_eq!(list(&[]), "registry.example/team/app:v1 short:latest");
    assert_eq!(list(&["short"]), "short:latest");
    assert_eq!(list(&["short:v2"]), "");
    assert_eq!(
        list(&["--filter", "reference=registry.example/*/app"]),
        "registry.example/team/app:v1"
    );
    assert_eq!(list(&["--filter", "label=team=b"]), "");
    assert_eq!(
        list(&["--filter", "label=team", "--filter", "dangling=false"]),
        list(&[])
    );
    let ids = kiln.ok(&["images", "-q"]);
    let (first, second) = ids.split_once('\n').unwrap();
    assert_eq!(first, second);
    let ended = kiln.run(&["rmi", first]);
    assert!(
        ended
            .stderr
            .contains("image is referenced in multiple repositories"),
        "{ended:#?}"
    );
    assert_eq!(kiln.ok(&["rmi", "short"]), "Untagged: short:latest");
    let last = kiln.ok(&["rmi", first]);
    assert_snapshot!(masked(&kiln, &last), @r"
    Untagged: registry.example/team/app:v1
    Deleted: [DIGEST]
    ");
    assert_eq!(kiln.ok(&["images", "-q"]), "");
}

#[test]
fn images_are_inspected_through_templates() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /b\nENV A=1 B=2\nCMD [\"/b\", \"true\"]\n");
    kiln.ok(&["build", "-t", "app", "ctx"]);
    let show = |format: &str| kiln.ok(&["inspect", "-f", format, "app"]);
    assert_eq!(show("{{json .Config.Cmd}}"), r#"["/b","true"]"#);
    assert!(show("{{range .Config.Env}}{{.}};{{end}}").contains("A=1;B=2;"));
    assert_eq!(
        show("{{len .RootFS.Layers}} {{join .RepoTags \",\"}}"),
        "1 app:latest"
    );
    let json = kiln.ok(&["image", "inspect", "app"]);
    assert!(
        json.starts_with("[\n    {\n        \"Id\": \"sha256:"),
        "{json}"
    );
    let ended = kiln.run(&["inspect", "app", "nope"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (1, "Error: No such object: nope\n")
    );
    assert!(ended.stdout.contains("\"Id\""));
}

#[test]
fn history_begins_with_the_newest() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /b\nENV LONG=0123456789012345678901234567890123456789\n",
    );
    kiln.ok(&["build", "-t", "app", "ctx"]);
    let format = ["history", "--format", "{{.ID}} {{.CreatedBy}}", "app"];
    let text = kiln.ok(&format);
    let id = kiln.ok(&["images", "-q", "app"]);
    assert_snapshot!(text.replace(&id, "[ID]"), @r"
    [ID] ENV LONG=01234567890123456789012345678901234…
    <missing> COPY busybox /b # buildkit
    ");
    let whole = kiln.ok(&[&format[..], &["--no-trunc"]].concat());
    assert!(
        whole.contains("ENV LONG=0123456789012345678901234567890123456789\n"),
        "{whole}"
    );
}

/// Docker's words (docs/spec/cli.md 3.4).
#[test]
fn images_of_containers_are_not_removed_by_the_way() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let image = kiln.ok(&["images", "-q", "app"]);
    let running = kiln.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "app",
        "sh",
        "-c",
        "busybox sleep 100000",
    ]);
    let running = &running[..12];
    let refused = |arguments: &[&str], message: String| {
        let ended = kiln.run(arguments);
        assert_eq!(ended.code, 1, "{ended:#?}");
        assert_eq!(ended.stderr, format!("Error: conflict: {message}\n"));
        assert_eq!(ended.stdout, "");
    };
    let by_name = format!(
        "unable to remove repository reference \"app\" (must force) - container {running} is using \
         its referenced image {image}"
    );
    refused(&["rmi", "app"], by_name.clone());
    let runs = format!(
        "unable to delete {image} (cannot be forced) - image is being used by running container \
         {running}"
    );
    refused(&["rmi", &image], runs.clone());
    refused(&["rmi", "-f", &image], runs.clone());
    // With another name left, one may go.
    kiln.ok(&["tag", "app", "other"]);
    assert_eq!(kiln.ok(&["rmi", "other"]), "Untagged: other:latest");
    // A name may go by force; the image stays.
    assert_eq!(kiln.ok(&["rmi", "-f", "app"]), "Untagged: app:latest");
    assert_eq!(kiln.ok(&["images", "-aq"]), image);
    refused(&["rmi", "-f", &image], runs);
    kiln.ok(&["tag", &image, "app"]);
    kiln.ok(&["kill", "web"]);
    kiln.ok(&["wait", "web"]);
    refused(&["rmi", "app"], by_name);
    refused(
        &["rmi", &image],
        format!(
            "unable to delete {image} (must be forced) - image is being used by stopped container \
             {running}"
        ),
    );
    let forced = kiln.ok(&["rmi", "-f", &image]);
    assert!(
        forced.starts_with("Untagged: app:latest\nDeleted: "),
        "{forced}"
    );
    assert_eq!(kiln.ok(&["images", "-q"]), "");
    // The container has what it needs all the same.
    kiln.ok(&["system", "prune", "-af", "--filter", "until=1h"]);
    kiln.ok(&["start", "web"]);
    kiln.ok(&["rm", "-f", "web"]);
}

#[test]
fn an_image_is_as_large_before_its_first_use_as_after() {
    let kiln = need!(Kiln::for_builds(program()));
    let registry = need!(Registry::shared());
    kiln.knows(&registry);
    let name = registry.image("app:v1");
    kiln.dockerfile("FROM scratch\nCOPY busybox /bin/sh\nRUN >/d\n");
    // Of a packed layer its last bytes tell, unless it is packed in several pieces.
    let output = format!("type=image,name={name},push=true,compression=uncompressed");
    kiln.ok(&["build", "--output", &output, "ctx"]);
    let size = |root: &str| {
        let mut command = kiln.command();
        command.env("KILN_ROOT", kiln.scratch.join(root));
        let format = "{{.Size}}";
        let listed = command
            .args(["images", "--format", format])
            .output()
            .unwrap();
        let mut command = kiln.command();
        command.env("KILN_ROOT", kiln.scratch.join(root));
        let inspected = command
            .args(["inspect", "-f", format, &name])
            .output()
            .unwrap();
        (Ended::from(listed).stdout, Ended::from(inspected).stdout)
    };
    let mut sizes = Vec::new();
    for arguments in [
        &["pull", "-q", &name][..],
        &["run", "--rm", &name, "sh", "-c", "exit 0"],
    ] {
        let mut command = kiln.command();
        command.env("KILN_ROOT", kiln.scratch.join("fresh"));
        let ended = Ended::from(command.args(arguments).output().unwrap());
        assert_eq!(ended.code, 0, "{ended:#?}");
        sizes.push(size("fresh"));
    }
    assert_eq!(sizes[0], sizes[1]);
    assert!(sizes[0].0.ends_with("MB\n"), "{sizes:?}");
}
