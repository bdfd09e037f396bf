//! The registry of the test bed serves, asks for logins, and ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::{
    Buildah, Registry, Scratch, Skip, Skopeo, assert_same_tree, busybox_tarball, image_tree, need,
    run, run_and_read,
};

/// Makes an OCI layout with one image of busybox, tagged `latest`, by means of buildah.
fn busybox_layout(scratch: &Scratch) -> Result<PathBuf, Skip> {
    let buildah = Buildah::new(None)?;
    let context = scratch.join("context");
    fs::create_dir(&context).expect("the directory is ours");
    busybox_tarball(&context.join("rootfs.tar"))?;
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nADD rootfs.tar /\nRUN echo made > /note\nCMD [\"sh\"]\n",
    )
    .expect("the directory is ours");
    run(&mut buildah.build(&context, "made"));
    let layout = scratch.join("layout");
    buildah.save_layout("made", &layout, "latest");
    Ok(layout)
}

/// Fetches the digest that a registry has for a name.
fn digest(registry: &Registry, name: &str, auth_file: &Path) -> Result<String, Skip> {
    let skopeo = Skopeo::new()?;
    Ok(run_and_read(
        skopeo
            .command()
            .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
            .arg("--authfile")
            .arg(auth_file)
            .arg(format!("docker://{}", registry.image(name))),
    ))
}

#[test]
fn an_image_survives_the_way_through_a_registry() {
    let registry = need!(Registry::start());
    let scratch = Scratch::new();
    let layout = need!(busybox_layout(&scratch));
    need!(registry.push_layout(&layout, "latest", "library/busybox"));

    let skopeo = need!(Skopeo::new());
    let copy = scratch.join("copy");
    run(skopeo
        .copy()
        .arg("--src-tls-verify=false")
        .arg(format!("docker://{}", registry.image("library/busybox")))
        .arg(format!("oci:{}:latest", copy.display())));

    let before = need!(image_tree(&layout, "latest"));
    assert!(
        before
            .iter()
            .any(|line| line.starts_with("note file 0644 0:0 5 bytes "))
    );
    assert_same_tree(&before, &need!(image_tree(&copy, "latest")));
    assert!(
        registry
            .storage()
            .join("docker/registry/v2/repositories/library/busybox")
            .is_dir(),
        "the registry keeps its files where it says"
    );
    assert!(registry.log().contains("PUT"), "requests are logged");
}

#[test]
fn names_without_a_host_come_from_the_registry() {
    let registry = need!(Registry::start());
    let scratch = Scratch::new();
    let layout = need!(busybox_layout(&scratch));
    need!(registry.push_layout(&layout, "latest", "library/busybox"));

    let buildah = need!(Buildah::new(Some(&registry)));
    let context = scratch.join("second");
    fs::create_dir(&context).unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM busybox\nRUN test -s /note\n",
    )
    .unwrap();
    run(&mut buildah.build(&context, "child"));
}

#[test]
fn a_login_is_asked_for() {
    let registry = need!(Registry::with_basic_auth("somebody", "a secret"));
    let scratch = Scratch::new();
    let layout = need!(busybox_layout(&scratch));
    need!(registry.push_layout(&layout, "latest", "private/busybox"));
    assert!(
        need!(digest(&registry, "private/busybox", &registry.auth_file())).starts_with("sha256:")
    );

    let nobody = scratch.join("nobody.json");
    fs::write(&nobody, "{}").unwrap();
    let skopeo = need!(Skopeo::new());
    let refused = skopeo
        .command()
        .args(["inspect", "--tls-verify=false", "--authfile"])
        .arg(&nobody)
        .arg(format!("docker://{}", registry.image("private/busybox")))
        .output()
        .unwrap();
    assert!(
        !refused.status.success(),
        "without a login nothing is served"
    );
}

#[test]
fn registries_run_side_by_side_and_end_with_their_owner() {
    let first = need!(Registry::start());
    let second = need!(Registry::start());
    assert_ne!(first.address(), second.address());
    let id = first.process_id();
    let directory = first.storage();
    drop(first);
    let gone = Command::new("kill")
        .args(["-0", &id.to_string()])
        .output()
        .unwrap();
    assert!(!gone.status.success(), "the process has ended");
    assert!(!directory.exists(), "its files are gone");
}
