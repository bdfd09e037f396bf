//! What does not grow with the store: files that commands open, counted.

use kiln_testbed::{Kiln, Tool, need};

use super::traced::{strace, traced};
use crate::program;

/// Returns the lines about files of the state directory that a command opens.
#[track_caller]
fn opened(kiln: &Kiln, strace: &Tool, arguments: &[&str]) -> Vec<String> {
    let state = kiln.state().display().to_string();
    let lines = traced(kiln, strace, "open,openat,openat2", arguments).into_iter();
    lines.filter(|line| line.contains(&state)).collect()
}

/// Builds so many images, each with a name and a layer of its own, and so many that lost theirs.
fn fill(kiln: &Kiln, numbers: std::ops::Range<usize>) {
    for number in numbers {
        kiln.write("other/content", &number.to_string());
        kiln.write("other/Dockerfile", "FROM scratch\nCOPY content /\n");
        for name in [format!("other:{number}"), "passing".to_owned()] {
            kiln.write("other/name", &name);
            kiln.ok(&["build", "-q", "-t", &name, "--label", &name, "other"]);
        }
    }
}

#[test]
fn commands_about_one_image_open_no_more_files_in_a_larger_store() {
    let kiln = need!(Kiln::for_builds(program()));
    let strace = need!(strace());
    kiln.build_shell("app", "RUN echo x > /x");
    fill(&kiln, 0..2);
    let id = kiln.ok(&["images", "-q", "--no-trunc", "app"]);
    let commands: [&[&str]; 6] = [
        &["inspect", "app"],
        &["inspect", &id],
        &["history", "app"],
        &["tag", "app", "name"],
        &["rmi", "name"],
        &["build", "-q", "-t", "app", "ctx"],
    ];
    // What is noted once is noted.
    for arguments in commands {
        opened(&kiln, &strace, arguments);
    }
    let before = commands.map(|arguments| opened(&kiln, &strace, arguments));
    assert!(before.iter().all(|lines| !lines.is_empty()));
    fill(&kiln, 2..8);
    for (arguments, before) in commands.iter().zip(before) {
        let after = opened(&kiln, &strace, arguments);
        assert_eq!(
            after.len(),
            before.len(),
            "{arguments:?}\n{before:#?}\n{after:#?}"
        );
        // Nothing goes through directories that have a file for each image or record.
        let lists = |line: &&String| {
            let is_directory = line.contains("O_DIRECTORY");
            is_directory && (line.contains("/actions") || line.contains("/blobs"))
        };
        assert_eq!(after.iter().find(lists), None, "{arguments:?}");
    }
}

#[test]
fn a_list_of_images_opens_a_note_and_a_name_for_each_and_no_layer() {
    let kiln = need!(Kiln::for_builds(program()));
    let strace = need!(strace());
    let count = || {
        let lines = opened(&kiln, &strace, &["images", "-aq"]);
        for place in ["/layers", "/diffs", "/blobs"] {
            let found = lines.iter().find(|line| line.contains(place));
            assert_eq!(found, None);
        }
        lines.len()
    };
    fill(&kiln, 0..2);
    let two = count();
    fill(&kiln, 2..4);
    let four = count();
    fill(&kiln, 4..8);
    // For each number one image with a name, and one that lost it.
    let by_image = (four - two) / 2;
    assert_eq!(count() - four, 4 * by_image);
    assert!((1..=3).contains(&by_image), "{by_image}");
}
