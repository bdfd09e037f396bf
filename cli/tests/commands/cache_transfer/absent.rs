//! Images whose layers are in a cache elsewhere, and do not come.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_testbed::{Kiln, need};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use super::{Machines, blobs, build, ran};
use crate::commands::harness::names;
use crate::program;

/// Between two looks at a process, and how many of them are enough for one that is going to end.
const PAUSE: Duration = Duration::from_millis(5);
const MOST_PAUSES: usize = 6000;

/// What an image lacks since its cache is gone, a build makes; until then it can be tried again.
#[test]
fn an_image_whose_cache_is_gone_is_built_again() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "RUN echo made > /made");
    kiln.ok(&[
        "build",
        "-q",
        "--cache-to=type=local,dest=cache,mode=max",
        "ctx",
    ]);
    let other = need!(Kiln::for_builds(program()));
    let place = kiln.scratch.join("cache").display().to_string();
    fs::copy(
        kiln.scratch.join("ctx/Dockerfile"),
        other.scratch.join("ctx/Dockerfile"),
    )
    .unwrap();
    let from = format!("--cache-from=type=local,src={place}");
    other.ok(&["build", "-q", "-t=app", &from, "ctx"]);
    let away = kiln.scratch.join("away");
    fs::rename(kiln.scratch.join("cache"), &away).unwrap();
    let save = ["save", "-o", "app.tar", "app"];
    let ended = other.run(&save);
    assert_ne!(ended.code, 0, "{ended:#?}");
    assert!(ended.stderr.contains("build the image again"), "{ended:#?}");
    let found = other.run(&["cache", "verify"]);
    assert!(
        found.stdout.contains("lost: image app:latest"),
        "{found:#?}"
    );
    // It is there again.
    fs::rename(&away, kiln.scratch.join("cache")).unwrap();
    other.ok(&save);
    // Gone for good.
    let third = need!(Kiln::for_builds(program()));
    fs::copy(
        kiln.scratch.join("ctx/Dockerfile"),
        third.scratch.join("ctx/Dockerfile"),
    )
    .unwrap();
    third.ok(&["build", "-q", "-t=app", &from, "ctx"]);
    fs::remove_dir_all(kiln.scratch.join("cache")).unwrap();
    assert_ne!(third.run(&save).code, 0);
    third.ok(&["build", "-q", "-t=app", "ctx"]);
    third.ok(&save);
    let found = third.run(&["cache", "verify"]);
    assert!(!found.stdout.contains("app:latest"), "{found:#?}");
}

/// The maker of a cache may have put pipes in the place of layers, which were once waited for.
#[test]
fn layers_that_are_pipes_are_not_waited_for() {
    let kiln = need!(Kiln::for_builds(program()));
    for pipe in image_of_cache(&kiln) {
        fs::remove_file(&pipe).unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }
    let ended = kiln.run(&["run", "--rm", "app", "true"]);
    assert_eq!(ended.code, 125, "{ended:#?}");
    assert!(ended.stderr.contains("not a regular file"), "{ended:#?}");
}

/// As long as there is no container, a signal is for kiln itself.
#[test]
fn builds_that_wait_for_a_layer_can_be_ended() {
    let kiln = need!(Kiln::for_builds(program()));
    let layers = image_of_cache(&kiln);
    // Layers that take an hour.
    for blob in &layers {
        fs::remove_file(blob).unwrap();
        let blob = File::create(blob).unwrap();
        blob.set_len(1 << 40).unwrap();
    }
    let mut run = kiln
        .command()
        .args(["run", "--rm", "app", "true"])
        .spawn()
        .unwrap();
    let descriptors = PathBuf::from(format!("/proc/{}/fd", run.id()));
    let is_reading = || {
        let open = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        let mut open = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        open.any(|path| layers.contains(&path))
    };
    while !is_reading() {
        assert!(run.try_wait().unwrap().is_none(), "it did not wait");
        std::thread::sleep(PAUSE);
    }
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    let ended = (0..MOST_PAUSES).find_map(|_| {
        std::thread::sleep(PAUSE);
        run.try_wait().unwrap()
    });
    // One that went on would fill the disk.
    let _ = run.kill();
    let ended = ended.unwrap_or_else(|| run.wait().unwrap());
    assert_eq!(ended.code(), Some(143));
}

/// Builds an image whose layers are in a cache elsewhere, and returns where they are.
fn image_of_cache(kiln: &Kiln) -> Vec<PathBuf> {
    kiln.build_shell("app", "RUN echo made > /made");
    let cache = "type=local,dest=cache,mode=max";
    kiln.ok(&["build", "-q", "--cache-to", cache, "ctx"]);
    fs::rename(kiln.scratch.join("state"), kiln.scratch.join("other")).unwrap();
    let from = "--cache-from=type=local,src=cache";
    kiln.ok(&["build", "-q", "-t=app", from, "ctx"]);
    let cache = kiln.scratch.join("cache").canonicalize().unwrap();
    let blobs = blobs(&cache).into_iter();
    blobs
        .map(|name| cache.join("blobs/sha256").join(name))
        .collect()
}

/// Returns the layers that a registry has.
fn layers_of_registry(storage: &Path) -> Vec<PathBuf> {
    let blobs = storage.join("docker/registry/v2/blobs/sha256");
    let groups = names(&blobs).into_iter().map(|group| blobs.join(group));
    let all = groups.flat_map(|group| {
        let blobs = names(&group).into_iter();
        blobs
            .map(move |name| group.join(name).join("data"))
            .collect::<Vec<_>>()
    });
    let is_layer =
        |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.starts_with(&[0x1f, 0x8b]));
    all.filter(is_layer).collect()
}

/// What a registry said that it has may be gone when it is wanted: before the build, or between one
/// that only heard of it and one that wants it.
#[test]
fn layers_lost_by_a_registry_are_built() {
    let machines = need!(Machines::with_own_registry());
    let Machines {
        registry, first, ..
    } = &machines;
    let cache = registry.image("app:cache");
    let cache_to = format!("{cache},mode=max");
    build(
        first,
        &["--cache-to", &format!("type=registry,ref={cache_to}")],
    );
    let layers = layers_of_registry(&registry.storage());
    assert_eq!(layers.len(), 5, "{layers:?}");
    let hidden = |path: &PathBuf| path.with_extension("hidden");
    let hide = || {
        layers
            .iter()
            .for_each(|layer| fs::rename(layer, hidden(layer)).unwrap());
    };
    let show = || {
        layers
            .iter()
            .for_each(|layer| fs::rename(hidden(layer), layer).unwrap());
    };
    let from = ["-t", "app", "--cache-from", &cache];
    let pushed = registry.image("other:v1");
    for wanted in [
        &["-o", "type=oci,dest=out"][..],
        &["-o", "type=tar,dest=out"],
        &["-o", "out"],
        &["-t", &pushed, "--push"],
        &["--cache-to", "type=local,dest=out,mode=max"],
        &["-o", "type=image,unpack=true"],
    ] {
        for is_known in [false, true] {
            let kiln = need!(machines.another());
            if is_known {
                let ended = build(&kiln, &from);
                assert_eq!(ran(&ended).len(), 0, "{ended:#?}");
            }
            hide();
            let ended = build(&kiln, &[&from[..], wanted].concat());
            let message = match wanted[0] {
                "--cache-to" => "a layer is left out of the cache: ",
                _ => "a layer of the cache cannot be used, its step runs again: ",
            };
            assert!(ended.stderr.contains(message), "{wanted:?}: {ended:#?}");
            assert!(!ended.stderr.contains("ERROR"), "{wanted:?}: {ended:#?}");
            assert_eq!(ran(&ended).len(), 5, "{wanted:?}: {ended:#?}");
            // What it made is what counts from now on.
            let ended = build(&kiln, &["-t", "app"]);
            assert_eq!(ran(&ended).len(), 0, "{wanted:?}: {ended:#?}");
            assert_eq!(kiln.ok(&["run", "--rm", "app"]), "one two tool");
            show();
        }
    }
    // An image that was named before anybody missed them is not pushed, and then built again.
    let kiln = need!(machines.another());
    build(&kiln, &["-t", &pushed, "--cache-from", &cache]);
    hide();
    let ended = kiln.run(&["push", "-q", &pushed]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(
        ended.stderr.contains("or build the image again"),
        "{ended:#?}"
    );
    let ended = build(&kiln, &["-t", &pushed]);
    assert_eq!(ran(&ended).len(), 5, "{ended:#?}");
    kiln.ok(&["push", "-q", &pushed]);
}
