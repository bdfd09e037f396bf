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
    let registry = need!(Registry::with_basic_auth("user", "a secret"));
    let scratch = Scratch::new();
    let layout = need!(busybox_layout(&scratch));
    need!(registry.push_layout(&layout, "latest", "private/busybox"));
    assert!(
        need!(digest(&registry, "private/busybox", &registry.auth_file())).starts_with("sha256:")
    );

    let no_login = scratch.join("no-login.json");
    fs::write(&no_login, "{}").unwrap();
    let skopeo = need!(Skopeo::new());
    let refused = skopeo
        .command()
        .args(["inspect", "--tls-verify=false", "--authfile"])
        .arg(&no_login)
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

#[test]
fn tests_share_a_registry_and_see_their_own_part() {
    let (first, second) = (need!(Registry::shared()), need!(Registry::shared()));
    assert_eq!(first.process_id(), second.process_id());
    let scratch = Scratch::new();
    let layout = need!(busybox_layout(&scratch));
    need!(first.push_layout(&layout, "latest", "library/busybox"));
    let has = |registry: &Registry| {
        let skopeo = Skopeo::new().expect("it was there a moment ago");
        let mut inspect = skopeo.command();
        inspect.args(["inspect", "--tls-verify=false"]);
        inspect.arg(format!("docker://{}", registry.image("library/busybox")));
        inspect.output().unwrap().status.success()
    };
    assert!(has(&first) && !has(&second));
    assert!(first.log().contains("PUT") && !second.log().contains("PUT"));
}

/// Run as a process of its own by the test below: shares a registry, says which, and stays.
#[test]
#[ignore = "shared_registry_ends_with_a_killed_test_program runs it in a process of its own"]
fn shared_registry_of_a_process_that_stays() {
    if let Ok(registry) = Registry::shared() {
        println!("registry {} {}", registry.process_id(), registry.address());
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

#[test]
fn shared_registry_ends_with_a_killed_test_program() {
    use std::io::{BufRead as _, BufReader};

    need!(Registry::shared());
    let helper = "registry::shared_registry_of_a_process_that_stays";
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([helper, "--exact", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    // Rust's harness writes the test's name in front, on the same line.
    let mut words = lines.map_while(Result::ok).filter_map(|line| {
        let (_, rest) = line.split_once("registry ")?;
        rest.split(' ').next()?.parse::<u32>().ok()
    });
    let id = words.next();
    let directory = id.map(|id| {
        let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap();
        let arguments = String::from_utf8(arguments).unwrap();
        let settings = arguments
            .split('\0')
            .find(|word| word.ends_with("registry.yml"));
        Path::new(settings.unwrap()).parent().unwrap().to_owned()
    });
    holder.kill().unwrap();
    holder.wait().unwrap();
    let (id, directory) = (id.unwrap(), directory.unwrap());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let is_left = || {
        let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        directory.exists() || !arguments.is_empty()
    };
    while is_left() {
        assert!(
            std::time::Instant::now() < deadline,
            "{} is left",
            directory.display()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
