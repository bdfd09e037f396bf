//! The build cache: what it takes, what goes, whether it is whole (docs/spec/cli.md 2 and 8).

mod beside; // collection beside others, and where there is no room
mod damage; // what verify finds, and what becomes of it
mod soak; // many rebuilds under one tag
mod untagged; // images whose last name moved on

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use kiln_testbed::{Ended, Kiln, need};

use crate::program;

/// Two steps that cost little and take much, and one that is the other way round.
const BIG_AND_SMALL: &str = "FROM scratch AS big\n\
    COPY busybox /busybox\n\
    RUN [\"/busybox\", \"dd\", \"if=/dev/zero\", \"of=/big\", \"bs=1M\", \"count=30\"]\n\
    FROM scratch AS small\n\
    COPY busybox /busybox\n\
    RUN [\"/busybox\", \"sleep\", \"2\"]\n\
    RUN [\"/busybox\", \"touch\", \"/small\"]\n\
    FROM scratch\n\
    COPY --from=big /big /\n\
    COPY --from=small /small /\n";

/// An image whose digest does not depend on when its commands ran.
const CLAMPED: &[&str] = &["-o", "type=image,name=app,rewrite-timestamp=true"];

/// What stories of the cache ask a kiln.
trait Cached {
    /// Builds with times that do not depend on the clock and returns the image's id.
    #[track_caller]
    fn build_id(&self, arguments: &[&str]) -> String;

    /// Returns the layers that are stored, the empty one left out.
    fn layers(&self) -> Vec<PathBuf>;

    /// Returns the table of what was removed.
    fn tombstones(&self) -> String;

    /// Builds and says how many steps ran.
    #[track_caller]
    fn steps_run(&self) -> usize;
}

impl Cached for Kiln {
    #[track_caller]
    fn build_id(&self, arguments: &[&str]) -> String {
        let mut command = self.command();
        command.env("SOURCE_DATE_EPOCH", "1000000000");
        command.args(["build", "-q"]).args(arguments).arg("ctx");
        let ended = Ended::from(command.output().unwrap());
        assert_eq!(ended.code, 0, "{ended:#?}");
        ended.stdout.trim().to_owned()
    }

    fn layers(&self) -> Vec<PathBuf> {
        spread(&self.state().join("layers"))
            .into_iter()
            .filter(|layer| fs::metadata(layer.join("index")).is_ok_and(|index| index.len() > 14))
            .collect()
    }

    fn tombstones(&self) -> String {
        fs::read_to_string(self.state().join("tombstones")).unwrap_or_default()
    }

    #[track_caller]
    fn steps_run(&self) -> usize {
        let ended = self.run(&["build", "--progress=plain", "-t", "app", "ctx"]);
        assert_eq!(ended.code, 0, "{ended:#?}");
        let steps = ended.stderr.lines().filter_map(|line| {
            let (number, name) = line.split_once(" [")?;
            (!name.starts_with("internal") && name.contains("] ")).then_some(number)
        });
        let ran = |number: &&str| !ended.stderr.contains(&format!("\n{number} CACHED\n"));
        steps.filter(ran).count()
    }
}

/// Lists what lies two levels below a directory.
fn spread(directory: &Path) -> Vec<PathBuf> {
    let list = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    list(directory)
        .iter()
        .flat_map(|group| list(group))
        .collect()
}

#[test]
fn du_lists_what_there_is() {
    let kiln = need!(Kiln::for_builds(program()));
    assert_eq!(
        kiln.ok(&["cache", "du"]),
        "ID        RECLAIMABLE   SIZE      LAST ACCESSED\nReclaimable: 0B\nTotal:       0B"
    );
    kiln.build_shell("app", "RUN echo one > /one\nWORKDIR /work");
    let text = kiln.ok(&["builder", "du"]);
    assert!(
        text.starts_with("ID              RECLAIMABLE   SIZE"),
        "{text}"
    );
    assert!(
        text.contains("Less than a second ago") || text.contains("second"),
        "{text}"
    );
    for title in ["Shared:", "Private:", "Reclaimable:", "Total:"] {
        assert!(text.contains(&format!("\n{title}")), "{text}");
    }
    let format = [
        "cache",
        "du",
        "--format",
        "{{.Type}} {{.Shared}} {{.Description}}",
    ];
    let mut lines: Vec<String> = kiln.ok(&format).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "regular true COPY busybox /bin/busybox",
            "regular true COPY busybox /bin/sh",
            "regular true RUN echo one > /one",
            "regular true WORKDIR /work",
            "source.local false state of a build context",
        ]
    );
    let only = kiln.ok(&[&format[..], &["--filter", "description~=RUN"]].concat());
    assert_eq!(only, "regular true RUN echo one > /one");
    let verbose = kiln.ok(&["buildx", "du", "--verbose", "--filter", "description~=RUN"]);
    assert!(verbose.contains("\nType:          regular\n"), "{verbose}");
    assert!(verbose.contains("\nCost:          "), "{verbose}");
    assert!(verbose.contains("\nParent:        "), "{verbose}");
    let json = kiln.ok(&["cache", "du", "--format", "json"]);
    assert_eq!(json.lines().count(), 5);
    let ended = kiln.run(&["cache", "du", "--filter", "age=1"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (1, "Error: invalid filter 'age'\n")
    );
}

#[test]
fn pruning_spares_images_and_everything_comes_back() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /busybox\nCOPY Dockerfile /d\n");
    let id = kiln.build_id(&["-t", "app"]);
    // Without an answer nothing goes.
    assert_eq!(kiln.run(&["builder", "prune"]).code, 0);
    let no = kiln.run_with("n\n", &["cache", "prune", "-a"]);
    assert!(
        no.stderr
            .starts_with("WARNING! This will remove all build cache. Are you sure")
    );
    assert_eq!((no.code, no.stdout.as_str()), (0, ""));
    let before = kiln.layers().len();
    assert_eq!(before, 2);
    // What an image holds too is no burden, and a hit.
    kiln.ok(&["builder", "prune", "--force"]);
    assert_eq!(kiln.layers().len(), before);
    assert_eq!(kiln.steps_run(), 0);
    // The records go, the layers stay with the image.
    let yes = kiln.run_with("y\n", &["cache", "prune", "--all"]);
    assert!(yes.stdout.contains("Total reclaimed space: "), "{yes:#?}");
    assert_eq!(kiln.layers().len(), before);
    assert!(spread(&kiln.state().join("actions")).is_empty());
    assert!(kiln.tombstones().contains(" kiln cache prune\n"));
    kiln.ok(&["run", "--rm", "app", "/busybox", "true"]);
    // Without the image nothing stays.
    for image in kiln.ok(&["images", "-q"]).lines() {
        kiln.ok(&["rmi", "-f", image]);
    }
    kiln.ok(&["system", "prune", "-af"]);
    assert!(kiln.layers().is_empty());
    assert!(spread(&kiln.state().join("blobs/sha256")).is_empty());
    assert_eq!(fs::read_dir(kiln.state().join("diffs")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(kiln.state().join("trash")).unwrap().count(), 0);
    assert_eq!(kiln.build_id(&["-t", "app"]), id);
}

#[test]
fn the_cheap_big_step_goes_before_the_expensive_small_one() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(BIG_AND_SMALL);
    kiln.ok(&["build", "--output", "type=cacheonly", "ctx"]);
    let describe = ["--format", "{{.Description}}"];
    let all = kiln.ok(&[&["cache", "du"][..], &describe].concat());
    assert!(all.contains("RUN /busybox dd"), "{all}");
    let pruned = kiln.ok(&["cache", "prune", "--force", "--max-used-space", "10m"]);
    assert!(pruned.contains("Total reclaimed space: "), "{pruned}");
    let left = kiln.ok(&[&["cache", "du"][..], &describe].concat());
    assert!(!left.contains("RUN /busybox dd"), "{left}");
    assert!(left.contains("RUN /busybox sleep 2"), "{left}");
    assert!(left.contains("RUN /busybox touch /small"), "{left}");
    assert!(kiln.tombstones().contains(" the 10 MB limit\n"));
    let ended = kiln.run(&["cache", "prune", "-f", "--max-used-space", "lots"]);
    assert_eq!(ended.code, 125, "{ended:#?}");
}

#[test]
fn entries_go_by_age_and_kind() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "RUN --mount=type=cache,target=/c echo x > /c/x");
    let before = spread(&kiln.state().join("actions"));
    kiln.ok(&["cache", "prune", "-af", "--filter", "until=1h"]);
    assert_eq!(spread(&kiln.state().join("actions")), before);
    // The last build of a Dockerfile stands on all its steps; this one was forgotten.
    fs::remove_dir_all(kiln.state().join("builds")).unwrap();
    for record in spread(&kiln.state().join("actions")) {
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let file = fs::File::options().write(true).open(record).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let types = ["cache", "du", "--format", "{{.Type}}"];
    assert!(kiln.ok(&types).contains("exec.cachemount"));
    kiln.ok(&["cache", "prune", "-af", "--filter", "type=exec.cachemount"]);
    assert!(!kiln.ok(&types).contains("exec.cachemount"));
    assert!(kiln.ok(&types).contains("regular"));
    kiln.ok(&["cache", "prune", "-af", "--filter", "until=1h"]);
    assert!(spread(&kiln.state().join("actions")).is_empty());
}

/// What a cache mount is packed as for other machines belongs to it.
#[test]
fn a_packed_cache_mount_goes_as_one() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\n\
         RUN --mount=type=cache,target=/c echo x > /c/x\n",
    );
    let to = "type=local,dest=cache,mounts=true";
    let build = ["build", "-o", "type=cacheonly", "--cache-to", to, "ctx"];
    kiln.ok(&build);
    let packed = || {
        let is_gzip = |path: &PathBuf| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]);
        let blobs = spread(&kiln.state().join("blobs/sha256"));
        blobs.into_iter().filter(is_gzip)
    };
    let modified = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    // Two layers and the mount.
    assert_eq!(packed().count(), 3);
    let before: Vec<SystemTime> = packed().map(modified).collect();
    kiln.ok(&["cache", "prune", "-f", "--max-used-space", "10g"]);
    kiln.ok(&build);
    let after: Vec<SystemTime> = packed().map(modified).collect();
    assert_eq!(after, before);
    kiln.ok(&["cache", "prune", "-af", "--filter", "type=exec.cachemount"]);
    assert_eq!(packed().count(), 2);
    kiln.ok(&build);
    kiln.ok(&["cache", "prune", "-af"]);
    assert_eq!(packed().count(), 0);
    assert_eq!(
        fs::read_dir(kiln.state().join("cachemounts"))
            .unwrap()
            .count(),
        0
    );
    assert!(kiln.layers().is_empty());
}

#[test]
fn a_hit_is_a_use_of_what_it_was_made_from() {
    let kiln = need!(Kiln::for_builds(program()));
    let dockerfile = |last: &str| {
        kiln.dockerfile(&format!(
            "FROM scratch AS made\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n\
             RUN echo x > /x\nFROM scratch\nCOPY --from=made /bin /bin\n\
             COPY --from=made /x /\nRUN echo {last} > /y\n"
        ));
    };
    dockerfile("one");
    assert!(kiln.steps_run() > 0);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for record in &spread(&kiln.state().join("actions")) {
        let file = fs::File::options().write(true).open(record).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    // Only the last step is looked at, but the others are what the next change stands on.
    assert_eq!(kiln.steps_run(), 0);
    kiln.ok(&["cache", "prune", "-af", "--filter", "until=1h"]);
    dockerfile("two");
    assert_eq!(kiln.steps_run(), 1);
}

#[test]
fn a_killed_prune_breaks_nothing() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /busybox\nCOPY . /ctx\n\
         RUN [\"/busybox\", \"touch\", \"/x\"]\n",
    );
    for number in 0..40 {
        kiln.write(format!("ctx/files/{number}"), "x");
    }
    let id = kiln.build_id(CLAMPED);
    let begun = Instant::now();
    kiln.ok(&["cache", "prune", "-af"]);
    let whole = begun.elapsed();
    for round in 0..12 {
        kiln.ok(&["rmi", "-f", "app"]);
        let mut prune = kiln.command();
        prune.args(["system", "prune", "-af"]);
        let mut child = prune
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * round / 10);
        let _ = child.kill();
        child.wait().unwrap();
        assert_eq!(kiln.build_id(CLAMPED), id, "round {round}");
        assert_eq!(kiln.run(&["cache", "verify"]).code, 0);
    }
    kiln.ok(&["rmi", "-f", "app"]);
    kiln.ok(&["system", "prune", "-af"]);
    assert!(kiln.layers().is_empty());
}

#[test]
fn a_prune_goes_beside_a_build_and_spares_what_that_uses() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("other/old", "old");
    kiln.write("other/Dockerfile", "FROM scratch\nCOPY old /old\n");
    kiln.ok(&["build", "-o", "type=cacheonly", "other"]);
    let [old] = &kiln.layers()[..] else {
        panic!("{:?}", kiln.layers());
    };
    kiln.dockerfile("FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sleep\", \"2\"]\n");
    let mut build = kiln.command();
    build.args(["build", "-t", "app", "ctx"]);
    let mut build = build
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its first layer is there, so it is well under way.
    let begun = Instant::now();
    while kiln.layers().len() < 2 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pruned = kiln.run(&["cache", "prune", "-af"]);
    assert_eq!(
        (pruned.code, pruned.stderr.as_str()),
        (0, ""),
        "{pruned:#?}"
    );
    assert!(build.try_wait().unwrap().is_none());
    assert!(!old.exists());
    assert!(build.wait().unwrap().success());
    kiln.ok(&["run", "--rm", "app", "/busybox", "true"]);
    assert_eq!(kiln.steps_run(), 0);
    assert_eq!(kiln.run(&["cache", "verify"]).code, 0);
    // Nothing is held any more.
    kiln.ok(&["rmi", "app"]);
    kiln.ok(&["cache", "prune", "-af"]);
    assert!(kiln.layers().is_empty());
    for left in ["leases", "collecting"] {
        let path = kiln.state().join(left);
        let count = fs::read_dir(&path).map_or(0, Iterator::count);
        assert_eq!(count, 0, "{left}");
    }
}

#[test]
fn containers_keep_their_layers_and_do_not_block_prune() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "RUN echo kept > /kept");
    let mut run = kiln.command();
    run.args(["run", "--rm", "-i", "app", "/bin/busybox", "sh", "-c"]);
    run.arg("echo begun; read x; /bin/busybox cat /kept");
    let mut child = run
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "begun\n");
    kiln.ok(&["rmi", "-f", "app"]);
    let pruned = kiln.run(&["system", "prune", "-af"]);
    assert_eq!(
        (pruned.code, pruned.stderr.as_str()),
        (0, ""),
        "{pruned:#?}"
    );
    assert!(!kiln.layers().is_empty());
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdin.take());
    line.clear();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "kept\n");
    assert!(child.wait().unwrap().success());
    kiln.ok(&["system", "prune", "-af"]);
    assert!(kiln.layers().is_empty());
}

#[test]
fn builds_collect_garbage_now_and_then() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /b\n");
    kiln.ok(&["build", "-o", "type=cacheonly", "ctx"]);
    let stamp = kiln.state().join("collected");
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let age = || {
        let file = fs::File::options().write(true).open(&stamp).unwrap();
        file.set_modified(long_ago).unwrap();
    };
    let build = |automatic: &str| {
        let mut command = kiln.command();
        command
            .env("KILN_CACHE_RESERVED_SPACE", "0")
            .env("KILN_CACHE_MAX_USED_SPACE", "1k")
            // How full this machine's disk is does not matter.
            .env("KILN_CACHE_MIN_FREE_SPACE", "0")
            .env("KILN_CACHE_AUTOMATIC", automatic)
            .args(["build", "-o", "type=cacheonly", "ctx"]);
        let ended = Ended::from(command.output().unwrap());
        assert_eq!(ended.code, 0, "{ended:#?}");
    };
    let is_old = || fs::metadata(&stamp).unwrap().modified().unwrap() == long_ago;
    // It was looked at just now.
    build("true");
    assert_eq!(kiln.layers().len(), 1);
    age();
    build("false");
    assert!(is_old() && kiln.layers().len() == 1);
    build("true");
    let begun = Instant::now();
    while is_old() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!is_old() && kiln.layers().is_empty());
    let reasons = kiln.tombstones();
    assert!(reasons.contains(" the 1 kB limit\n"), "{reasons}");
}

#[test]
fn images_without_names_or_containers_go() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "LABEL a=1");
    kiln.build_shell("app", "LABEL a=2");
    kiln.build_shell("kept", "LABEL keep=1");
    let count = || kiln.ok(&["images", "-aq"]).lines().count();
    let dangling = || {
        kiln.ok(&["images", "-q", "--filter", "dangling=true"])
            .lines()
            .count()
    };
    assert_eq!((count(), dangling()), (3, 1));
    let pruned = kiln.ok(&["image", "prune", "-f"]);
    assert!(
        pruned.starts_with("Deleted Images:\ndeleted: sha256:"),
        "{pruned}"
    );
    assert_eq!((count(), dangling()), (2, 0));
    kiln.ok(&["run", "--name", "one", "app", "/bin/busybox", "true"]);
    let ended = kiln.run_with("", &["image", "prune", "-a"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""));
    kiln.ok(&["image", "prune", "-af", "--filter", "label!=keep"]);
    assert_eq!(count(), 2);
    kiln.ok(&["image", "prune", "-af"]);
    // The one that a container uses stays.
    assert_eq!(kiln.ok(&["images", "--format", "{{.Repository}}"]), "app");
    let summary = kiln.ok(&[
        "system",
        "df",
        "--format",
        "{{.Type}} {{.TotalCount}} {{.Active}}",
    ]);
    let mut lines = summary.lines();
    assert_eq!(lines.next(), Some("Images 1 1"));
    assert_eq!(lines.next(), Some("Containers 1 0"));
    assert_eq!(lines.next(), Some("Local Volumes 0 0"));
    assert!(lines.next().unwrap().starts_with("Build Cache "));
    let whole = kiln.ok(&["system", "df", "-v"]);
    for text in [
        "Images space usage:\n\nREPOSITORY   TAG",
        "Containers space usage:\n\nCONTAINER ID",
        "Build cache usage: ",
        "CACHE TYPE",
        "COST",
    ] {
        assert!(whole.contains(text), "{text}: {whole}");
    }
    let pruned = kiln.ok(&["container", "prune", "-f"]);
    assert!(pruned.starts_with("Deleted Containers:\n"), "{pruned}");
    assert_eq!(kiln.ok(&["ps", "-aq"]), "");
    kiln.ok(&["system", "prune", "-af"]);
    assert_eq!(count(), 0);
    assert!(kiln.layers().is_empty());
}
