//! What is wrong with a Dockerfile, and where (docs/spec/dockerfile.md 13).

use std::fs::File;
use std::process::Command;

use insta::assert_snapshot;
use kiln_testbed::{Ended, Kiln, need, run};

use crate::commands::harness::masked;
use crate::program;

/// Builds, which must fail, and returns standard error from the first block that is not progress.
fn complaint(kiln: &Kiln, dockerfile: &str) -> String {
    kiln.dockerfile(dockerfile);
    let ended = kiln.run(&["build", "--progress=quiet", "ctx"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert_eq!(ended.stdout, "");
    // Editors strip blanks at the end of lines, which the excerpt has for empty ones.
    masked(kiln, &ended.stderr).replace(" \n", "$\n")
}

#[test]
fn unknown_instructions_are_shown() {
    let kiln = Kiln::new(program());
    assert_snapshot!(complaint(&kiln, "FROM scratch\nCPOY a /\nENV\n"), @r"
    Dockerfile:2
    --------------------
       1 |     FROM scratch
       2 | >>> CPOY a /
       3 |     ENV
       4 |    $
    --------------------
    dockerfile parse error on line 2: unknown instruction: CPOY (did you mean COPY?)

    Dockerfile:3
    --------------------
       1 |     FROM scratch
       2 |     CPOY a /
       3 | >>> ENV
       4 |    $
    --------------------
    dockerfile parse error on line 3: ENV requires at least one argument
    ERROR: failed to build: dockerfile parse error on line 2: unknown instruction: CPOY (did you mean COPY?) (and 1 more error)
    ");
}

#[test]
fn missing_files_are_shown() {
    let kiln = need!(Kiln::for_builds(program()));
    assert_snapshot!(complaint(&kiln, "FROM scratch\nENV a=b\nCOPY nofile /x\nENV c=d\n"), @r#"
    Dockerfile:3
    --------------------
       1 |     FROM scratch
       2 |     ENV a=b
       3 | >>> COPY nofile /x
       4 |     ENV c=d
       5 |    $
    --------------------
    ERROR: failed to build: failed to solve: failed to compute cache key: failed to calculate checksum: "/nofile": not found
    hint: files are looked for in the context, or where --from says
    "#);
}

#[test]
fn a_failing_command_has_its_output_repeated() {
    let kiln = need!(Kiln::for_builds(program()));
    let dockerfile = "FROM scratch\nCOPY busybox /bin/sh\nRUN echo out && \\\n  exit 3\n";
    assert_snapshot!(complaint(&kiln, dockerfile), @r#"
    ------
     > [2/2] RUN echo out &&   exit 3:
    [TIME] out
    ------
    Dockerfile:3
    --------------------
       2 |     COPY busybox /bin/sh
       3 | >>> RUN echo out && \
       4 | >>>   exit 3
       5 |    $
    --------------------
    ERROR: failed to build: failed to solve: process "/bin/sh -c echo out &&   exit 3" did not complete successfully: exit code: 3
    "#);
    // Where it has passed by already, only its end is repeated.
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\n\
         RUN i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo line $i; done; exit 1\n",
    );
    let stderr = kiln.run(&["build", "--progress=plain", "ctx"]).stderr;
    assert_eq!(stderr.matches("line 10\n").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("line 11\n").count(), 2, "{stderr}");
}

#[test]
fn findings_are_listed_after_success() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch as base\nCOPY busybox /b\nCMD echo\n");
    let ended = kiln.run(&["build", "ctx"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let findings = &ended.stderr[ended.stderr.find(" 2 warnings found").unwrap()..];
    assert_eq!(
        findings,
        " 2 warnings found:
 \
         - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)
 \
         - JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior \
         related to OS signals (line 3)
"
    );
}

#[test]
fn archives_that_unpack_to_too_much_are_refused_and_may_be_allowed() {
    let kiln = Kiln::new(program());
    kiln.dockerfile("FROM scratch\nADD a.tgz /x/\n");
    let zeros = kiln.scratch.join("zeros");
    File::create(&zeros).unwrap().set_len(8 << 20).unwrap();
    run(Command::new("tar")
        .arg("--create")
        .arg("--gzip")
        .arg("--file")
        .arg(kiln.scratch.join("ctx/a.tgz"))
        .arg("--directory")
        .arg(kiln.scratch.join(""))
        .arg("zeros"));
    let build = |ratio: &str| {
        let mut command = kiln.command();
        command
            .env("KILN_UNPACK_LIMIT", "1m")
            .env("KILN_UNPACK_RATIO", ratio);
        Ended::from(command.args(["build", "ctx"]).output().unwrap())
    };
    let refused = build("20");
    assert_eq!(refused.code, 1);
    for part in [
        ">>> ADD a.tgz /x/",
        "cannot read the content of /x/zeros: it unpacks to more than",
        "hint: if this is what it should be, allow more with KILN_UNPACK_LIMIT or KILN_UNPACK_RATIO",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {refused:#?}");
    }
    assert_eq!(build("2000").code, 0);
}

#[test]
fn a_wildcard_that_brings_nothing_is_said() {
    let kiln = Kiln::new(program());
    kiln.write("ctx/dir/file", "");
    kiln.dockerfile(
        "FROM scratch AS made\nCOPY dir /made/\nFROM scratch\nCOPY --from=made /made/*.none /x/\n",
    );
    let ended = kiln.run(&["build", "--progress=plain", "ctx"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let said = "nothing is copied: \"/made/*.none\" matches no file";
    assert!(ended.stderr.contains(said), "{ended:#?}");
}
