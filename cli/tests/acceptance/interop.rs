//! Images travel to other tools and back.

use std::fs;

use kiln_testbed::{
    Buildah, Dockerd, Ended, Kiln, Podman, Skopeo, Umoci, image_tree, need, need_root, run,
    run_and_read,
};

use crate::program;

const DOCKERFILE: &str = "FROM busybox\n\
    RUN mkdir -p /data/deep && echo kept > /data/kept && ln /data/kept /data/linked && \
    chmod 4755 /data/kept && ln -s kept /data/soft\n\
    RUN rm -r /data/deep && mkdir /data/deep && echo new > /data/deep/new\n\
    CMD [\"cat\", \"/data/deep/new\"]\n";

/// OCI-024.
#[test]
fn layouts_and_archives_are_taken_by_other_tools() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let context = kiln.context("context", &[("Dockerfile", DOCKERFILE)]);
    let layout = kiln.scratch.join("layout");
    let archive = kiln.scratch.join("docker.tar");
    let directory = kiln.scratch.join("docker");
    kiln.build(
        &context,
        &[
            "-t",
            "travel:v1",
            "-o",
            &format!("type=docker,tar=false,dest={}", directory.display()),
            "-o",
            &format!("type=oci,tar=false,dest={}", layout.display()),
            "-o",
            &format!("type=docker,dest={}", archive.display()),
        ],
    );

    let skopeo = need!(Skopeo::new());
    let copied = kiln.scratch.join("copied");
    run(skopeo
        .copy()
        .arg(format!("oci:{}:v1", layout.display()))
        .arg(format!("oci:{}:v1", copied.display())));
    run(skopeo
        .copy()
        .arg(format!("docker-archive:{}", archive.display()))
        .arg(format!("dir:{}", kiln.scratch.join("dir").display())));
    assert_eq!(
        need!(image_tree(&layout, "v1")),
        need!(image_tree(&copied, "v1"))
    );

    let umoci = need!(Umoci::new());
    let bundle = umoci.unpack(&layout, "v1", &kiln.scratch.join("bundle"));
    assert_eq!(
        fs::read_to_string(bundle.join("data/deep/new")).unwrap(),
        "new\n"
    );

    // The directory is the archive unpacked.
    let packed = kiln.scratch.join("packed.tar");
    run(std::process::Command::new("tar")
        .arg("-cf")
        .arg(&packed)
        .arg("-C")
        .arg(&directory)
        .arg("."));
    run(skopeo
        .copy()
        .arg(format!("docker-archive:{}", packed.display()))
        .arg(format!(
            "dir:{}",
            kiln.scratch.join("from-directory").display()
        )));

    let podman = need!(Podman::new(None));
    run(podman.command().args(["load", "-i"]).arg(&archive));
    let output =
        run_and_read(
            podman
                .command()
                .args(["run", "--rm", "--network", "host", "travel:v1"]),
        );
    assert_eq!(output, "new");
}

#[test]
fn docker_loads_and_runs_an_archive() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let docker = need!(Dockerd::start());
    let context = kiln.context("context", &[("Dockerfile", DOCKERFILE)]);
    let archive = kiln.scratch.join("docker.tar");
    kiln.build(
        &context,
        &[
            "-t",
            "travel:v1",
            "-o",
            &format!("type=docker,dest={}", archive.display()),
        ],
    );
    run(docker.command().args(["load", "-i"]).arg(&archive));
    let output =
        run_and_read(
            docker
                .command()
                .args(["run", "--rm", "--network", "host", "travel:v1"]),
        );
    assert_eq!(output, "new");
}

#[test]
fn an_image_built_by_buildah_runs_in_kiln() {
    need!(need_root());
    let (kiln, registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let buildah = need!(Buildah::new(Some(&registry)));
    let context = kiln.context("context", &[("Dockerfile", DOCKERFILE)]);
    run(&mut buildah.build(&context, "theirs"));
    let name = registry.image("theirs:v1");
    run(buildah
        .command()
        .args(["push", "--tls-verify=false", "theirs"])
        .arg(format!("docker://{name}")));
    let stdout = kiln.ok(&["run", "--rm", &name]);
    assert_eq!(stdout, "new");
    // And it serves as a base.
    let on_top = kiln.context(
        "on-top",
        &[(
            "Dockerfile",
            &format!("FROM {name}\nRUN test -u /data/kept && ls /data\n"),
        )],
    );
    kiln.build(&on_top, &[]);
}

#[test]
fn saved_images_load_again() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let context = kiln.context("context", &[("Dockerfile", DOCKERFILE)]);
    kiln.build(&context, &["-t", "travel:v1"]);
    let archive = kiln.scratch.join("saved.tar");
    kiln.ok(&["save", "-o", archive.to_str().unwrap(), "travel:v1"]);
    let ids = kiln.ok(&["images", "-q", "--no-trunc"]);
    let elsewhere = kiln.scratch.join("elsewhere");
    let load = |arguments: &[&str]| {
        let mut command = kiln.command_on(&elsewhere);
        let ended = Ended::of(command.args(arguments)).succeeded(arguments);
        ended.stdout.trim_end().to_owned()
    };
    assert_eq!(
        load(&["load", "-i", archive.to_str().unwrap()]),
        "Loaded image: travel:v1"
    );
    assert_eq!(load(&["images", "-q", "--no-trunc"]), ids);
    assert_eq!(load(&["run", "--rm", "travel:v1"]), "new");
}
