//! What kiln does with less than it is used to: outputs that are full or closed, limits of its process,
//! a directory that is gone, and layers that were lost.

use std::fs::{self, File};
use std::process::Command;

use kiln_testbed::{Ended, Kiln, need};

use crate::program;

/// Has a shell start kiln by a script that ends in `exec "$@"`.
fn by_shell(kiln: &Kiln, script: &str, arguments: &[&str]) -> Ended {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_kiln")]);
    shell.args(arguments);
    Ended::from(kiln.bind(shell, &kiln.state()).output().unwrap())
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for arguments in [
        &["run", "--rm", "app", "sh", "-c", "echo x"][..],
        &["images"],
        &["ps"],
        &["save", "app"],
    ] {
        let ended = kiln
            .command()
            .args(arguments)
            .stdout(full())
            .output()
            .unwrap();
        let ended = Ended::from(ended);
        assert_eq!(ended.code, 1, "{arguments:?}: {ended:#?}");
        assert!(ended.stderr.contains("No space left"), "{ended:#?}");
        // Closed is not empty either.
        let ended = by_shell(&kiln, "exec \"$@\" >&-", arguments);
        assert_eq!(ended.code, 1, "{arguments:?}: {ended:#?}");
        assert!(ended.stderr.contains("Bad file descriptor"), "{ended:#?}");
        // Who has nothing to say there and nothing to read does not need the others.
        let ended = by_shell(&kiln, "exec \"$@\" <&- 2>&-", arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:#?}");
        assert!(!ended.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_working_directory_that_is_gone_is_no_obstacle() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let context = kiln.scratch.join("ctx").display().to_string();
    for arguments in [
        &["run", "--rm", "app", "sh", "-c", "echo x"][..],
        &["run", "--rm", "-v", "/:/h:ro", "app", "sh", "-c", "echo x"],
        &["images"],
        &["ps"],
        &["build", &context],
        &["info"],
    ] {
        let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
        let ended = by_shell(&kiln, script, arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:#?}");
    }
}

#[test]
fn file_beyond_the_limit_of_the_process_is_a_failure_that_is_told() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let save = ["save", "-o", "app.tar", "app"];
    let ended = by_shell(&kiln, "ulimit -f 100; exec \"$@\"", &save);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(ended.stderr.contains("File too large"), "{ended:#?}");
    assert!(!kiln.scratch.join("app.tar").exists());
}

#[test]
fn lost_layer_of_a_local_image_is_told_from_one_of_a_registry() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("127.0.0.1:1/app", "");
    for lost in ["layers", "diffs"] {
        fs::remove_dir_all(kiln.state().join(lost)).unwrap();
    }
    let ended = kiln.run(&["run", "--rm", "127.0.0.1:1/app", "true"]);
    assert_eq!(ended.code, 125, "{ended:#?}");
    assert!(
        ended.stderr.contains("is not here any more") && ended.stderr.contains("kiln cache verify"),
        "{ended:#?}"
    );
}

/// What cannot be read for want of descriptors is not damaged: it may be the only copy.
#[test]
fn nothing_is_thrown_away_that_cannot_be_opened_for_the_moment() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    kiln.ok(&[
        "build",
        "-q",
        "-o",
        "type=oci,dest=app.tar",
        "-t",
        "app",
        "ctx",
    ]);
    kiln.ok(&["rmi", "app"]);
    kiln.ok(&["system", "prune", "-af"]);
    kiln.ok(&["load", "-q", "-i", "app.tar"]);
    let limited = |most: u32, arguments: &[&str]| {
        by_shell(&kiln, &format!("ulimit -n {most}; exec \"$@\""), arguments)
    };
    let run = ["run", "--rm", "--pull", "never", "app", "sh", "-c", ":"];
    for most in (6..30).step_by(2) {
        limited(most, &run);
        let ended = limited(most, &["cache", "verify"]);
        let text = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            !text.contains("discarded"),
            "with {most} descriptors: {text}"
        );
    }
    kiln.ok(&["cache", "verify"]);
    kiln.ok(&run);
}

#[test]
fn names_of_layers_that_were_deleted_or_are_wrong_are_found_again() {
    let kiln = need!(Kiln::for_builds(program()));
    let diffs = kiln.state().join("diffs");
    for spoil in ["delete", "exchange"] {
        kiln.build_shell("app", "RUN echo x > /x");
        if spoil == "delete" {
            fs::remove_dir_all(&diffs).unwrap();
        } else {
            let names: Vec<_> = fs::read_dir(&diffs)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            let texts: Vec<_> = names.iter().map(|name| fs::read(name).unwrap()).collect();
            for (name, text) in names.iter().zip(texts.iter().rev()) {
                fs::write(name, text).unwrap();
            }
        }
        kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
        assert_eq!(
            kiln.ok(&["run", "--rm", "app", "sh", "-c", "echo $(busybox cat /x)"]),
            "x"
        );
        kiln.ok(&["save", "-o", "app.tar", "app"]);
        kiln.ok(&["cache", "verify"]);
    }
}

#[test]
fn state_directory_that_lost_its_format_goes_on() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    fs::remove_file(kiln.state().join("format")).unwrap();
    kiln.ok(&["run", "--rm", "app", "sh", "-c", ":"]);
    kiln.ok(&["cache", "verify"]);
}
