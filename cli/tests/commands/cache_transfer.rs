//! Results that machines share: `--cache-to` on one, `--cache-from` on another
//! (docs/spec/cli.md 1.6).

mod absent; // layers that are elsewhere, and do not come
mod buildkit; // caches of BuildKit's, and ours in its eyes
mod forged; // caches that claim too much
mod machines; // two, and a registry between them
mod mounts; // what cache mounts held

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kiln_testbed::{Dockerd, Kiln, Skopeo, need, run};
use serde_json::Value;

use self::machines::*;
use crate::commands::harness::names;
use crate::program;

/// Without it, the build is the same build. An export that is not made is another matter.
#[test]
fn a_cache_of_an_unknown_type_is_not_imported() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nLABEL a=b\n");
    for (kind, words) in [
        ("type=gha,scope=x", "cache type gha is not supported"),
        (
            "type=s3,bucket=b,region=r",
            "cache type s3 is not supported",
        ),
        ("type=ftp", "unknown cache type \"ftp\""),
    ] {
        let ended = kiln.run(&["build", "--cache-from", kind, "ctx"]);
        assert_eq!(ended.code, 0, "{ended:#?}");
        let warning = format!("cache import is skipped: {words}");
        assert!(ended.stderr.contains(&warning), "{ended:#?}");
        let ended = kiln.run(&["build", "--cache-to", kind, "ctx"]);
        assert_ne!(ended.code, 0, "{ended:#?}");
        assert!(ended.stderr.contains(words), "{ended:#?}");
    }
}

#[test]
fn hits_elsewhere_move_no_layer_until_it_is_needed() {
    let machines = need!(Machines::new());
    let Machines {
        registry,
        first,
        second,
    } = &machines;
    let cache = registry.image("team/app:cache");
    let to = format!("type=registry,ref={cache}");
    build(
        first,
        &["-t", "app", "--cache-to", &to, "--metadata-file=m"],
    );
    let metadata: Value =
        serde_json::from_slice(&fs::read(first.scratch.join("m")).unwrap()).unwrap();
    let kind = metadata["cache.manifest"]["mediaType"].as_str().unwrap();
    assert_eq!(kind, "application/vnd.oci.image.manifest.v1+json");

    let mut ended = None;
    let requests = machines.requests(|| {
        ended = Some(build(second, &["-t", "app", "--cache-from", &cache]));
    });
    assert_eq!(ran(&ended.unwrap()), set(&[]));
    // The cache's config, and not one layer.
    assert_eq!(downloads(&requests).len(), 1, "{requests:?}");
    assert_eq!(unpacked_layers(second), 0);
    assert_eq!(id(first, "app"), id(second, "app"));

    // What is known by now needs no cache, no request, and no layer either.
    let requests = machines.requests(|| {
        let again = build(second, &["-t", "app", "--cache-from", &cache]);
        assert_eq!(ran(&again), set(&[]));
        assert_eq!(ran(&build(second, &["-t", "app"])), set(&[]));
    });
    assert_eq!(requests, [""; 0]);
    assert_eq!(unpacked_layers(second), 0);

    // To push it, layers are mounted from the cache's repository.
    let pushed = registry.image("other/app:v1");
    let requests = machines.requests(|| {
        build(second, &["-t", &pushed, "--push"]);
    });
    assert_eq!(downloads(&requests), BTreeMap::new(), "{requests:?}");
    let mounts = requests
        .iter()
        .filter(|r| r.contains("mount=sha256"))
        .count();
    assert_eq!(mounts, 4, "{requests:?}");
    assert_eq!(unpacked_layers(second), 0);

    // To run it, they are brought.
    assert_eq!(second.ok(&["run", "--rm", "app"]), "one two tool");
    assert_eq!(unpacked_layers(second), 4);
    assert_eq!(ran(&build(second, &[])), set(&[]));
}

#[test]
fn the_least_has_the_layers_of_the_result_and_the_most_has_all() {
    let machines = need!(Machines::new());
    let Machines {
        registry,
        first,
        second,
    } = &machines;
    let (least, most) = (registry.image("app:min"), registry.image("app:max"));
    build(
        first,
        &[
            "--cache-to",
            &least,
            "--cache-to",
            &format!("type=registry,ref={most},mode=max,compression=zstd"),
        ],
    );
    // The stage that is not in the image is asked for alone.
    let ended = build(second, &["--target=tools", "--cache-from", &least]);
    // Both stages copy the shell, and that layer is in the image.
    assert_eq!(ran(&ended), set(&["RUN echo tool > /tool"]));

    let third = need!(Kiln::for_builds(program()));
    third.knows(registry);
    let changed = TWO_STAGES.replace("echo two", "cat /tool");
    third.dockerfile(&changed);
    let ended = build(&third, &["-t", "app", "--cache-from", &most]);
    assert_eq!(ran(&ended), set(&["RUN cat /tool > /two"]));
    // What the new step stands on was brought, and the other stage's own layer was not.
    assert_eq!(unpacked_layers(&third), 4);
    assert_eq!(third.ok(&["run", "--rm", "app"]), "one tool tool");
}

/// A step that ran again elsewhere and came to the same lets what follows hit.
#[test]
fn early_cut_off_reaches_across_machines() {
    let machines = need!(Machines::new());
    let Machines {
        registry,
        first,
        second,
    } = &machines;
    let cache = registry.image("app:cache");
    let text = |comment: &str| {
        format!(
            "FROM scratch AS a\nCOPY busybox /bin/sh\nRUN echo {comment}; echo x > /x\n\
             FROM scratch\nCOPY busybox /bin/sh\nCOPY --from=a /x /x\nRUN cat /x\n"
        )
    };
    first.dockerfile(&text("one"));
    let to = format!("type=registry,ref={cache},mode=max");
    build(
        first,
        &["--build-arg=SOURCE_DATE_EPOCH=7", "--cache-to", &to],
    );
    second.dockerfile(&text("two"));
    let ended = build(
        second,
        &["--build-arg=SOURCE_DATE_EPOCH=7", "--cache-from", &cache],
    );
    let ran = ran(&ended);
    assert!(ran.contains("RUN echo two; echo x > /x"), "{ended:#?}");
    assert!(!ran.contains("RUN cat /x"), "{ended:#?}");
}

#[test]
fn a_directory_serves_too() {
    let machines = need!(Machines::new());
    let Machines { first, second, .. } = &machines;
    let directory = first.scratch.join("cache");
    let to = format!("type=local,dest={},mode=max", directory.display());
    let from = format!("type=local,src={}", directory.display());
    build(first, &["-t", "app", "--cache-to", &to]);
    let ended = build(second, &["-t", "app", "--cache-from", &from]);
    assert_eq!(ran(&ended), set(&[]));
    assert_eq!(unpacked_layers(second), 0);
    build(second, &["-o", "type=oci,dest=app.tar", "-t", "app"]);
    assert_eq!(second.ok(&["run", "--rm", "app"]), "one two tool");

    // Another tag beside it; what is then stale goes.
    let (before, other) = (blobs(&directory), format!("{to},tag=other"));
    first.dockerfile("FROM scratch\nCOPY busybox /b\n");
    build(first, &["--cache-to", &other]);
    assert!(blobs(&directory).is_superset(&before));
    build(first, &["--cache-to", &format!("{to},reset=true")]);
    assert!(!blobs(&directory).is_superset(&before));
    let index: Value =
        serde_json::from_slice(&fs::read(directory.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let third = need!(Kiln::for_builds(program()));
    third.dockerfile("FROM scratch\nCOPY busybox /b\n");
    let ended = build(&third, &["--cache-from", &format!("{from},tag=other")]);
    assert_eq!(ran(&ended), set(&[]));
}

fn blobs(layout: &Path) -> BTreeSet<String> {
    names(&layout.join("blobs/sha256")).into_iter().collect()
}

#[test]
fn an_image_can_hold_its_cache() {
    let machines = need!(Machines::new());
    let Machines {
        registry,
        first,
        second,
    } = &machines;
    let name = registry.image("app:inline");
    build(first, &["-t", &name, "--push", "--cache-to=type=inline"]);
    let ended = build(second, &["-t", "app", "--cache-from", &name]);
    // The same results, and an image that does not say so itself.
    let missing = set(&["RUN echo tool > /tool"]);
    assert!(ran(&ended).is_subset(&missing), "{ended:#?}");
    assert_eq!(unpacked_layers(second), 0);
    assert_eq!(second.ok(&["run", "--rm", "app"]), "one two tool");
    let again = registry.image("app:again");
    build(
        second,
        &[
            "-t",
            &again,
            "--push",
            "--build-arg=BUILDKIT_INLINE_CACHE=1",
        ],
    );
    first.ok(&["pull", &again]);
    let third = need!(Kiln::for_builds(program()));
    third.knows(registry);
    third.dockerfile(TWO_STAGES);
    let ended = build(&third, &["--cache-from", &again]);
    assert_eq!(ran(&ended), set(&[]));
    // What is built upon such an image does not pass its cache on as its own.
    third.dockerfile(&format!("FROM {name}\nLABEL a=b\n"));
    build(&third, &["-o", "type=oci,tar=false,dest=out"]);
    let config = configs(&third.scratch.join("out"));
    assert!(
        config
            .iter()
            .all(|config| config.get("kiln.cache.v1").is_none())
    );
    let ended = third.run(&["build", "--cache-to=type=inline", "-o", "files", "ctx"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(
        ended.stderr.contains("needs an image to be in"),
        "{ended:#?}"
    );
}

/// Returns the image configs of a layout.
fn configs(layout: &Path) -> Vec<Value> {
    let paths = blobs(layout)
        .into_iter()
        .map(|name| layout.join("blobs/sha256").join(name));
    let parse = |path: PathBuf| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).ok();
    paths
        .filter_map(parse)
        .filter(|value| value.get("rootfs").is_some())
        .collect()
}

#[test]
fn steps_of_missing_or_damaged_caches_are_built() {
    let machines = need!(Machines::with_own_registry());
    let Machines {
        registry,
        first,
        second,
    } = &machines;
    // No server listens there, and nothing has that name.
    let ended = build(
        second,
        &[
            "--cache-from=127.0.0.1:1/app:cache",
            "--cache-from",
            &registry.image("no/such:cache"),
            "--cache-from=type=local,src=/no/such",
        ],
    );
    assert_eq!(ran(&ended).len(), 5, "{ended:#?}");
    let warnings = ended.stderr.matches("is not used: ").count();
    assert_eq!(warnings, 3, "{ended:#?}");

    let cache = registry.image("app:cache");
    build(first, &["--cache-to", &cache]);
    // Every layer, damaged.
    let storage = registry.storage().join("docker/registry/v2/blobs/sha256");
    let mut damaged = 0;
    for group in names(&storage) {
        for name in names(&storage.join(&group)) {
            let path = storage.join(&group).join(name).join("data");
            let mut bytes = fs::read(&path).unwrap();
            if bytes.starts_with(&[0x1f, 0x8b]) {
                bytes[20] ^= 1;
                fs::write(&path, bytes).unwrap();
                damaged += 1;
            }
        }
    }
    assert_eq!(damaged, 4);
    let third = need!(Kiln::for_builds(program()));
    third.knows(registry);
    third.dockerfile(&format!("{TWO_STAGES}RUN echo three\n"));
    let ended = build(&third, &["-t", "app", "--cache-from", &cache]);
    assert!(
        ended.stderr.contains("a layer of the cache cannot be used"),
        "{ended:#?}"
    );
    assert!(ran(&ended).contains("RUN echo three"), "{ended:#?}");
    assert_eq!(third.ok(&["run", "--rm", "app"]), "one two tool");

    // A cache that cannot be written fails the build, unless that was allowed.
    let to = "type=registry,ref=127.0.0.1:1/app:cache";
    let ended = third.run(&["build", "--cache-to", to, "ctx"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("cannot export the cache to 127.0.0.1:1/app:cache"),
        "{ended:#?}"
    );
    assert!(ended.stderr.contains("ignore-error=true"), "{ended:#?}");
    let ended = build(&third, &["--cache-to", &format!("{to},ignore-error=true")]);
    assert!(
        ended.stderr.contains("the cache was not exported to"),
        "{ended:#?}"
    );
}

/// A secret that a command sees inside a cache mount stays outside.
#[test]
fn no_secret_is_in_a_cache() {
    let machines = need!(Machines::new());
    let Machines { first, .. } = &machines;
    first.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\n\
         RUN --mount=type=cache,target=/c --mount=type=secret,id=s,target=/c/s \
         wc -c < /c/s > /c/length\n",
    );
    first.write("secret", "hunter2-value");
    let directory = first.scratch.join("cache");
    build(
        first,
        &[
            "--secret=id=s,src=secret",
            "--cache-to",
            &format!(
                "type=local,dest={},mounts=true,mode=max,compression=uncompressed",
                directory.display()
            ),
        ],
    );
    let contents: Vec<Vec<u8>> = blobs(&directory)
        .iter()
        .map(|name| fs::read(directory.join("blobs/sha256").join(name)).unwrap())
        .collect();
    let holds = |text: &[u8]| {
        let mut all = contents.iter();
        all.any(|bytes| bytes.windows(text.len()).any(|window| window == text))
    };
    assert!(holds(b"length") && holds(b"13\n"));
    assert!(!holds(b"hunter2"));
}

/// What is known of layers elsewhere goes with what needs it.
#[test]
fn described_layers_go_into_the_next_cache() {
    let machines = need!(Machines::new());
    let Machines {
        registry,
        first,
        second,
    } = &machines;
    let cache = registry.image("app:cache");
    let to = format!("type=registry,ref={cache},mode=max");
    build(first, &["--cache-to", &to]);
    let count = |directory: &str| {
        let directory = second.scratch.join("state").join(directory);
        fs::read_dir(directory).map_or(0, Iterator::count)
    };
    let only = ["-o", "type=cacheonly", "--cache-from", &cache];
    assert_eq!(ran(&build(second, &only)), set(&[]));
    assert_eq!(count("described"), 4);
    // What a record needs stays, and nothing is asked for again.
    second.ok(&["cache", "prune", "-f", "--max-used-space", "10g"]);
    let requests = machines.requests(|| {
        assert_eq!(ran(&build(second, &only)), set(&[]));
    });
    assert_eq!(requests, [""; 0]);
    second.ok(&["cache", "prune", "-af"]);
    assert_eq!((count("described"), count("diffs")), (0, 0));

    // A record that lost a layer is none.
    build(second, &only);
    for name in names(&second.scratch.join("state/described")) {
        fs::remove_file(second.scratch.join("state/described").join(name)).unwrap();
    }
    assert_eq!(ran(&build(second, &["-o", "type=cacheonly"])).len(), 5);
    second.ok(&["cache", "prune", "-af"]);

    // An image needs its layers without any record.
    build(second, &["-t", "app", "--cache-from", &cache]);
    second.ok(&["cache", "prune", "-af"]);
    assert_eq!((count("described"), unpacked_layers(second)), (4, 0));
    assert_eq!(second.ok(&["run", "--rm", "app"]), "one two tool");
    assert_eq!((count("described"), unpacked_layers(second)), (0, 4));
    second.ok(&["rmi", "app"]);
    second.ok(&["cache", "prune", "-af"]);
    assert_eq!(count("diffs"), 0);
}

/// Packing is done by the time that the last step ends, that of other stages' layers too.
#[test]
fn layers_for_a_cache_are_packed_while_steps_run() {
    let machines = need!(Machines::new());
    machines.dockerfile(
        "FROM scratch AS tools\nCOPY busybox /bin/sh\nRUN echo tool > /tool\n\
         FROM scratch\nCOPY busybox /bin/sh\nCOPY --from=tools /tool /tool\nRUN sleep 10\n",
    );
    let Machines { first, second, .. } = &machines;
    // Both stages begin with the same layer.
    for (kiln, mode, expected) in [(first, "min", 2), (second, "max", 3)] {
        let to = format!("type=local,dest=cache,mode={mode}");
        let mut command = kiln.command();
        command.args(["build", "-q", "--cache-to", &to, "ctx"]);
        let mut child = command.spawn().unwrap();
        let packed = || {
            let groups = kiln.scratch.join("state/blobs/sha256");
            let groups = fs::read_dir(groups).into_iter().flatten().flatten();
            let paths = groups.flat_map(|group| fs::read_dir(group.path()).into_iter().flatten());
            let is_gzip =
                |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.starts_with(&[0x1f, 0x8b]));
            let paths = paths.flatten().map(|entry| entry.path());
            paths.filter(is_gzip).count()
        };
        while packed() < expected {
            assert_eq!(child.try_wait().unwrap(), None, "{mode}: {}", packed());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(packed(), expected, "{mode}");
    }
}
