//! Files of a context that change while a build runs: what is made of them counts for nothing that
//! comes later.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_testbed::{Ended, Kiln, Web, WebAnswer, need, run};

use crate::program;

/// Makes an archive that holds `x` with this content.
fn archive(place: &Path, content: &str) {
    let inside = place.with_file_name("x");
    fs::write(&inside, content).unwrap();
    let directory = place.parent().unwrap();
    run(Command::new("tar")
        .args(["--create", "--file"])
        .arg(place)
        .arg("--directory")
        .arg(directory)
        .arg("x"));
    fs::remove_file(inside).unwrap();
}

/// Builds while the context is as it is now, is changed by `change` as soon as it has been looked
/// at, and then, restored by `restore`, once more. Returns what the second build says.
fn build_changing(
    kiln: &Kiln,
    instructions: &str,
    change: impl Fn() + Send + Sync + 'static,
    restore: impl Fn(),
) -> Ended {
    // Contexts are looked at before servers are asked.
    let web = Web::start(move |_| {
        change();
        WebAnswer::new(200, "asked")
    });
    restore();
    kiln.dockerfile(&format!(
        "FROM scratch\nCOPY busybox /bin/sh\nADD {} /asked\n{instructions}",
        web.url("/asked")
    ));
    let first = kiln.run(&["build", "-o", "first", "ctx"]);
    assert_eq!(first.code, 0, "{first:#?}");
    assert!(first.stderr.contains("files changed while"), "{first:#?}");
    restore();
    drop(web);
    // From now on, what is behind the URL does not change anything.
    let web = Web::start(|_| WebAnswer::new(200, "asked"));
    kiln.dockerfile(&format!(
        "FROM scratch\nCOPY busybox /bin/sh\nADD {} /asked\n{instructions}",
        web.url("/asked")
    ));
    let second = kiln.run(&["build", "-o", "second", "--progress=plain", "ctx"]);
    assert_eq!(second.code, 0, "{second:#?}");
    second
}

fn read(kiln: &Kiln, path: &str) -> String {
    fs::read_to_string(kiln.scratch.join(path)).unwrap()
}

#[test]
fn results_of_files_that_change_meanwhile_are_not_found_by_the_old_content() {
    let kiln = need!(Kiln::for_builds(program()));
    let file = kiln.scratch.join("ctx/f");
    let changed = file.clone();
    let instructions = "COPY f /f\n\
        RUN read line < /f; echo $line > /out\n\
        FROM scratch AS linked\nCOPY --from=0 /out /\n\
        FROM scratch AS mounting\nCOPY busybox /bin/sh\n\
        RUN --mount=type=bind,source=f,target=/m read line < /m; echo $line > /out\n\
        FROM scratch\nCOPY --from=0 /f /out /0/\nCOPY --from=linked /out /1/\n\
        COPY --from=mounting /out /2/\n";
    build_changing(
        &kiln,
        instructions,
        move || fs::write(&changed, "v2\n").unwrap(),
        || fs::write(&file, "v1\n").unwrap(),
    );
    for (build, expected) in [("first", "v2"), ("second", "v1")] {
        for path in ["0/f", "0/out", "1/out", "2/out"] {
            let found = read(&kiln, &format!("{build}/{path}"));
            assert_eq!(found.trim_end(), expected, "{build}/{path}");
        }
    }
}

#[test]
fn results_of_archives_that_change_meanwhile_are_not_found_by_the_old_content() {
    let kiln = need!(Kiln::for_builds(program()));
    let file = kiln.scratch.join("ctx/a.tar");
    let changed = file.clone();
    let second = build_changing(
        &kiln,
        "ADD a.tar /d/\n",
        move || archive(&changed, "v2"),
        || archive(&file, "v1"),
    );
    assert_eq!(read(&kiln, "first/d/x"), "v2");
    assert_eq!(read(&kiln, "second/d/x"), "v1", "{second:#?}");
}
