//! What is special about files survives commit, export, push, pull and unpacking.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use kiln_testbed::{Ended, Kiln, Tool, image_tree, need, need_root, run};

use crate::program;

#[test]
fn links_attributes_devices_and_modes_come_through() {
    need!(need_root());
    let (kiln, registry) = need!(Kiln::with_bases(program(), &["debian"]));
    let context = kiln.context(
        "context",
        &[
            ("capable", "not really a program"),
            (
                "Dockerfile",
                "FROM debian\n\
                 COPY capable /copied\n\
                 RUN cp --preserve=all /copied /again && chmod 4755 /usr/bin/env && \
                 mkdir -m 3777 /sticky && mkfifo /sticky/pipe && mknod /sticky/null c 1 3 && \
                 touch /one && ln /one /two && ln -s /nowhere /dangling && \
                 truncate -s 64M /sparse && chown 1:2 /two\n\
                 RUN rm -rf /usr/share/doc && mkdir /usr/share/doc && rm /etc/motd && touch \"/with space\"\n",
            ),
        ],
    );
    let capable = context.join("capable");
    std::fs::set_permissions(&capable, std::fs::Permissions::from_mode(0o755)).unwrap();
    let setcap = need!(Tool::find("setcap"));
    run(setcap.command().arg("cap_net_raw+ep").arg(&capable));
    run(Command::new("setfattr")
        .args(["-n", "user.note", "-v", "kept"])
        .arg(&capable));

    let export = |root: &Path, name: &str, arguments: &[&str]| -> Vec<String> {
        let layout = kiln.scratch.join(format!("layout-{name}"));
        let mut command = kiln.command_on(root);
        command
            .args(["build", "-t", "out:v1", "-o"])
            .arg(format!("type=oci,tar=false,dest={}", layout.display()));
        Ended::of(command.args(arguments)).succeeded(arguments);
        image_tree(&layout, "v1").unwrap()
    };
    let built = export(&kiln.state(), "built", &[context.to_str().unwrap()]);
    for expected in [
        "copied file 0755 0:0",
        "security.capability=",
        "user.note=",
        "usr/bin/env file 4755",
        "sticky directory 3777",
        "sticky/pipe fifo",
        "device 1:3",
        "same as one",
        "dangling symlink 0777 0:0 -> /nowhere",
        "67108864 bytes",
    ] {
        assert!(
            built.iter().any(|line| line.contains(expected)),
            "no {expected:?}"
        );
    }
    assert!(!built.iter().any(|line| line.starts_with("usr/share/doc/")));

    let name = registry.image("survival:v1");
    kiln.build(&context, &["-t", &name, "--push"]);
    // A store that knows nothing unpacks it, adds a layer, and takes that away again.
    let elsewhere = kiln.scratch.join("elsewhere");
    let on_top = kiln.context(
        "on-top",
        &[(
            "Dockerfile",
            &format!("FROM {name}\nRUN touch /tmp/x && rm /tmp/x\n"),
        )],
    );
    let pulled = export(&elsewhere, "pulled", &[on_top.to_str().unwrap()]);
    assert_eq!(built, pulled);
}
