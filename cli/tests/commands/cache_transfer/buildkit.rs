//! Caches of BuildKit's, and ours in its eyes.

use super::mounts::WITH_MOUNT;
use super::*;

/// A cache whose keys are BuildKit's is no mistake, and no use.
#[test]
fn buildkits_own_caches_are_left_alone() {
    let machines = need!(Machines::new());
    let Machines { first, second, .. } = &machines;
    let directory = first.scratch.join("cache");
    build(
        first,
        &[
            "--cache-to",
            &format!("type=local,dest={}", directory.display()),
        ],
    );
    edit_cache(&directory, |config| {
        assert!(config["layers"][0]["annotations"]["diffID"].is_string());
        assert_eq!(config["layers"][0]["parent"], -1);
        assert_eq!(config["records"].as_array().unwrap().len(), 4);
        config.as_object_mut().unwrap().remove("kiln");
    });
    let ended = build(
        second,
        &[
            "--cache-from",
            &format!("type=local,src={}", directory.display()),
        ],
    );
    assert!(
        ended
            .stderr
            .contains("it was written by BuildKit, whose keys are not kiln's"),
        "{ended:#?}"
    );
    assert_eq!(ran(&ended).len(), 5, "{ended:#?}");
}

/// Docker's BuildKit takes every form of kiln's caches without complaint.
#[test]
fn docker_reads_what_is_exported() {
    let machines = need!(Machines::new());
    let docker = need!(Dockerd::start());
    let Machines {
        registry, first, ..
    } = &machines;
    let (inline, manifest, index) = (
        registry.image("app:inline"),
        registry.image("app:manifest"),
        registry.image("app:index"),
    );
    let (mounts, listed_mounts) = (registry.image("app:mounts"), registry.image("app:listed"));
    build(
        first,
        &[
            "-t",
            &inline,
            "--push",
            "--cache-to=type=inline",
            "--cache-to",
            &manifest,
            "--cache-to",
            &format!("type=registry,ref={index},image-manifest=false,mode=max"),
        ],
    );
    first.dockerfile(WITH_MOUNT);
    build(
        first,
        &[
            "--cache-to",
            &format!("type=registry,ref={mounts},mounts=true"),
            "--cache-to",
            &format!("type=registry,ref={listed_mounts},mounts=true,oci-mediatypes=false"),
        ],
    );
    // A tool that knows nothing of caches sees manifests like any other.
    let skopeo = need!(Skopeo::new());
    let copy = first.scratch.join("copy");
    run(skopeo
        .copy()
        .arg("--src-tls-verify=false")
        .arg(format!("docker://{inline}"))
        .arg(format!("oci:{}", copy.display())));
    let context = first.scratch.join("docker");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY a /a\n").unwrap();
    fs::write(context.join("a"), "a").unwrap();
    for name in [&inline, &manifest, &index, &mounts, &listed_mounts] {
        let output = docker
            .command()
            .args(["build", "--progress=plain", "--cache-from", name])
            .arg(&context)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("importing cache manifest"), "{stderr}");
        assert!(!stderr.contains("ERROR"), "{name}: {stderr}");
    }
}
