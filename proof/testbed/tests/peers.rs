//! The peers run with private storage, and leave nothing.

use std::fs;

use kiln_testbed::{
    Dockerd, Podman, Scratch, assert_no_leftovers, busybox_tarball, need, run, run_and_read,
};

#[test]
fn podman_runs_a_container() {
    let podman = need!(Podman::new(None));
    let scratch = Scratch::new();
    let archive = scratch.join("rootfs.tar");
    need!(busybox_tarball(&archive));
    run(podman
        .command()
        .args(["import"])
        .arg(&archive)
        .arg("busybox"));
    let output =
        run_and_read(
            podman
                .command()
                .args(["run", "--rm", "busybox", "echo", "from a container"]),
        );
    assert_eq!(output, "from a container");
}

#[test]
fn dockerd_builds_with_buildkit_and_leaves_nothing() {
    let docker = need!(Dockerd::start());
    let directory = docker.directory();
    let scratch = Scratch::new();
    need!(busybox_tarball(&scratch.join("rootfs.tar")));
    fs::write(
        scratch.join("Dockerfile"),
        "FROM scratch\nADD rootfs.tar /\nRUN echo built > /note\nCMD [\"cat\", \"/note\"]\n",
    )
    .unwrap();
    let build = run(docker
        .command()
        .args([
            "build",
            "--progress",
            "plain",
            "--network",
            "host",
            "--tag",
            "made",
        ])
        .arg(scratch.path()));
    assert!(
        String::from_utf8_lossy(&build.stderr).contains("[internal] load build definition"),
        "BuildKit built, not the classic builder"
    );
    let output = run_and_read(
        docker
            .command()
            .args(["run", "--rm", "--network", "host", "made"]),
    );
    assert_eq!(output, "built");

    drop(docker);
    assert_no_leftovers(&directory);
    assert!(!directory.exists());
}
