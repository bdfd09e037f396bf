//! `kiln inspect` with templates (docs/spec/cli.md 5.5).

use kiln_testbed::{Kiln, need};

use crate::program;

/// JSON leaves out what is empty, and a template that asked for it failed.
#[test]
fn empty_members_can_be_asked_for() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    for (template, expected) in [
        ("{{.Config.Labels}}", "map[]"),
        ("{{.Config.Entrypoint}}{{.Config.OnBuild}}", "[][]"),
        ("{{.Config.Volumes}}{{.Config.ExposedPorts}}", "map[]map[]"),
        ("({{.Config.User}}{{index .Config.Labels \"x\"}})", "()"),
        ("{{.Config.Healthcheck}}{{json .Config.Cmd}}", "<nil>null"),
    ] {
        assert_eq!(
            kiln.ok(&["inspect", "-f", template, "app"]),
            expected,
            "{template}"
        );
    }
    let run = ["run", "--name", "some", "app", "sh", "-c", "exit 0"];
    kiln.ok(&run);
    for (template, expected) in [
        ("{{.Config.Entrypoint}}{{.Config.Cmd}}", "[][sh -c exit 0]"),
        ("({{.NetworkSettings.IPAddress}}{{.Config.User}})", "()"),
        (
            "{{.HostConfig.RestartPolicy.Name}}{{.HostConfig.PortBindings}}",
            "nomap[]",
        ),
        ("{{.Platform}}{{with .State.Health}}x{{end}}", "linux"),
    ] {
        assert_eq!(
            kiln.ok(&["inspect", "-f", template, "some"]),
            expected,
            "{template}"
        );
    }
    let ended = kiln.run(&["inspect", "-f", "{{.State.Health.Status}}", "some"]);
    assert_eq!(ended.code, 1);
    assert_eq!(
        ended.stderr,
        "Error: cannot show some: template: :1: executing \"\" at <.State.Health.Status>: \
         nil pointer evaluating interface {}.Status\n"
    );
}

/// What the image and the command line said, not what became of it.
#[test]
fn containers_tell_entrypoint_and_command_apart() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell(
        "app",
        "USER 7:8\nENTRYPOINT [\"sh\", \"-c\"]\nCMD [\"exit 0\"]\nEXPOSE 80",
    );
    let format = "{{.Config.Entrypoint}}{{.Config.Cmd}}{{.Config.User}}{{.Config.ExposedPorts}}";
    kiln.ok(&["run", "--name", "image", "app"]);
    kiln.ok(&[
        "run",
        "--name",
        "flags",
        "-u",
        "9",
        "--entrypoint",
        "busybox",
        "app",
        "true",
    ]);
    assert_eq!(
        kiln.ok(&["inspect", "-f", format, "image", "flags"]),
        "[sh -c][exit 0]7:8map[80/tcp:map[]]\n[busybox][true]9map[80/tcp:map[]]"
    );
}
