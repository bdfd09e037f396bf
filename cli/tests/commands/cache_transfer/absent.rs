//! Images whose layers are in a cache elsewhere, and do not come.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kiln_testbed::need;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use super::blobs;
use crate::harness::Kiln;

/// Between two looks at a process, and how many of them are enough for one that is going to end.
const PAUSE: Duration = Duration::from_millis(5);
const MOST_PAUSES: usize = 6000;

/// What an image lacks since its cache is gone, a build makes; until then it can be tried again.
#[test]
fn an_image_whose_cache_is_gone_is_built_again() {
    let kiln = need!(Kiln::for_builds());
    kiln.build_shell("app", "RUN echo made > /made");
    kiln.ok(&[
        "build",
        "-q",
        "--cache-to=type=local,dest=cache,mode=max",
        "ctx",
    ]);
    let other = need!(Kiln::for_builds());
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
    let third = need!(Kiln::for_builds());
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

/// As long as there is no container, a signal is for kiln itself.
#[test]
fn whoever_waits_for_a_layer_can_be_ended() {
    let kiln = need!(Kiln::for_builds());
    kiln.build_shell("app", "RUN echo made > /made");
    let cache = "type=local,dest=cache,mode=max";
    kiln.ok(&["build", "-q", "--cache-to", cache, "ctx"]);
    fs::rename(kiln.scratch.join("state"), kiln.scratch.join("other")).unwrap();
    let from = "--cache-from=type=local,src=cache";
    kiln.ok(&["build", "-q", "-t=app", from, "ctx"]);
    // Layers that never come.
    let directory = kiln.scratch.join("cache/blobs/sha256");
    let pipes = blobs(&kiln.scratch.join("cache"));
    let pipes: Vec<PathBuf> = pipes.iter().map(|name| directory.join(name)).collect();
    for pipe in &pipes {
        fs::remove_file(pipe).unwrap();
        mknodat(CWD, pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }
    let mut run = kiln
        .command()
        .args(["run", "--rm", "app", "true"])
        .spawn()
        .unwrap();
    // A pipe can be opened to be written to as soon as somebody reads from it.
    let reader = |pipe: &PathBuf| {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        rustix::fs::open(pipe, flags, Mode::empty()).ok()
    };
    let held = loop {
        assert!(run.try_wait().unwrap().is_none(), "it did not wait");
        match pipes.iter().find_map(reader) {
            Some(held) => break held,
            None => std::thread::sleep(PAUSE),
        }
    };
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    let ended = (0..MOST_PAUSES).find_map(|_| {
        std::thread::sleep(PAUSE);
        run.try_wait().unwrap()
    });
    // One that went on waiting ends now.
    drop(held);
    let ended = ended.unwrap_or_else(|| run.wait().unwrap());
    assert_eq!(ended.code(), Some(143));
}
