//! Many rebuilds under one tag by many processes, with small limits.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kiln_testbed::{Ended, Kiln, need};
use walkdir::WalkDir;

use crate::program;

/// Rebuilds, unless `KILN_SOAK` says how many: `make soak` has 2,000.
const REBUILDS: usize = 80;
const PROCESSES: usize = 8;

const MOST_BYTES: u64 = 20 << 20;
const MOST_INODES: u64 = 2000;

/// What a build adds at most: its files, its layers and what is written down of them.
const BUILD_BYTES: u64 = 3 << 20;
const BUILD_INODES: u64 = 60;

/// What is measured: all that the limits are about, and the names that lead there.
const COUNTED: [&str; 5] = ["layers", "blobs", "actions", "assembled", "diffs"];

/// Returns bytes and inodes that the cache takes.
fn taken(kiln: &Kiln) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let (mut bytes, mut seen) = (0, HashSet::new());
    for top in COUNTED {
        let files = WalkDir::new(kiln.state().join(top)).min_depth(2);
        for metadata in files
            .into_iter()
            .flatten()
            .filter_map(|f| f.metadata().ok())
        {
            // A record under several keys is one file.
            if seen.insert(metadata.ino()) {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    (bytes, seen.len() as u64)
}

/// Gives the context of a process the content of a round.
fn write_context(kiln: &Kiln, process: usize, round: usize) -> String {
    let directory = format!("ctx{process}");
    for number in 0..1 + (round * 7 + process) % 9 {
        let length = 1 + (round * 7919 + process * 104_729 + number * 31) % 60_000;
        let line = format!("{process} {round} {number}\n");
        let content = line.repeat(length.div_ceil(line.len()));
        kiln.write(format!("{directory}/data/{number}"), &content);
    }
    let text = format!("{process} {round}");
    kiln.write(format!("{directory}/last"), &text);
    text
}

fn run(kiln: &Kiln, arguments: &[&str]) -> Ended {
    let mut command = kiln.command();
    command
        .env("KILN_CACHE_RESERVED_SPACE", "0")
        .env("KILN_CACHE_MAX_USED_SPACE", MOST_BYTES.to_string())
        .env("KILN_CACHE_MIN_FREE_SPACE", "0")
        .env("KILN_CACHE_MAX_USED_INODES", MOST_INODES.to_string())
        .env("KILN_CACHE_MIN_FREE_INODES", "0");
    Ended::from(command.args(arguments).output().unwrap())
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is said to the test, not to kiln"
)]
fn rebuilds_asked_for() -> usize {
    let asked = std::env::var("KILN_SOAK").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(REBUILDS)
}

#[test]
fn rebuilds_under_one_tag_stay_within_limits_and_lose_nothing() {
    let kiln = need!(Kiln::for_builds(program()));
    let rebuilds = rebuilds_asked_for();
    let busybox = fs::read(kiln.scratch.join("ctx/busybox")).unwrap();
    for process in 0..PROCESSES {
        let directory = kiln.scratch.join(format!("ctx{process}"));
        fs::create_dir_all(directory.join("data")).unwrap();
        fs::write(directory.join("busybox"), &busybox).unwrap();
        let program = directory.join("busybox");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(program, mode).unwrap();
        kiln.write(
            format!("ctx{process}/Dockerfile"),
            "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nCOPY data /data\n\
             RUN busybox md5sum /data/* > /sums\nCOPY last /last\n",
        );
    }
    write_context(&kiln, 0, 0);
    let kept = run(&kiln, &["build", "-q", "-t", "kept", "ctx0"]);
    assert_eq!(kept.code, 0, "{kept:#?}");
    let (begun, ended) = (AtomicUsize::new(1), AtomicUsize::new(0));
    let failures: Mutex<Vec<String>> = Mutex::default();
    let fail = |text: String| {
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(text);
    };
    let most = [AtomicU64::new(0), AtomicU64::new(0)];
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (kiln, begun, ended, fail) = (&kiln, &begun, &ended, &fail);
            scope.spawn(move || {
                loop {
                    let round = begun.fetch_add(1, Ordering::Relaxed);
                    if round > rebuilds {
                        break;
                    }
                    let text = write_context(kiln, process, round);
                    let context = format!("ctx{process}");
                    let built = run(kiln, &["build", "-q", "-t", "app", &context]);
                    if built.code != 0 {
                        fail(format!("{built:#?}"));
                    }
                    if round.is_multiple_of(10) {
                        let own = format!("own{process}");
                        run(kiln, &["build", "-q", "-t", &own, &context]);
                        let ran = run(kiln, &["run", "--rm", &own, "busybox", "cat", "/last"]);
                        if ran.stdout != text {
                            fail(format!("{text}: {ran:#?}"));
                        }
                    }
                }
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        while ended.load(Ordering::Relaxed) < PROCESSES {
            let (bytes, inodes) = taken(&kiln);
            most[0].fetch_max(bytes, Ordering::Relaxed);
            most[1].fetch_max(inodes, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(100));
        }
    });
    let failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    assert!(failures.is_empty(), "{failures:#?}");
    let [bytes, inodes] = most.map(AtomicU64::into_inner);
    // Images with names are no cache, and there are as many as processes, and two.
    let images = PROCESSES as u64 + 2;
    // Each process is in the middle of a build, and makes a few more while one collects.
    let at_once = 4 * PROCESSES as u64;
    assert!(
        bytes <= MOST_BYTES + (images + at_once) * BUILD_BYTES,
        "{bytes}"
    );
    assert!(
        inodes <= MOST_INODES + (images + at_once) * BUILD_INODES,
        "{inodes}"
    );
    let ran = run(&kiln, &["run", "--rm", "kept", "busybox", "cat", "/last"]);
    assert_eq!(ran.stdout, "0 0", "{ran:#?}");
    let verified = run(&kiln, &["cache", "verify"]);
    assert_eq!(verified.code, 0, "{verified:#?}");
}
