//! Local images: lists, names, templates (cli.md section 3).

use insta::assert_snapshot;
use kiln_testbed::need;

use crate::harness::Kiln;

#[test]
fn an_empty_store_has_a_header() {
    let kiln = Kiln::new();
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
    let kiln = need!(Kiln::for_builds());
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
    assert_snapshot!(kiln.filter(&last), @r"
    Untagged: registry.example/team/app:v1
    Deleted: [DIGEST]
    ");
    assert_eq!(kiln.ok(&["images", "-q"]), "");
}

#[test]
fn images_are_inspected_through_templates() {
    let kiln = need!(Kiln::for_builds());
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
    let kiln = need!(Kiln::for_builds());
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
